package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// CommittedHead is a tenant's newest committed head.
type CommittedHead struct {
	Head
	StreamSeq uint64 // last message of the block that wrote it
}

const selectHeads = `
SELECT tenant, size, root, leaf_hash, toUnixTimestamp64Nano(time), stream_seq
FROM ${db}.heads
WHERE stream_seq <= {head:UInt64}
ORDER BY tenant, stream_seq DESC
LIMIT 1 BY tenant`

// Heads returns the newest committed head of each tenant, sorted by tenant.
func (s *Store) Heads(ctx context.Context) (all []CommittedHead, err error) {
	var h CommittedHead
	var root, leaf string
	err = s.each(ctx, selectHeads, s.headArgs(), func() {
		copy(h.Root[:], root)
		copy(h.LeafHash[:], leaf)
		all = append(all, h)
	}, &h.Tenant, &h.Size, &root, &leaf, &h.Time, &h.StreamSeq)
	return all, wrap(err, "read heads")
}

const selectBoundaries = `
SELECT DISTINCT stream_seq
FROM ${db}.heads
WHERE stream_seq > {after:UInt64} AND stream_seq <= {head:UInt64}
ORDER BY stream_seq`

// Boundaries returns the last stream sequence of each committed block after the
// given one, ascending. A check closes its blocks there, so that heads and state
// can be compared row by row. A changed boundary shows as a difference, since
// each block also names its first message.
func (s *Store) Boundaries(ctx context.Context, after uint64) (last []uint64, err error) {
	var seq uint64
	err = s.each(ctx, selectBoundaries, append(s.headArgs(), named("after", after)), func() { last = append(last, seq) }, &seq)
	return last, wrap(err, "read block boundaries")
}

// Load is how much stands in the block that ends at Last, as its batches record it.
type Load struct {
	Last   uint64 // stream sequence
	Events uint64 // leaves
	Bytes  uint64
}

const selectLoads = `
SELECT stream_seq, leaves, bytes
FROM ${db}.batches
WHERE stream_seq <= {head:UInt64}`

// Loads returns the load of each of the committed blocks that Boundaries lists, of all tenants.
func (s *Store) Loads(ctx context.Context) ([]Load, error) {
	last, err := s.Boundaries(ctx, 0)
	if err != nil {
		return nil, err
	}
	loads := make([]Load, len(last))
	for i := range last {
		loads[i].Last = last[i]
	}
	var seq, bytes uint64
	var leaves uint32
	err = s.each(ctx, selectLoads, s.headArgs(), func() {
		if i, _ := slices.BinarySearch(last, seq); i < len(loads) {
			loads[i].Events += uint64(leaves)
			loads[i].Bytes += bytes
		}
	}, &seq, &leaves, &bytes)
	return loads, wrap(err, "read loads of blocks")
}

// Checkpoint is a signed tree head as it was published.
type Checkpoint struct {
	Tenant    string
	Size      uint64
	Note      []byte // C2SP signed note with its cosignatures
	MadeAt    time.Time
	Witnesses uint16 // cosignatures in the note by others than the log itself
	Token     []byte // RFC 3161 response over the note; nil if there is none
}

// Confirmed reports whether somebody else vouches for the checkpoint.
func (c *Checkpoint) Confirmed() bool { return c.Witnesses > 0 || c.Token != nil }

const insertCheckpoint = `
INSERT INTO ${db}.checkpoints (tenant, size, made_at, note, witnesses, token)
SELECT {tenant:String}, {size:UInt64}, fromUnixTimestamp64Nano({made:Int64}, 'UTC'), unhex({note:String}), {witnesses:UInt16}, unhex({token:String})`

// SaveCheckpoint keeps a signed checkpoint beside the fold. One that was confirmed later is kept once more.
func (s *Store) SaveCheckpoint(ctx context.Context, c Checkpoint) error {
	err := s.db.Exec(ctx, s.sql(insertCheckpoint),
		named("tenant", c.Tenant), named("size", c.Size), named("made", c.MadeAt.UnixNano()), named("note", fmt.Sprintf("%x", c.Note)),
		named("witnesses", c.Witnesses), named("token", fmt.Sprintf("%x", c.Token)))
	return wrap(err, "save checkpoint of %s at %d", c.Tenant, c.Size)
}

