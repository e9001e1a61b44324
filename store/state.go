package store

import (
	"context"
	"fmt"
)

// TenantEntry is one entry of a tenant's fold state.
type TenantEntry struct {
	Tenant    string
	Key       string
	StreamSeq uint64 // the message that set it
	Value     []byte
}

const selectState = `
SELECT tenant, key, max(stream_seq), argMax(value, stream_seq)
FROM ${db}.fold_state
WHERE stream_seq <= {upto:UInt64}
GROUP BY tenant, key
ORDER BY tenant, key`

// LoadState returns the newest value of every entry at or before a stream
// sequence, sorted by tenant and key. Entries with an empty value are left out:
// they are gone.
func (s *Store) LoadState(ctx context.Context, upTo uint64) (entries []TenantEntry, err error) {
	var e TenantEntry
	var value string
	err = s.each(ctx, selectState, []any{named("upto", upTo)}, func() {
		if e.Value = []byte(value); value != "" {
			entries = append(entries, e)
		}
	}, &e.Tenant, &e.Key, &e.StreamSeq, &value)
	return entries, wrap(err, "load state at %d", upTo)
}

const selectNewest = `
SELECT tenant, key, max(stream_seq)
FROM ${db}.fold_state
WHERE stream_seq <= {head:UInt64}
GROUP BY tenant, key`

// newestState is the stream sequence of the newest committed row of each entry.
func (s *Store) newestState(ctx context.Context) (map[stateKey]uint64, error) {
	newest := map[stateKey]uint64{}
	var k stateKey
	var seq uint64
	err := s.each(ctx, selectNewest, s.headArgs(), func() { newest[k] = seq }, &k.tenant, &k.key, &seq)
	return newest, wrap(err, "read state")
}

const pruneState = `
ALTER TABLE ${db}.fold_state DELETE
WHERE stream_seq <= %[1]d AND (tenant, key, stream_seq) NOT IN
(
    SELECT tenant, key, max(stream_seq) FROM ${db}.fold_state WHERE stream_seq <= %[1]d GROUP BY tenant, key
)
SETTINGS mutations_sync = 2`

// PruneState removes state rows that a newer row at or before upTo replaces, so
// that a start reads one row for each entry. upTo must be committed and done: no
// writer will load an older state again.
func (s *Store) PruneState(ctx context.Context, upTo uint64) error {
	// A mutation is kept as text, so it takes no parameters; upTo is a number.
	return wrap(s.exec(ctx, fmt.Sprintf(pruneState, upTo)), "prune state up to %d", upTo)
}

const selectOverlapping = `
SELECT batch_digest
FROM ${db}.batches
WHERE tenant = {tenant:String} AND key_id = unhex({key:String}) AND epoch_no = {epoch:UInt64}
  AND first_seq <= {last:UInt64} AND first_seq + count > {first:UInt64}
  AND statement != '' AND stream_seq <= {head:UInt64}
ORDER BY first_seq DESC
LIMIT 1`

// BatchOverlapping returns the digest of the committed batch with the greatest
// numbers among those of an emitter's epoch that hold any sequence number from
// first to last. Messages that were malformed or an equivocation do not count.
func (s *Store) BatchOverlapping(ctx context.Context, tenant string, keyID [32]byte, epochNo, first, last uint64) (digest [32]byte, ok bool, err error) {
	args := append(s.headArgs(), named("tenant", tenant), named("key", fmt.Sprintf("%x", keyID)), named("epoch", epochNo),
		named("first", first), named("last", last))
	var stored string
	err = s.each(ctx, selectOverlapping, args, func() { ok = copy(digest[:], stored) == len(digest) }, &stored)
	return digest, ok, wrap(err, "find batch of sequences %d to %d", first, last)
}

// headArgs is the parameter by which every reader is held to committed rows.
func (s *Store) headArgs() []any { return []any{named("head", s.options.Head())} }
