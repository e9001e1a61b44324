// Package timestamp reads and verifies RFC 3161 time stamps offline: a small, strict part of CMS (RFC 5652) for one purpose. Package tsa
// asks for stamps and makes them.
//
// # What is accepted
//
//	response     granted, with a token; nothing after it
//	token        SignedData version 3 over a TSTInfo version 1, one signer, its certificate inside
//	imprint      SHA-256
//	attributes   content type, message digest and signing certificate (RFC 2634 or RFC 5035), each once
//	signature    RSA PKCS #1 v1.5, ECDSA or Ed25519, with SHA-256, SHA-384 or SHA-512
//	certificate  extended key usage: time stamping, alone and critical (RFC 3161 section 2.3)
//	chain        to a root that the caller has pinned, valid at the time of the stamp
//
// # What is not looked at
//
// Revocation, which needs a network: a person who doubts an authority asks it. The parts of a token that nobody signs (further
// certificates, unsigned attributes) can be changed without changing what the stamp says.
//
// Worked example:
//
//	stamp, err := timestamp.Parse(response)
//	err = stamp.Verify(message, roots)
//	fmt.Println(stamp.Time, stamp.Authority)
package timestamp
