// Package logs holds Custody's logs and witnesses against other people's implementations of the C2SP specifications: the client, the fsck
// and the witness of transparency-dev. It is a module of its own, so that none of their requirements is one of Custody's.
//
// Its tests have the build tag interop.
package logs
