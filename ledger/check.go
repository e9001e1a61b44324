package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// checkpointPage is how many checkpoints of a log are read at once.
const checkpointPage = 512

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
	c.quickly = true
	if err = c.run(ctx, c.quick); errors.Is(err, errDoubt) {
		c = l.checker(head, began, tenants, progress)
		err = c.run(ctx, c.foldAll)
	}
	if err != nil {
		return c.progress, fmt.Errorf("check: %w", err)
	}
	return c.progress, nil
}

func (l *Ledger) checker(head *head, began time.Time, tenants []string, progress func(Progress)) *checker {
	return &checker{
		system: l.cfg.System, store: l.cfg.Store, snapshot: l.cfg.Store.At(head.Done), head: head, began: began,
		wanted: tenants, report: progress, workers: l.cfg.Workers, most: windowEvents,
		logs: map[string]*checkedLog{}, fold: NewFold(l.cfg.System, l.cfg.Store),
	}
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

// foldAll decodes the messages of all logs on several workers and takes them in stream order.
func (c *checker) foldAll(ctx context.Context, heads []store.CommittedHead) error {
	group, ctx := errgroup.WithContext(ctx)
	merged := newMerge(ctx, c.snapshot, heads)
	jobs := decodeInOrder(ctx, group, c.workers, c.fold.Decoder(), merged.next)
	group.Go(func() error {
		for j := range jobs {
			d, err := j.wait(ctx)
			if err != nil {
				return err
			}
			if err := c.take(ctx, merged.taken(), d); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	merged.close()
	return err
}

// take checks one message, after the blocks that end before it.
func (c *checker) take(ctx context.Context, at inOrder, d *Decoded) error {
	m := at.stored
	if err := c.closeBefore(ctx, m.StreamSeq); err != nil {
		return err
	}
	c.progress.Messages++
	log := c.log(m.Tenant)
	if log.lost {
		return nil
	}
	folded, err := c.derive(ctx, at, d)
	if err != nil || folded == nil {
		return err
	}
	return c.add(ctx, folded)
}

// add keeps what a message gave until its block is compared, and verifies the checkpoints after it.
func (c *checker) add(ctx context.Context, f *store.Folded) error {
	c.block.Add(f)
	c.ends[f.Tenant], c.digest = true, f.StreamDigest
	c.progress.Events += uint64(len(f.Leaves))
	c.fold.Committed(f.StreamSeq)
	return c.checkNotes(ctx, c.log(f.Tenant), c.fold.tenants[f.Tenant])
}

func (c *checker) log(tenant string) *checkedLog {
	if c.logs[tenant] == nil {
		c.logs[tenant] = new(checkedLog)
	}
	return c.logs[tenant]
}

// begin opens the block that begins at first.
func (c *checker) begin(first uint64) {
	if c.block == nil {
		c.block = store.NewBlock(first)
	} else {
		c.block.Reset(first)
	}
	c.ends = map[string]bool{}
}

// closeBefore ends every block of the writer's that ends before the message seq, and compares them when they are many events:
// what a comparison costs is mostly its queries.
func (c *checker) closeBefore(ctx context.Context, seq uint64) error {
	for len(c.boundaries) > 0 && c.boundaries[0] < seq {
		c.block.Mark(c.boundaries[0], c.digest, touchedHeads(c.fold, c.ends))
		c.boundaries, c.ends = c.boundaries[1:], map[string]bool{}
		if !c.enough() {
			continue
		}
		if err := c.compare(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// enough reports whether the blocks that were ended are all that was read of them, or enough for one comparison.
func (c *checker) enough() bool {
	if c.reading != nil {
		return c.block.Last == c.reading.Last
	}
	return c.block.Events() >= comparedEvents || c.block.Bytes() >= store.MaxBlockBytes
}

// comparedEvents are enough for one comparison.
const comparedEvents = store.MaxBlockEvents / 2

// compare compares the blocks that were ended, and begins the next.
func (c *checker) compare(ctx context.Context) error {
	problems, err := c.snapshot.Compare(ctx, c.block, c.reading, c.wanted...)
	if err != nil {
		return err
	}
	for _, p := range problems {
		shared := p.Table == "heads" && p.Column == "stream_digest" // of what all logs have received
		if c.log(p.Tenant).compares(&p) && (!shared || len(c.wanted) == 0) {
			c.found(p)
		}
	}
	c.tell(nil)
	c.begin(c.block.Last + 1)
	return c.sure()
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

// checkNotes verifies the checkpoints up to the log's size.
func (c *checker) checkNotes(ctx context.Context, log *checkedLog, t *tenant) error {
	for {
		if err := c.readNotes(ctx, log, t); err != nil {
			return err
		}
		if len(log.notes) == 0 || log.notes[0].Size > t.size() {
			return nil
		}
		c.checkNote(t, log.notes[0])
		log.notes = log.notes[1:]
	}
}

// readNotes reads the next checkpoints when none is left.
func (c *checker) readNotes(ctx context.Context, log *checkedLog, t *tenant) (err error) {
	for len(log.notes) == 0 && !log.drained {
		if log.notes, err = c.snapshot.Checkpoints(ctx, t.name, log.noted, checkpointPage); err != nil {
			return err
		}
		if log.drained = len(log.notes) < checkpointPage; len(log.notes) > 0 {
			log.noted = log.notes[len(log.notes)-1].Size + 1
		}
	}
	return nil
}

func (c *checker) checkNote(t *tenant, n store.Checkpoint) {
	genesis := t.registry.Genesis()
	signed, err := signer.OpenCheckpoint(n.Note, genesis.GetOrigin(), signer.PublicKey(genesis.GetLogKey()))
	switch {
	case err != nil:
		c.noteProblem(n, "note", err.Error())
	case uint64(signed.Size) != n.Size:
		c.noteProblem(n, "size", fmt.Sprintf("the note says %d", signed.Size))
	case n.Size == t.size() && signed.Root != t.chain.Root():
		c.noteProblem(n, "note", "root differs from that of the log")
	case n.Size < t.size():
		c.noteProblem(n, "size", "no message of the log ends there")
	case n.Token != nil && !stamps(n.Token, n.Note):
		c.noteProblem(n, "token", "no time stamp of the note")
	case witnessesOf(n.Note, genesis.GetOrigin()) != n.Witnesses:
		c.noteProblem(n, "witnesses", fmt.Sprintf("the note has signatures of %d others", witnessesOf(n.Note, genesis.GetOrigin())))
	default:
		c.progress.Checkpoints++
	}
}

// stamps reports whether a token is a time stamp of a note, by whomever.
func stamps(token, note []byte) bool {
	s, err := timestamp.Parse(token)
	return err == nil && s.Of(note) == nil
}

// witnessesOf counts the signatures of a note that are not by the log's own keys.
func witnessesOf(note []byte, origin string) (n uint16) {
	_, signatures, _ := strings.Cut(string(note), "\n\n")
	for line := range strings.Lines(signatures) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		if name != origin && name != origin+TimeKeySuffix {
			n++
		}
	}
	return n
}

func (c *checker) noteProblem(n store.Checkpoint, column, message string) {
	c.found(store.Problem{
		Tenant: n.Tenant, Table: "checkpoints", Row: fmt.Sprintf("tenant=%q size=%d", n.Tenant, n.Size),
		Column: column, Message: message,
	})
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

// merge puts the messages of all logs into stream order.
type merge struct {
	sources []*source

	mu   sync.Mutex
	sent []inOrder // given to the workers and not taken yet
}

// inOrder is a message and the one after it in the same log, nil if it is the last.
type inOrder struct{ stored, following *store.Stored }

// source is one log's messages; ahead is the next one.
type source struct {
	ahead *store.Stored
	pull  func() (*store.Stored, error, bool)
	stop  func()
}

func newMerge(ctx context.Context, snapshot Snapshot, heads []store.CommittedHead) *merge {
	m := new(merge)
	for _, h := range heads {
		pull, stop := iter.Pull2(snapshot.Messages(ctx, h.Tenant, 0))
		m.sources = append(m.sources, &source{pull: pull, stop: stop})
	}
	return m
}

func (m *merge) close() {
	for _, s := range m.sources {
		s.stop()
	}
}

// next returns the message with the least sequence; io.EOF ends it.
func (m *merge) next(context.Context) (stream.Message, error) {
	next, err := m.least()
	if err != nil {
		return stream.Message{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, next)
	s := next.stored
	return stream.Message{Seq: s.StreamSeq, Time: s.MessageTime, Subject: s.Subject, Data: s.Data}, nil
}

func (m *merge) least() (next inOrder, err error) {
	var first *source
	for _, s := range m.sources {
		if err := s.fill(); err != nil {
			return inOrder{}, err
		}
		if s.ahead != nil && (first == nil || s.ahead.StreamSeq < first.ahead.StreamSeq) {
			first = s
		}
	}
	if first == nil {
		return inOrder{}, io.EOF
	}
	next.stored, first.ahead = first.ahead, nil
	err = first.fill()
	next.following = first.ahead
	return next, err
}

// fill makes sure that ahead is set, unless the log has ended.
func (s *source) fill() error {
	if s.ahead != nil || s.pull == nil {
		return nil
	}
	stored, err, more := s.pull()
	if !more {
		s.pull = nil
		return nil
	}
	s.ahead = stored
	return err
}

// taken returns the message that the next decoded one was made of.
func (m *merge) taken() inOrder {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.sent[0]
	m.sent = m.sent[1:]
	return next
}

// derive folds one stored message. Nothing comes back if the log cannot be followed any further.
func (c *checker) derive(ctx context.Context, at inOrder, d *Decoded) (*store.Folded, error) {
	m := at.stored
	log := c.log(m.Tenant)
	log.partial = log.partial || m.Expired
	before := c.tenantChain(m.Tenant)
	if before != nil && m.FirstIndex != uint64(before.Size()) {
		return nil, c.lose(m, "batches", "", fmt.Sprintf("leaf %d is the next, this message begins at %d", before.Size(), m.FirstIndex))
	}
	c.seek(m)
	if log.partial && m.Producer != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
		c.fold.seq = m.StreamSeq
		return c.salvage(m, d)
	}
	r, err := c.fold.judge(ctx, d)
	if err != nil {
		return nil, err
	}
	c.fold.seq, c.fold.digest = m.StreamSeq, c.link(m, d)
	genuine := m.Intact || r != nil && r.verdict != chain.Malformed
	if r == nil || r.tenant.name != m.Tenant || !genuine {
		return c.salvage(m, d)
	}
	folded, err := r.execute(c.fold)
	if err != nil {
		return nil, err
	}
	if d.batch != nil && r.verdict != chain.Malformed {
		c.progress.Batches++
	}
	c.fold.digest = m.StreamDigest // the next one is judged by what is recorded, so that one change is one problem
	if before != nil && !sameLeaves(folded, m) && c.continues(before, at) {
		return folded, c.adopt(folded, before, m)
	}
	return folded, nil
}

func (c *checker) tenantChain(name string) *chain.Chain {
	if t := c.fold.tenants[name]; t != nil {
		return t.chain.Clone()
	}
	return nil
}

// seek goes to the place of a message: messages without leaves before it left no trace in the store.
func (c *checker) seek(m *store.Stored) {
	if m.StreamSeq != c.fold.seq+1 {
		c.fold.digest = Digest{}
	}
	c.fold.seq = m.StreamSeq - 1
}

// link is the running digest after a message if it follows the one before, and what is recorded otherwise.
func (c *checker) link(m *store.Stored, d *Decoded) Digest {
	if c.fold.digest == (Digest{}) && m.StreamSeq > 1 {
		return m.StreamDigest
	}
	return link(c.fold.digest, &d.message, d.digest)
}

func sameLeaves(f *store.Folded, m *store.Stored) bool {
	return slices.EqualFunc(f.Leaves, m.Leaves, func(l store.Leaf, stored []byte) bool { return bytes.Equal(l.Bytes, stored) })
}

// continues reports whether the stored leaves follow the chain, and what comes after follows them: the next
// message, or the recorded end of the log. Then it is not the leaves that were changed.
func (c *checker) continues(before *chain.Chain, at inOrder) bool {
	stored := before.Clone()
	for _, leaf := range at.stored.Leaves {
		if _, _, err := stored.Replay(leaf); err != nil {
			return false
		}
	}
	if at.following == nil || len(at.following.Leaves) == 0 {
		return stored.Prev() == c.log(at.stored.Tenant).end
	}
	next, err := chain.ParseLeaf(at.following.Leaves[0])
	return err == nil && next.Prev == stored.Prev()
}

// adopt goes on from the stored leaves, and names what does not give them.
func (c *checker) adopt(f *store.Folded, before *chain.Chain, m *store.Stored) error {
	t := c.fold.tenants[m.Tenant]
	if len(f.Leaves) != len(m.Leaves) {
		return c.lose(m, "leaves", "", fmt.Sprintf("%d leaves, the message gives %d", len(m.Leaves), len(f.Leaves)))
	}
	t.chain = before
	for i, stored := range m.Leaves {
		l, hash, err := t.chain.Replay(stored)
		if err != nil {
			return errors.Join(errState, err)
		}
		c.nameDifference(m, &f.Leaves[i], &l)
		f.Leaves[i].Bytes, f.Leaves[i].Hash, f.Leaves[i].Time = stored, hash, l.Time
		f.Leaves[i].Verdict, f.Leaves[i].Kind, f.Leaves[i].EventHash = l.Verdict, uint8(l.Kind), l.Event
	}
	entry, err := t.chainEntry()
	if err == nil {
		f.State[0] = entry
	}
	return err
}

// nameDifference names the column that does not give a leaf that stands.
func (c *checker) nameDifference(m *store.Stored, derived *store.Leaf, stands *chain.Leaf) {
	derivedLeaf, err := chain.ParseLeaf(derived.Bytes)
	if err != nil {
		return
	}
	switch {
	case stands.Time != derivedLeaf.Time:
		if stands.Position == 0 {
			c.problem(m, "batches", m.FirstIndex, "message_time", "the leaf was made at another time")
		}
	case stands.Verdict != derivedLeaf.Verdict:
		c.problem(m, "events", derived.Index, "verdict", fmt.Sprintf("the leaf says %s, the fold %s", stands.Verdict, derivedLeaf.Verdict))
	case stands.Instance != derivedLeaf.Instance:
		c.problem(m, "batches", m.FirstIndex, "instance", "the leaf is of another instance")
	}
}

func (c *checker) problem(m *store.Stored, table string, index uint64, column, message string) {
	c.found(store.Problem{
		Tenant: m.Tenant, Table: table, Row: fmt.Sprintf("tenant=%q idx=%d", m.Tenant, index), Column: column, Message: message,
	})
}

// lose reports the last problem of a log that cannot be followed any further.
func (c *checker) lose(m *store.Stored, table, column, message string) error {
	c.problem(m, table, m.FirstIndex, column, message+"; the rest of this log was not checked")
	c.log(m.Tenant).lost = true
	return nil
}
