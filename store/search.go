package store

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// searchPage is how many rows a search holds in memory at a time.
	searchPage = 1000
	// idsAtOnce is how many ids go into one statement: a URI of a ClickHouse
	// server holds 1 MiB.
	idsAtOnce = 1000
	// MaxNewest is the most rows of a search for the newest, which are held in
	// memory to be turned round.
	MaxNewest = 10_000
	// MaxByID is the most rows of one look-up by ids: ids may be shared, by as many events as somebody likes, and all
	// rows are held in memory. Twice the largest graph.
	MaxByID = 20_000
)

// Row is one committed event with its leaf.
type Row struct {
	Tenant    string
	Index     uint64
	StreamSeq uint64
	Received  int64 // ns UTC
	Position  uint32
	Verdict   chain.Verdict
	Kind      chain.Kind
	Producer  eventv1.ProducerClass
	Instance  string
	KeyID     [32]byte
	Seq       uint64   // the emitter's sequence number
	ID        event.ID // zero for a leaf without a readable event
	Bytes     []byte   // exact event bytes; empty if held or not an event
	Leaf      []byte   // chain.LeafSize bytes
}

// LeafHash is the hash of the row's leaf.
func (r *Row) LeafHash() chain.Hash { return chain.LeafHash(r.Leaf) }

const rowColumns = `idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)`

// rowScan is where the driver scans the columns of rowColumns.
type rowScan struct {
	row                     Row
	verdict, kind, producer int8
	keyID, id, bytes        string
}

func (r *rowScan) dest() []any {
	return []any{
		&r.row.Index, &r.row.StreamSeq, &r.row.Received, &r.row.Position, &r.verdict, &r.kind, &r.producer,
		&r.row.Instance, &r.keyID, &r.row.Seq, &r.id, &r.bytes,
	}
}

func (r *rowScan) take(tenant string) *Row {
	row := r.row
	row.Tenant = tenant
	row.Verdict, row.Kind, row.Producer = chain.Verdict(r.verdict), chain.Kind(r.kind), eventv1.ProducerClass(r.producer)
	copy(row.KeyID[:], r.keyID)
	copy(row.ID[:], r.id)
	row.Bytes = []byte(r.bytes)
	return &row
}

// Search returns the committed events that match, in index order. It reads a
// page at a time, so a caller may stop early.
func (s *Store) Search(ctx context.Context, f Filter) iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		if f.Newest {
			s.newest(ctx, f, yield)
			return
		}
		head := s.options.Head() // one state for all pages
		left := limit(f.Limit, math.MaxInt)
		for left > 0 {
			size := min(left, searchPage)
			page, err := s.rows(ctx, f.Tenant, f.build(head), false, size)
			if !yieldAll(page, err, yield) || len(page) < size {
				return
			}
			left -= len(page)
			f.FromIndex = page[len(page)-1].Index + 1
		}
	}
}

func limit(given, most int) int {
	if given <= 0 {
		return most
	}
	return min(given, most)
}

func (s *Store) newest(ctx context.Context, f Filter, yield func(*Row, error) bool) {
	page, err := s.rows(ctx, f.Tenant, f.build(s.options.Head()), true, limit(f.Limit, MaxNewest))
	slices.Reverse(page)
	yieldAll(page, err, yield)
}

func yieldAll(page []*Row, err error, yield func(*Row, error) bool) bool {
	if err != nil {
		yield(nil, fmt.Errorf("search: %w", err))
		return false
	}
	for _, row := range page {
		if !yield(row, nil) {
			return false
		}
	}
	return true
}

// rows reads one page and the leaves that belong to it.
func (s *Store) rows(ctx context.Context, tenant string, b *builder, newest bool, limit int) (page []*Row, err error) {
	var scan rowScan
	err = s.each(ctx, b.query(newest, uint64(limit)), b.args, func() { page = append(page, scan.take(tenant)) }, scan.dest()...)
	if err != nil {
		return nil, wrap(err, "read events of %s", tenant)
	}
	return page, s.addLeaves(ctx, tenant, page)
}

