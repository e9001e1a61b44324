package ledger

import (
	"bytes"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

// salvage goes on after a message that is not as it was received: it names what was changed by the leaves that
// commit to it, and follows the stored leaves, so that one change is one problem.
func (c *checker) salvage(m *store.Stored, d *Decoded) (*store.Folded, error) {
	t := c.fold.tenants[m.Tenant]
	c.fold.digest = m.StreamDigest
	if t == nil {
		return nil, c.lose(m, "batches", "", "the log has no genesis that can be read")
	}
	f := &store.Folded{
		StreamSeq: m.StreamSeq, MessageTime: m.MessageTime, MessageDigest: d.digest, StreamDigest: m.StreamDigest,
		Subject: m.Subject, Tenant: m.Tenant, FirstIndex: m.FirstIndex, Producer: m.Producer, BatchDigest: m.BatchDigest,
	}
	s := &salvaged{checker: c, tenant: t, stored: m, folded: f}
	if err := s.replay(); err != nil {
		return nil, c.lose(m, "leaves", "leaf", err.Error())
	}
	whole := s.folded.Leaves[0].Kind == uint8(chain.KindNone)
	switch {
	case !whole && !s.statement():
		return nil, c.lose(m, "batches", "statement", "the leaf commits to another statement")
	case !whole && m.Expired && f.Producer != m.Producer:
		s.blame("batches", m.FirstIndex, "producer", fmt.Sprintf("the key is of %s: its events are not gone by expiry", event.Producers.Name(f.Producer)))
	case !whole && !m.Expired:
		s.events()
	case whole && !m.Expired:
		s.whole()
	}
	if !s.named && !m.Intact && !m.Expired {
		c.problem(m, "batches", m.FirstIndex, "message_digest", "its rows do not make the message that was received")
	}
	return f, s.state()
}

// salvaged is a message on its way through salvage.
type salvaged struct {
	*checker
	tenant *tenant
	stored *store.Stored
	folded *store.Folded
	named  bool // what was changed has been named
}

func (s *salvaged) blame(table string, index uint64, column, message string) {
	s.named = true
	s.problem(s.stored, table, index, column, message)
}

// replay takes over the stored leaves. On an error the chain is as before.
func (s *salvaged) replay() error {
	next := s.tenant.chain.Clone()
	for _, b := range s.stored.Leaves {
		l, hash, err := next.Replay(b)
		if err != nil {
			return err
		}
		s.folded.Leaves = append(s.folded.Leaves, store.Leaf{
			Index: uint64(l.Index), Bytes: b, Hash: hash, Time: l.Time, Position: l.Position,
			Kind: uint8(l.Kind), Verdict: l.Verdict, EventHash: l.Event,
		})
	}
	if len(s.folded.Leaves) == 0 {
		return chain.ErrIndex
	}
	s.tenant.chain = next
	return nil
}

// whole is for a message that is kept whole.
func (s *salvaged) whole() {
	s.folded.Raw = s.stored.Data
	if s.folded.Raw == nil {
		s.folded.Raw = []byte{}
	}
	if l := &s.folded.Leaves[0]; chain.EventHash(s.folded.Raw) != chain.Hash(l.EventHash) {
		s.blame("events", l.Index, "bytes", "the leaf commits to other bytes")
	}
}

// statement holds the statement to the digest in the leaves, and the signature to the statement. It reports
// whether there is a statement to go on with.
func (s *salvaged) statement() bool {
	wire, f := s.stored.Batch, s.folded
	committed, err := chain.ParseLeaf(f.Leaves[0].Bytes)
	if err != nil || wire == nil || event.BatchDigest(wire.GetStatement()) != committed.Batch {
		return false
	}
	if f.Statement, err = event.ParseStatement(wire.GetStatement()); err != nil {
		return false
	}
	f.StatementBytes, f.Signature, f.Openings, f.Held = wire.GetStatement(), wire.GetSignature(), wire.GetOpenings(), wire.GetHeld()
	f.BatchDigest = committed.Batch
	s.signature()
	return true
}

func (s *salvaged) signature() {
	f := s.folded
	key, enrolled := s.tenant.registry.Key([32]byte(f.Statement.GetKeyId()))
	switch {
	case !enrolled:
		s.blame("batches", f.FirstIndex, "statement", errUnknown.Error())
	case signer.VerifyDSSE(signer.PublicKey(key.PublicKey), signer.PayloadTypeBatch, f.StatementBytes, f.Signature) != nil:
		s.blame("batches", f.FirstIndex, "signature", "does not verify")
	default:
		f.Producer = key.Producer
		s.progress.Batches++
	}
}

// events gives each leaf the bytes that it commits to; bytes that no leaf commits to go to the leaves that are
// left, in order.
func (s *salvaged) events() {
	held := map[uint32]bool{}
	for _, h := range s.folded.Held {
		held[h.GetPosition()] = true
	}
	rest := s.match()
	for i := range s.folded.Leaves {
		l := &s.folded.Leaves[i]
		if l.EventBytes != nil || held[l.Position] {
			continue
		}
		for len(rest) > 0 && len(rest[0]) == 0 {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			s.named = true // a row is missing: the comparison names it
			continue
		}
		l.EventBytes, rest = rest[0], rest[1:]
		s.blame("events", l.Index, "bytes", "the leaf commits to other bytes")
	}
	for i := range s.folded.Leaves {
		s.parse(&s.folded.Leaves[i])
	}
}

// match gives stored bytes to the leaves that commit to them and returns the others.
func (s *salvaged) match() (rest [][]byte) {
	byHash := map[chain.Hash]*store.Leaf{}
	for i := range s.folded.Leaves {
		byHash[s.folded.Leaves[i].EventHash] = &s.folded.Leaves[i]
	}
	for _, b := range s.stored.Batch.GetEvents() {
		if l := byHash[chain.EventHash(b)]; l != nil && len(b) > 0 {
			l.EventBytes = b
		} else {
			rest = append(rest, b)
		}
	}
	return rest
}

// parse derives the columns from the bytes, changed or not, as far as they can be read.
func (s *salvaged) parse(l *store.Leaf) {
	if l.EventBytes == nil {
		return
	}
	e, err := event.Parse(l.EventBytes)
	if err != nil {
		return
	}
	l.Event = e
	custody := s.folded.Producer == eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY
	if custody && l.Verdict == chain.Accepted && l.Index > 0 && bytes.Equal(s.folded.BatchDigest[:], s.stored.BatchDigest[:]) {
		_ = s.tenant.registry.Apply(l.Index, e) // as in the fold, an event that does not apply changes nothing
	}
}

// state moves the emitter's head as the fold would have.
func (s *salvaged) state() (err error) {
	f, t := s.folded, s.tenant
	if f.Statement == nil || f.Raw != nil {
		f.State, err = t.changed(nil)
		return err
	}
	b := &batch{
		statement: f.Statement, digest: f.BatchDigest, key: signer.KeyID(f.Statement.GetKeyId()),
		hashes: make([]chain.Hash, len(f.Leaves)), events: make([]*eventv1.Event, len(f.Leaves)),
	}
	for i := range f.Leaves {
		b.hashes[i], b.events[i] = f.Leaves[i].EventHash, f.Leaves[i].Event
	}
	p := t.emitters[b.key].place(b)
	if p != follows && p != leavesGap {
		f.State, err = t.changed(nil)
		return err
	}
	t.emitters[b.key] = t.emitters[b.key].after(b, p)
	f.State, err = t.changed(&b.key)
	if err != nil {
		return fmt.Errorf("salvage message %d: %w", f.StreamSeq, err)
	}
	return nil
}
