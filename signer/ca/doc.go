// Package ca is the local certificate authority that gives a first start TLS
// without any set-up: a server certificate for this machine, and client
// certificates for people.
//
// The authority's certificate and ECDSA P-256 key are one PEM file, ca.pem,
// mode 0600, made at the first start and valid for [Validity]. ca.crt beside it
// is a copy of the certificate alone, for clients. Server keys live only in
// memory: a server makes a new one at each start and again after two thirds of
// [ServerValidity], so no restart and no file is needed to renew. A client's
// key is returned once and not kept.
//
// All connections are TLS 1.3. A certificate proves only that the authority
// issued it to a name; what that name may do is the business of its user. There
// is no revocation list: whoever admits a certificate by its fingerprint also
// stops admitting it.
//
// Worked example:
//
//	authority, _ := ca.Open("/var/lib/custody/tls", ca.Options{})
//	server := authority.ServerTLS(tls.VerifyClientCertIfGiven)
//	cert, _ := authority.IssueClient("ada")
//	client, _ := ca.ClientTLS(authority.CertPEM(), cert.CertPEM, cert.KeyPEM)
package ca