const selectLeaves = `
SELECT idx, leaf FROM ${db}.leaves
WHERE tenant = {tenant:String} AND idx IN {indices:Array(UInt64)} AND stream_seq <= {head:UInt64}`

func (s *Store) addLeaves(ctx context.Context, tenant string, page []*Row) error {
	for chunk := range slices.Chunk(page, idsAtOnce) {
		rows := make(map[uint64]*Row, len(chunk))
		indices := make([]uint64, len(chunk))
		for i, row := range chunk {
			rows[row.Index], indices[i] = row, row.Index
		}
		var idx uint64
		var leaf string
		err := s.each(ctx, selectLeaves, append(s.headArgs(), named("tenant", tenant), named("indices", indices)),
			func() { rows[idx].Leaf = []byte(leaf) }, &idx, &leaf)
		if err != nil {
			return wrap(err, "read leaves of %s", tenant)
		}
	}
	return nil
}

// EventsByIDs returns the first committed events with these ids, in index order,
// at most the given number (0, and at most: MaxByID). An id that two events share
// gives both. As many as were asked for means that there may be more.
func (s *Store) EventsByIDs(ctx context.Context, tenant string, ids []event.ID, most int) (all []*Row, err error) {
	most = limit(most, MaxByID)
	head := s.options.Head() // one state for all ids
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		f := Filter{Tenant: tenant}
		b := f.build(head)
		b.add("id IN (SELECT arrayJoin("+idList+"))", "ids", hexIDs(chunk))
		page, err := s.rows(ctx, tenant, b, false, most)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		slices.SortFunc(all, func(a, b *Row) int { return cmp.Compare(a.Index, b.Index) })
		all = all[:min(len(all), most)]
	}
	return all, nil
}

// EventByID returns the first committed event with an id; ok is false if there
// is none.
func (s *Store) EventByID(ctx context.Context, tenant string, id event.ID) (row *Row, ok bool, err error) {
	all, err := s.EventsByIDs(ctx, tenant, []event.ID{id}, 1)
	if err != nil || len(all) == 0 {
		return nil, false, err
	}
	return all[0], true, nil
}

// EventsOfRun returns the committed events of a run in index order, at most
// limit (0: no limit). An empty instance is any.
func (s *Store) EventsOfRun(ctx context.Context, tenant, instance, run string, limit int) (all []*Row, err error) {
	for row, err := range s.Search(ctx, Filter{Tenant: tenant, Instance: instance, Run: run, Limit: limit}) {
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, nil
}

func hexIDs(ids []event.ID) []string {
	all := make([]string, len(ids))
	for i := range ids {
		all[i] = hex.EncodeToString(ids[i][:])
	}
	return all
}

// Direction of a walk along causal edges.
type Direction string

// The directions: from an event to what led to it, or to what it led to.
const (
	Causes  Direction = "causes"
	Effects Direction = "effects"
)

// Edge is one committed causal edge.
type Edge struct {
	Cause    event.ID // may name an event that was never received
	Effect   event.ID
	Index    uint64 // leaf of the effect
	Relation eventv1.Relation
	Basis    eventv1.CauseBasis
}

const selectEdges = `
SELECT idx, id, cause, CAST(relation, 'Int8'), CAST(basis, 'Int8')
FROM ${db}.events
ARRAY JOIN causes AS cause, cause_relations AS relation, cause_bases AS basis
PREWHERE tenant = {tenant:String} AND stream_seq <= {head:UInt64} AND %s
ORDER BY idx, cause
LIMIT {limit:UInt64}`

// idList is the parameter ids, as FixedString(16).
const idList = "arrayMap(x -> toFixedString(unhex(x), 16), {ids:Array(String)})"

var ofDirection = map[Direction]string{
	Causes:  "id IN (SELECT arrayJoin(" + idList + "))",
	Effects: "hasAny(causes, " + idList + ")\nWHERE has(" + idList + ", cause)",
}

// EdgesOf returns the committed edges that lead from the given events in one
// direction, in the order of their effects, at most limit (0: no limit).
func (s *Store) EdgesOf(ctx context.Context, tenant string, ids []event.ID, d Direction, most int) (all []Edge, err error) {
	condition, ok := ofDirection[d]
	if !ok {
		return nil, fmt.Errorf("read edges: unknown direction %q", string(d))
	}
	query := fmt.Sprintf(selectEdges, condition)
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		args := append(s.headArgs(), named("tenant", tenant), named("ids", hexIDs(chunk)), named("limit", uint64(limit(most, math.MaxInt))))
		var e Edge
		var cause, effect string
		var relation, basis int8
		err := s.each(ctx, query, args, func() {
			copy(e.Cause[:], cause)
			copy(e.Effect[:], effect)
			e.Relation, e.Basis = eventv1.Relation(relation), eventv1.CauseBasis(basis)
			all = append(all, e)
		}, &e.Index, &effect, &cause, &relation, &basis)
		if err != nil {
			return nil, wrap(err, "read edges of %s", tenant)
		}
	}
	return all, nil
}