const selectCheckpoints = `
SELECT tenant, size, toUnixTimestamp64Nano(made_at), note, witnesses, token
FROM ${db}.checkpoints
WHERE tenant = {tenant:String} AND size >= {from:UInt64} AND size <= {to:UInt64} AND %s
ORDER BY size %[2]s, made_at %[2]s
%[3]s`

// What selectCheckpoints may be completed with.
const (
	anyCheckpoint       = "1"
	confirmedCheckpoint = "(witnesses > 0 OR token != '')"
	limitRows           = "LIMIT {limit:UInt64}"
	limitByStep         = "LIMIT 1 BY intDiv(size - {from:UInt64}, {step:UInt64})"
	noLimit             = math.MaxUint64
)

// Checkpoints returns a tenant's checkpoints of at least the given size, oldest
// first, at most limit.
func (s *Store) Checkpoints(ctx context.Context, tenant string, fromSize uint64, limit int) ([]Checkpoint, error) {
	query := fmt.Sprintf(selectCheckpoints, anyCheckpoint, "ASC", limitRows)
	return s.checkpoints(ctx, query, tenant, fromSize, noLimit, named("limit", uint64(limit)))
}

// LastCheckpoint returns a tenant's newest checkpoint; ok is false if there is
// none.
func (s *Store) LastCheckpoint(ctx context.Context, tenant string) (c Checkpoint, ok bool, err error) {
	return s.lastCheckpoint(ctx, anyCheckpoint, tenant, noLimit)
}

// LastConfirmed returns the newest of a tenant's checkpoints of at most the given size that others have confirmed; ok is false if
// there is none.
func (s *Store) LastConfirmed(ctx context.Context, tenant string, toSize uint64) (c Checkpoint, ok bool, err error) {
	return s.lastCheckpoint(ctx, confirmedCheckpoint, tenant, toSize)
}

func (s *Store) lastCheckpoint(ctx context.Context, which, tenant string, to uint64) (c Checkpoint, ok bool, err error) {
	query := fmt.Sprintf(selectCheckpoints, which, "DESC", limitRows)
	all, err := s.checkpoints(ctx, query, tenant, 0, to, named("limit", uint64(1)))
	if err != nil || len(all) == 0 {
		return Checkpoint{}, false, err
	}
	return all[0], true, nil
}

// Confirmed returns a tenant's checkpoints with from ≤ size ≤ to that others have confirmed, ascending: of each of at most pieces equal
// parts of that range the first.
func (s *Store) Confirmed(ctx context.Context, tenant string, from, to, pieces uint64) ([]Checkpoint, error) {
	if from > to || pieces == 0 {
		return nil, nil
	}
	step := (to-from)/pieces + 1
	query := fmt.Sprintf(selectCheckpoints, confirmedCheckpoint, "ASC", limitByStep)
	return s.checkpoints(ctx, query, tenant, from, to, named("step", step))
}

func (s *Store) checkpoints(ctx context.Context, query, tenant string, from, to uint64, more any) (all []Checkpoint, err error) {
	var c Checkpoint
	var made int64
	var note, token string
	args := []any{named("tenant", tenant), named("from", from), named("to", to), more}
	err = s.each(ctx, query, args, func() {
		c.Note, c.MadeAt, c.Token = []byte(note), time.Unix(0, made).UTC(), nil
		if token != "" {
			c.Token = []byte(token)
		}
		all = append(all, c)
	}, &c.Tenant, &c.Size, &made, &note, &c.Witnesses, &token)
	return all, wrap(err, "read checkpoints of %s", tenant)
}

// TableSize is what one table takes.
type TableSize struct {
	Table        string
	Rows         uint64
	Parts        uint64
	Compressed   uint64 // bytes of column data on disk
	Uncompressed uint64 // bytes
	OnDisk       uint64 // bytes with marks and indexes
}

const selectSizes = `
SELECT table, sum(rows), count(), sum(data_compressed_bytes), sum(data_uncompressed_bytes), sum(bytes_on_disk)
FROM system.parts
WHERE active AND database = {database:String}
GROUP BY table
ORDER BY table`

// Sizes returns what each table takes on disk, sorted by table.
func (s *Store) Sizes(ctx context.Context) (all []TableSize, err error) {
	var t TableSize
	err = s.each(ctx, selectSizes, []any{named("database", s.name)}, func() { all = append(all, t) },
		&t.Table, &t.Rows, &t.Parts, &t.Compressed, &t.Uncompressed, &t.OnDisk)
	return all, wrap(err, "read sizes")
}
