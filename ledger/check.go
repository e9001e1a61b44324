package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// Progress is how far a check or rebuild has come. Each call that reports a difference has one Problem.
type Progress struct {
	Messages      uint64
	TotalMessages uint64 // 0 in a check
	Events        uint64 // leaves
	TotalEvents   uint64 // 0 in a rebuild
	Batches       uint64 // whose signature was verified
	Checkpoints   uint64 // whose signature and root were verified
	Tenants       uint32
	Problems      uint64
	Problem       *store.Problem
}

// Check folds again everything that the store holds up to the committed head, and compares every column of
// every table with what comes out; it verifies each batch's signature with the key that was valid there, the
// numbering of every emitter, and the signature and root of every checkpoint. An empty list of tenants is all of
// them; of a part of them, nothing of the others is read. Two things rest on all logs together, and are left to the
// check of all: the number of leaves that the head records, and the digest of the stream beside each log's head.
// The last Progress is returned. An error says that the check itself could not go on; problems are no error.
//
// What it cannot see: a digest of the stream is verified between messages that follow each other; where messages
// without leaves stand between, Rebuild verifies it. Of a log whose older content has expired leaves, heads, keys,
// checkpoints and signatures are verified, and what content there is against its leaves, but no other columns.
func (l *Ledger) Check(ctx context.Context, tenants []string, progress func(Progress)) (Progress, error) {
	began := l.cfg.Now()
	head, err := l.readHead(ctx)
	if err != nil {
		return Progress{}, fmt.Errorf("check: %w", err)
	}
	c := l.checker(head, began, tenants, progress)
	c.quickly, c.fold.room = true, new(leafRoom)
	if err = c.run(ctx, c.quick); errors.Is(err, errDoubt) {
		c = l.checker(head, began, tenants, progress)
		err = c.run(ctx, c.foldAll)
	}
	if err != nil {
		return c.progress, fmt.Errorf("check: %w", err)
	}
	return c.progress, nil
}

// readHead returns the recorded head.
func (l *Ledger) readHead(ctx context.Context) (*head, error) {
	value, revision, err := l.cfg.Stream.Head(l.cfg.Partition).Load(ctx)
	if err != nil {
		return nil, err
	}
	if revision == 0 {
		return &head{Version: headVersion, Incarnation: l.cfg.Stream.Incarnation()}, nil
	}
	h, err := parseHead(value)
	if err == nil && h.Incarnation != l.cfg.Stream.Incarnation() {
		err = stream.ErrIncarnation
	}
	return h, err
}

func (l *Ledger) checker(head *head, began time.Time, tenants []string, progress func(Progress)) *checker {
	return &checker{
		system: l.cfg.System, store: l.cfg.Store, snapshot: l.cfg.Store.At(head.Done), head: head, began: began,
		wanted: tenants, report: progress, workers: l.cfg.Workers, most: windowEvents,
		logs: map[string]*checkedLog{}, fold: NewFold(l.cfg.System, l.cfg.Store),
	}
}

// checker is one check.
type checker struct {
	system   signer.PublicKey
	store    Store
	snapshot Snapshot
	head     *head
	began    time.Time
	wanted   []string // none: all
	report   func(Progress)
	workers  int
	most     uint64 // events of a window

	fold       *Fold
	logs       map[string]*checkedLog
	quickly    bool // a problem is a doubt, and not reported
	doubt      bool
	reading    *store.Reading // what the block is compared with, nil if that is to be read
	boundaries []uint64       // last messages of the blocks to come
	block      *store.Block
	ends       map[string]bool // tenants that the block touches
	digest     Digest          // running digest after the block's last message
	rooms      rooms           // for messages that are decoded
	used       []*room         // by messages whose rows are not compared yet

	progress Progress
}

// checkedLog is what a check knows of one log besides the fold.
type checkedLog struct {
	lost    bool       // the fold cannot follow any more; further differences would say nothing new
	partial bool       // content has expired: of emitters only leaves, statements and what is left are checked
	end     chain.Hash // last leaf hash, as recorded
	notes   []store.Checkpoint
	noted   uint64 // size up to which checkpoints were read
	drained bool   // there are no more checkpoints
}

// compares reports whether a difference says something. Where content has expired, only leaves, heads and keys can be
// derived, and that there are rows of events.
func (l *checkedLog) compares(p *store.Problem) bool {
	whole := p.Table == "leaves" || p.Table == "heads" || p.Table == "keys" || p.Table == "events" && p.Column == ""
	return !l.lost && (!l.partial || whole)
}

func (c *checker) log(tenant string) *checkedLog {
	if c.logs[tenant] == nil {
		c.logs[tenant] = new(checkedLog)
	}
	return c.logs[tenant]
}

