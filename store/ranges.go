package store

import (
	"context"
	"encoding/hex"
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

const selectEmitterBatch = `
SELECT idx FROM ${db}.batches
WHERE tenant = {tenant:String} AND key_id = unhex({key:String}) AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64}
  AND statement != '' AND %s
LIMIT 1`

const (
	firstInTime = `idx NOT IN (SELECT idx FROM ${db}.events WHERE tenant = {tenant:String} AND verdict = 'late')
ORDER BY idx`
	highestNumber = `idx + leaves <= {to:UInt64}
ORDER BY epoch_no DESC, first_seq DESC`
)

// EmitterBatch returns the first leaf of one of a key's batches in [from, to), leaving out messages that are kept whole: the
// first that is not late, or, with highest, the one with the highest epoch and numbers among those that lie wholly in the
// range; ok is false if there is none.
func (s *Store) EmitterBatch(ctx context.Context, tenant string, keyID [32]byte, from, to uint64, highest bool) (first uint64, ok bool, err error) {
	which := firstInTime
	if highest {
		which = highestNumber
	}
	args := append(s.headArgs(), named("tenant", tenant), named("key", hex.EncodeToString(keyID[:])), named("from", from), named("to", to))
	err = s.each(ctx, fmt.Sprintf(selectEmitterBatch, which), args, func() { ok = true }, &first)
	return first, ok, wrap(err, "find batch of %s", tenant)
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