// Opening is one encrypted opening of a committed event.
type Opening struct {
	Index      uint64
	Path       string
	Subject    string
	Generation uint32
	Ciphertext []byte
}

const selectOpenings = `
SELECT idx, path, subject, generation, ciphertext
FROM ${db}.openings
WHERE tenant = {tenant:String} AND idx IN {indices:Array(UInt64)} AND stream_seq <= {head:UInt64}
ORDER BY idx, path`

// OpeningsOf returns the encrypted openings of events, by index and path.
func (s *Store) OpeningsOf(ctx context.Context, tenant string, indices ...uint64) (all []Opening, err error) {
	for chunk := range slices.Chunk(indices, idsAtOnce) {
		var o Opening
		var ciphertext string
		err := s.each(ctx, selectOpenings, append(s.headArgs(), named("tenant", tenant), named("indices", chunk)), func() {
			o.Ciphertext = []byte(ciphertext)
			all = append(all, o)
		}, &o.Index, &o.Path, &o.Subject, &o.Generation, &ciphertext)
		if err != nil {
			return nil, wrap(err, "read openings of %s", tenant)
		}
	}
	return all, nil
}

// HeldOf is one held event: its ciphertext under the tenant's held-content key.
type HeldOf struct {
	Index      uint64
	Detector   string
	Generation uint32
	Ciphertext []byte
}

const selectHeld = `
SELECT idx, detector, generation, ciphertext
FROM ${db}.held
WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64}
ORDER BY idx`

// Held returns the held events among the leaves [from, to).
func (s *Store) Held(ctx context.Context, tenant string, from, to uint64) (all []HeldOf, err error) {
	var h HeldOf
	var ciphertext string
	err = s.each(ctx, selectHeld, append(s.headArgs(), named("tenant", tenant), named("from", from), named("to", to)), func() {
		h.Ciphertext = []byte(ciphertext)
		all = append(all, h)
	}, &h.Index, &h.Detector, &h.Generation, &ciphertext)
	return all, wrap(err, "read held events of %s", tenant)
}

// InstanceStat counts one instance's committed leaves.
type InstanceStat struct {
	Instance string
	Events   uint64
	Gaps     uint64 // leaves with verdict gap
	LastSeen int64  // newest leaf's time, ns UTC
}

const selectInstances = `
SELECT instance, count(), countIf(verdict = 'gap'), toUnixTimestamp64Nano(max(received))
FROM ${db}.events
WHERE tenant = {tenant:String} AND stream_seq <= {head:UInt64}
GROUP BY instance
ORDER BY instance`

// InstanceStats counts a tenant's leaves by instance, sorted by instance.
// Expired events are not counted.
func (s *Store) InstanceStats(ctx context.Context, tenant string) (all []InstanceStat, err error) {
	var i InstanceStat
	err = s.each(ctx, selectInstances, append(s.headArgs(), named("tenant", tenant)), func() { all = append(all, i) },
		&i.Instance, &i.Events, &i.Gaps, &i.LastSeen)
	return all, wrap(err, "count instances of %s", tenant)
}
