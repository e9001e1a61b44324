// Package timestamp reads and verifies RFC 3161 time stamps offline: a small, strict part of CMS (RFC 5652) for one purpose. Package tsa
// asks for stamps and makes them.
//
// # What is accepted
//
//	response     granted, with a token; nothing after it
//	token        SignedData version 3 over a TSTInfo version 1, one signer, its certificate inside
//	imprint      SHA-256
//	attributes   content type, message digest and signing certificate (RFC 2634 or RFC 5035), each once
//	signature    RSA PKCS #1 v1.5, RSA-PSS (one hash throughout, a salt as long as it), ECDSA or Ed25519, with SHA-256, SHA-384 or SHA-512
//	certificate  extended key usage: time stamping, alone and critical (RFC 3161 section 2.3)
//	chain        to a root that the caller has pinned, valid at the time of the stamp
//
// # Revocation
//
// A stamp is held to the lists of revoked certificates (RFC 5280) that it carries and that the caller has: those that the issuer of a certificate
// has signed, that have no critical extension, and that cover the time of the stamp or a later one. A certificate that such a list names makes the stamp void, unless
// the list says that the key was not the reason and the stamp is from before (RFC 3161 section 4). Where no list says anything, the
// answer is "not checked", and the stamp counts: nothing here uses a network. Other forms of revocation information are not read.
//
// The parts of a token that nobody signs (further certificates, lists, unsigned attributes) can be changed or left out without changing what
// the stamp says, except for that answer.
//
// Worked example:
//
//	stamp, err := timestamp.Parse(response)
//	revocation, err := stamp.Verify(message, roots)
//	fmt.Println(stamp.Time, stamp.Authority)
package timestamp
