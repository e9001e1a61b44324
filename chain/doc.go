// Package chain is the hash chain and Merkle tree of one tenant's log, as pure
// functions over bytes: it reads no file, no clock and no random source, so
// the same stream gives the same roots on every machine and in every year.
//
// # Hashes
//
// Every hash is SHA-256. Leaves and nodes carry the prefixes of RFC 6962
// section 2.1, so that a leaf can never be taken for a node:
//
//	event hash  = SHA-256(0x00 ‖ event bytes)
//	event root  = RFC 6962 root over the event hashes of one batch, in order
//	leaf hash   = SHA-256(0x00 ‖ leaf bytes)
//	node hash   = SHA-256(0x01 ‖ left ‖ right)
//	empty root  = SHA-256("")
//	origin hash = SHA-256(origin)
//	tag         = SHA-256("custody/instance/v1\0" ‖ salt[32] ‖ instance)
//
// # Leaf
//
// A leaf is a fixed header of [LeafSize] bytes, integers big endian:
//
//	offset size field
//	     0    1 version, 1
//	     1   32 origin hash
//	    33    8 index, from 0 (0 is the genesis)
//	    41   32 prev: leaf hash at index − 1; zeros at index 0
//	    73    8 time, ns UTC: max(time of the leaf before, stream time)
//	    81   32 instance tag
//	   113   32 batch digest
//	   145    4 position in the batch
//	   149    1 kind: 1 identity, 2 data, 3 execution, 4 approval, 5 system,
//	          255 not an event
//	   150    1 verdict: 1 accepted, 2 gap, 3 late, 4 key-invalid, 5 held,
//	          6 equivocation, 7 malformed
//	   151   32 event hash; for verdicts 6 and 7 over the raw message
//
// Because the leaf holds prev, its one hash is both the link of the hash chain
// and the leaf of the Merkle tree. A leaf holds no content and no name.
//
// # Checkpoint
//
// The body is a C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) of
// exactly three lines: origin, size in decimal, root in base64. There are no
// extension lines. Signatures are the business of package signer.
//
// # What a caller may trust
//
// [Chain.Replay] proves that leaves are linked; [Rebuild] proves that they are
// the leaves of a root. Neither proves who signed the root. The leaf just
// outside a range is proven only if it is inside the rebuilt range, or if the
// leaf after it is (through prev).
//
// Worked example: a log of one leaf.
//
//	c, _ := chain.New("example.com/custody/7f3a")
//	leaf, hash, _ := c.Append(nil, chain.Entry{Kind: chain.KindSystem, Verdict: chain.Accepted})
//	// len(leaf) == 183, hash == chain.LeafHash(leaf) == c.Root()
package chain
