// Package tsa asks RFC 3161 authorities for time stamps over HTTP, and is one itself, for tests and for networks that reach none.
//
// # The authority of one's own
//
// An [Authority] keeps a root and a certificate for time stamps in a folder, both ECDSA P-256, and stamps with the clock of its machine.
// It is not qualified: its policy is timestamp.NotQualified and its name says so. A stamp of the operator's own authority says no more than
// the operator's clock, and verifiers count it as that. Run by somebody else, with its root in their policy, it says what they say.
package tsa
