// Package sigstore holds the statement of a bundle (statement.sigstore.json) against sigstore-go itself: with and without an RFC 3161
// time stamp over its signature. It is a module of its own, so that none of what sigstore-go requires is required of Custody, and it
// reads test vectors and nothing else of the project.
//
// Its tests have the build tag interop.
package sigstore
