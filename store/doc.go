// Package store keeps the folded log in ClickHouse: in the engine inside this
// process or on a server, through one driver and one schema.
//
// # What is kept
//
// The fold hands over what it made of one stream message ([Folded]); the store
// derives every row from it, in one place (derive.go). The writer inserts those
// rows, and [Store.Compare] derives them again and compares every column of
// every table, so no value can be changed that a check does not see.
//
//	table       a row is                                  sorted by
//	events      a leaf: columns for queries, exact bytes  tenant, idx
//	leaves      a leaf: its exact 183 bytes, for ever     tenant, idx
//	batches     a message: what the emitter signed        tenant, idx
//	openings    an encrypted opening of a sealed field    tenant, idx
//	held        an event that failed the secret scan      tenant, idx
//	keys        an accepted change of an emitter key      tenant, idx
//	heads       a tenant after a block                    tenant, stream_seq
//	fold_state  a changed entry of the fold's state       tenant, key, stream_seq
//	checkpoints a signed checkpoint (beside the fold)     tenant, size
//	expiries    what was expired (beside the fold)        tenant, first_kept
//
// events.bytes is the preimage of the leaf's event hash: the event, or the whole
// message where that was malformed or an equivocation; it is empty for a held
// event. An event's row repeats in columns what the bytes say, so that queries
// need not decode; digests stay in the bytes alone. Absent is the empty string
// or zero; the unspecified value of an enumeration is the empty name.
//
// # Blocks
//
// Consecutive messages form a [Block]. [Store.Insert] writes each table as one
// block of the engine, under a deduplication token made of the table and the
// range of stream sequences, and reads back the number of rows and the last
// leaf. A block may be inserted again after any failure. What is written is
// visible only once the committed head is at or past it: every reader filters
// by stream_seq ≤ [Options].Head, and the head is the ledger's to move.
//
// # What a caller may trust
//
// Durability is ClickHouse's: an insert that returned is on disk. The store
// proves nothing by itself; a reader who does not trust the database verifies
// leaves, batches and bytes as package evidence does. Values reach the server as
// parameters, never as text of a statement.
//
// Retention is explicit: [Store.Expire] drops content rows below an index and
// keeps leaves, batches, keys, heads and Custody's own events.
//
//	s, err := store.Open(ctx, "chdb:///var/lib/custody/store", store.Options{Head: ledger.Committed})
//	b := store.NewBlock(first)
//	b.Add(folded)
//	b.Close(last, streamDigest, heads)
//	err = s.Insert(ctx, b)
//	for row, err := range s.Search(ctx, store.Filter{Tenant: "acme", Tool: "send_email"}) { … }
package store
