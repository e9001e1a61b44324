// Package signer holds the keys of Custody and everything that is signed with
// them. The algorithm is Ed25519 (RFC 8032); an [ExportKey] alone, which signs
// what others verify with their own tools, may be ECDSA over SHA-256 on P-256.
//
// # Keys
//
// A [KeyID] is SHA-256 of the 32-byte public key. A private key lives in a
// [Key]; it is read from a PKCS#8 PEM file that only its owner may read, and no
// method, format verb or log call prints it. Anything else that can sign (a
// hardware token, a key service) enters as a [Signer].
//
// Public keys of small order are refused: with such a key anybody can make a
// signature that verifies, so it would bind nobody.
//
// # What is signed
//
//	batch        DSSE v1 PAE of the statement, PayloadTypeBatch
//	checkpoint   C2SP signed note of a chain.Checkpoint, type 0x01
//	cosignature  C2SP cosignature/v1 of a checkpoint, type 0x04, with a time
//	receipt      C2SP signed note of a Receipt, type 0x01
//	export       DSSE v1 PAE of a statement about what is exported, by an Exporter
//
// They cannot be confused although one key may make several of them: the
// PAE begins with "DSSEv1 " and the payload type, a cosigned message with "cosignature/v1\n", a
// receipt with "custody/receipt/v1\n", and no checkpoint that a verifier
// accepts has one of these as its origin line.
//
// # When a key counts
//
// A [Keyring] says for which leaves of a log a key counts. Validity is by
// index, never by clock.
//
// Worked example: sign and check a batch statement.
//
//	key, _ := signer.LoadOrCreate("emitter.key")
//	sig, _ := signer.SignDSSE(key, signer.PayloadTypeBatch, statement)
//	err := signer.VerifyDSSE(key.Public(), signer.PayloadTypeBatch, statement, sig)
package signer
