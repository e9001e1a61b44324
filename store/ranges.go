package store

import (
	"context"
	"fmt"
	"math"

	"github.com/agentcustody/custody/chain"
)

const selectLeafBytes = `
SELECT leaf FROM ${db}.leaves
WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64}
ORDER BY idx`

// Leaves calls yield with the bytes of each committed leaf in [from, to), in order. The bytes belong to yield.
func (s *Store) Leaves(ctx context.Context, tenant string, from, to uint64, yield func(leaf []byte)) error {
	var leaf string
	err := s.each(ctx, selectLeafBytes, append(s.headArgs(), named("tenant", tenant), named("from", from), named("to", to)),
		func() { yield([]byte(leaf)) }, &leaf)
	return wrap(err, "read leaves of %s", tenant)
}

// LeafHashes returns the hashes of the committed leaves in [from, to), in order.
func (s *Store) LeafHashes(ctx context.Context, tenant string, from, to uint64) ([]chain.Hash, error) {
	hashes := make([]chain.Hash, 0, min(to-from, chain.LeafChunk))
	err := s.Leaves(ctx, tenant, from, to, func(leaf []byte) { hashes = append(hashes, chain.LeafHash(leaf)) })
	return hashes, err
}

const selectFirstAt = `
SELECT if(count() = 0, {none:UInt64}, min(idx)) FROM ${db}.leaves
WHERE tenant = {tenant:String} AND time >= fromUnixTimestamp64Nano({since:Int64}, 'UTC') AND stream_seq <= {head:UInt64}`

// FirstAt returns the index of the first committed leaf received at or after a time (ns UTC), or none if there is no such
// leaf. Times never go back along a log.
func (s *Store) FirstAt(ctx context.Context, tenant string, time int64, none uint64) (uint64, error) {
	idx, err := s.number(ctx, selectFirstAt, append(s.headArgs(), named("tenant", tenant), named("since", time), named("none", none))...)
	return idx, wrap(err, "find first leaf of %s", tenant)
}

const selectEmitterBatches = `
SELECT key_id, %s FROM ${db}.batches
WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64}
  AND statement != '' AND %s
GROUP BY key_id`

const (
	firstOfKey = "min(idx)"
	inTime     = `idx NOT IN (
    SELECT idx FROM ${db}.events WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND verdict = 'late')`
	highestOfKey = "argMax(idx, (epoch_no, first_seq))"
	wholly       = "idx + leaves <= {to:UInt64}"
)

// EmitterBatches returns the first leaf of one batch of each key that has any in [from, to), leaving out messages that are kept
// whole: of the first that is not late, or, with highest, of the one with the highest epoch and numbers among those that lie wholly in
// the range.
func (s *Store) EmitterBatches(ctx context.Context, tenant string, from, to uint64, highest bool) (map[[32]byte]uint64, error) {
	query := fmt.Sprintf(selectEmitterBatches, firstOfKey, inTime)
	if highest {
		query = fmt.Sprintf(selectEmitterBatches, highestOfKey, wholly)
	}
	var key string
	var idx uint64
	first := map[[32]byte]uint64{}
	err := s.each(ctx, query, append(s.headArgs(), named("tenant", tenant), named("from", from), named("to", to)), func() {
		if len(key) == len([32]byte{}) {
			first[[32]byte([]byte(key))] = idx
		}
	}, &key, &idx)
	return first, wrap(err, "find batches of %s", tenant)
}

const selectMessagesOf = `
SELECT DISTINCT toUInt64(idx - position) AS first FROM ${db}.events
WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64}
  AND kind = 'system' AND verdict = 'accepted' AND action IN {actions:Array(String)}
ORDER BY first`

// SystemMessages returns the first leaf of each message in [from, to) that holds an accepted system event with one of these
// actions, in order.
func (s *Store) SystemMessages(ctx context.Context, tenant string, from, to uint64, actions []string) (first []uint64, err error) {
	var idx uint64
	args := append(s.headArgs(), named("tenant", tenant), named("from", from), named("to", min(to, math.MaxInt64)), named("actions", actions))
	err = s.each(ctx, selectMessagesOf, args, func() { first = append(first, idx) }, &idx)
	return first, wrap(err, "find system events of %s", tenant)
}
