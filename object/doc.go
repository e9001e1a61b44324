// Package object keeps sealed values that are too long for a batch: each is one encrypted file, written by the door before
// the batch that names it is published, and read when somebody may see it.
//
// # Files
//
//	DIR/TENANT/1f/<62 hexadecimal digits>      named by a batch: kept
//	DIR/TENANT/1f/<62 hexadecimal digits>.new  no batch has named it yet: removed by [Store.Sweep] when it is old
//	DIR/TENANT/1f/.<any>.tmp                   being written
//
// The name is HMAC-SHA-256 under the tenant's first fingerprint key of "custody/object/v1\0" ‖ digest ‖ subject: it tells nothing
// to who does not know both, and no name of one tenant is the name of another. A file holds, integers big endian:
//
//	bytes  field
//	   18  "custody/object/v1\0"
//	    4  generation of the data key
//	    8  size of the value
//	    4  length of the notes
//	    n  notes, sealed: salt (32) ‖ u32 number of the fingerprint key ‖ u8 length ‖ name of the secret detector
//	       that fired, if any ‖ fingerprints (8 each)
//	       the value in pieces of 64 KiB, each sealed
//
// Sealed is nonce (12) ‖ AES-256-GCM ‖ tag (16) under the data key of the subject, as for an opening (package content). The
// additional data is "custody/object/v1\0" ‖ tenant ‖ 0 ‖ digest ‖ u64 size ‖ u32 piece, from 1; the notes are piece 0. So
// no piece can be moved, dropped or taken from another value, and an object dies with its subject's key.
//
// # What is promised
//
// When [Store.Put] has returned, the object is on disk, file and name. Putting it again changes nothing. What
// [Store.Claim] has named stays until somebody takes the file away. A crash leaves a file of each kind or none; the
// next Sweep, or the next Put of the same value, clears it up.
package object