// run checks the messages that read takes.
func (c *checker) run(ctx context.Context, read func(ctx context.Context, heads []store.CommittedHead) error) error {
	heads, err := c.allHeads(ctx)
	if err != nil {
		return err
	}
	if c.boundaries, err = c.snapshot.Boundaries(ctx, 0); err != nil {
		return err
	}
	heads = c.choose(heads)
	for _, h := range heads {
		c.progress.TotalEvents += h.Size
		c.log(h.Tenant).end = h.LeafHash
	}
	c.progress.Tenants = uint32(len(heads))
	c.begin(1)
	if err := read(ctx, heads); err != nil {
		return err
	}
	if err := c.compareRest(ctx); err != nil {
		return err
	}
	if err := c.finish(ctx, heads); err != nil {
		return err
	}
	return c.sure()
}

// allHeads returns the recorded head of every log: of those that have one, and an empty head for a log that has
// only state, so that a log whose heads are gone is noticed.
func (c *checker) allHeads(ctx context.Context) ([]store.CommittedHead, error) {
	heads, err := c.snapshot.Heads(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := c.store.LoadState(ctx, c.head.Done)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, h := range heads {
		known[h.Tenant] = true
	}
	for _, e := range entries {
		if !known[e.Tenant] {
			known[e.Tenant] = true
			heads = append(heads, store.CommittedHead{Head: store.Head{Tenant: e.Tenant}})
		}
	}
	return heads, nil
}

// choose keeps the heads of the wanted logs.
func (c *checker) choose(heads []store.CommittedHead) (chosen []store.CommittedHead) {
	there := map[string]bool{}
	for _, h := range heads {
		if there[h.Tenant] = true; len(c.wanted) == 0 || slices.Contains(c.wanted, h.Tenant) {
			chosen = append(chosen, h)
		}
	}
	for _, name := range c.wanted {
		if !there[name] {
			c.found(store.Problem{Tenant: name, Table: "heads", Row: fmt.Sprintf("tenant=%q", name), Message: "nothing of this log is stored"})
		}
	}
	if len(chosen) == len(heads) {
		c.wanted = nil
	}
	return chosen
}

// compareRest compares the last blocks, and that behind them there are no rows.
func (c *checker) compareRest(ctx context.Context) error {
	if err := c.closeBefore(ctx, c.head.Done+1); err != nil {
		return err
	}
	if c.block.First > c.head.Done {
		return nil
	}
	c.block.Mark(c.head.Done, c.digest, nil)
	c.reading = nil
	return c.compare(ctx)
}

// sure is an error where there is a doubt.
func (c *checker) sure() error {
	if c.doubt {
		return errDoubt
	}
	return nil
}

// finish compares the ends: checkpoints of more leaves than there are, and the recorded head.
func (c *checker) finish(ctx context.Context, heads []store.CommittedHead) error {
	for _, h := range heads {
		t, log := c.fold.tenants[h.Tenant], c.log(h.Tenant)
		if t == nil || log.lost {
			continue
		}
		if t.size() < h.Size {
			c.found(store.Problem{
				Tenant: h.Tenant, Table: "batches", Row: fmt.Sprintf("tenant=%q idx=%d", h.Tenant, t.size()),
				Message: fmt.Sprintf("no message for the leaves %d to %d", t.size(), h.Size-1),
			})
		}
		if err := c.readNotes(ctx, log, t); err != nil {
			return err
		}
		if len(log.notes) > 0 && log.notes[0].MadeAt.Before(c.began) {
			c.noteProblem(log.notes[0], "size", fmt.Sprintf("the log has only %d leaves", t.size()))
		}
	}
	if leaves := c.fold.leaves(); len(c.wanted) == 0 && leaves != c.head.Leaves && !c.anyLost() {
		c.found(store.Problem{Table: "leaves", Row: "all", Message: fmt.Sprintf("%d leaves, the head records %d", leaves, c.head.Leaves)})
	}
	c.tell(nil)
	return nil
}

func (c *checker) anyLost() bool {
	for _, log := range c.logs {
		if log.lost {
			return true
		}
	}
	return false
}

// found reports a problem, unless it is another tenant's than was asked for: a changed row may say that it is.
func (c *checker) found(p store.Problem) {
	if len(c.wanted) > 0 && !slices.Contains(c.wanted, p.Tenant) {
		return
	}
	if c.quickly {
		c.doubt = true
		return
	}
	c.progress.Problems++
	c.tell(&p)
}

func (c *checker) tell(p *store.Problem) {
	if c.report != nil {
		now := c.progress
		now.Problem = p
		c.report(now)
	}
}
