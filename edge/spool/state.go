package spool

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/agentcustody/custody/event"
)

// Place counts the events of a queue from 1.
type Place uint64

// Seq is an event's number in its epoch, from 1: what is signed.
type Seq uint64

// Epoch is the random name of an epoch.
type Epoch [event.EpochSize]byte

// Digest is a batch digest.
type Digest [event.DigestSize]byte

// End is the last number of a run of batches and the digest of the last batch. The zero End is before the first.
type End struct {
	Seq    Seq
	Digest Digest
}

// Prior names the epoch before: its number, from 1, and its end. The zero Prior is none.
type Prior struct {
	Number uint64
	End    End
}

// Span is places, both ends included.
type Span struct{ First, Last Place }

// Statement is a signed statement as it was written before it was sent.
type Statement struct {
	Number    uint64 // of the epoch, from 1
	First     Seq
	Count     int
	Digest    Digest
	Bytes     []byte
	Signature [event.SignatureSize]byte
}

// End is the statement's last number and digest.
func (s Statement) End() End { return End{s.First + Seq(s.Count) - 1, s.Digest} }

// maxSpans bounds the places set aside that a queue remembers; each stands for one refused batch in flight.
const maxSpans = 4096

// State is what the frames of a queue add up to.
type State struct {
	Epoch   Epoch
	Number  uint64 // of the epoch, from 1; 0 until its first statement
	Prior   Prior  // the queue's own epoch before this one, if any
	Base    Place  // places up to here belong to earlier epochs
	Removed []Span // places after Base that were set aside or lost, ascending
	Last    Place  // newest place
	Signed  End    // of the newest statement
	Acked   End    // of what is acknowledged

	opened  []byte      // the epoch's first event
	waiting []Statement // signed and not acknowledged, in order
}

// LastSeq is the number of the newest event.
func (s State) LastSeq() Seq { return Seq(uint64(s.Last-s.Base)-s.removedUpTo(s.Last)) + 1 }

// Drained says that everything is acknowledged.
func (s State) Drained() bool { return s.Acked.Seq >= s.LastSeq() }

// removedUpTo counts removed places from Base up to p.
func (s State) removedUpTo(p Place) (n uint64) {
	for _, r := range s.Removed {
		if r.First > p {
			break
		}
		n += uint64(min(r.Last, p)-r.First) + 1
	}
	return n
}

// PlaceOf returns where the event numbered seq stands; Base for the epoch's first event, which has no place.
func (s State) PlaceOf(seq Seq) Place {
	if seq == 0 {
		return s.Base
	}
	p := s.Base + Place(seq) - 1
	for _, r := range s.Removed {
		if r.First > p {
			break
		}
		p += r.Last - r.First + 1
	}
	return p
}

// ackedPlace is the last place that need not be kept.
func (s State) ackedPlace() Place { return s.PlaceOf(s.Acked.Seq) }

func (s State) isRemoved(p Place) bool {
	return slices.ContainsFunc(s.Removed, func(r Span) bool { return r.First <= p && p <= r.Last })
}

// remove adds a span and keeps the list ascending and disjoint.
func (s *State) remove(add Span) {
	s.Removed = append(s.Removed, add)
	slices.SortFunc(s.Removed, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
	merged := s.Removed[:1]
	for _, r := range s.Removed[1:] {
		if last := &merged[len(merged)-1]; r.First <= last.Last+1 {
			last.Last = max(last.Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	s.Removed = merged
}

// sign applies a statement frame.
func (s *State) sign(st Statement) error {
	if st.First != s.Signed.Seq+1 || st.Count < 1 || st.End().Seq > s.LastSeq() || (s.Number != 0 && s.Number != st.Number) {
		return fmt.Errorf("statement over %d+%d after %d: %w", st.First, st.Count, s.Signed.Seq, errBody)
	}
	s.Number, s.Signed = st.Number, st.End()
	s.waiting = append(s.waiting, st)
	return nil
}

// ack applies an ack frame. It may pass the newest statement, and the newest event: the server's head counts.
func (s *State) ack(to End) error {
	if to.Seq < s.Acked.Seq || to.Seq > event.MaxCounter {
		return fmt.Errorf("acknowledgement of %d after %d: %w", to.Seq, s.Acked.Seq, errBody)
	}
	s.Acked = to
	if s.Signed.Seq < to.Seq {
		s.Signed = to
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(st Statement) bool { return st.End().Seq <= to.Seq })
	return nil
}

// newEpoch is the body of an epoch frame.
type newEpoch struct {
	Epoch   Epoch
	Base    Place
	Prior   Prior
	Removed []Span
	Opened  []byte
}

// open applies an epoch frame.
func (s *State) open(n newEpoch) error {
	if n.Base < s.Base || n.Base > s.Last {
		return fmt.Errorf("epoch from place %d of %d to %d: %w", n.Base, s.Base, s.Last, errBody)
	}
	next := State{Epoch: n.Epoch, Prior: n.Prior, Base: n.Base, Removed: n.Removed, Last: s.Last, opened: n.Opened}
	if err := next.check(); err != nil {
		return err
	}
	*s = next
	return nil
}

// header is the state without what later frames repeat.
func appendHeader(dst []byte, s *State) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, headerFrame), formatVersion)
	dst = append(dst, s.Epoch[:]...)
	dst = binary.BigEndian.AppendUint64(dst, s.Number)
	dst = appendPrior(dst, s.Prior)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Base))
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Last))
	dst = appendEnd(dst, s.Signed)
	dst = appendEnd(dst, s.Acked)
	dst = appendSpans(dst, s.Removed)
	return endFrame(appendBytes(dst, s.opened), start)
}

// formatVersion of the files.
const formatVersion = 1

func parseHeader(body []byte) (State, error) {
	r := reader{b: body}
	if v := r.take(1); v == nil || v[0] != formatVersion {
		return State{}, fmt.Errorf("read header: not version %d: %w", formatVersion, errBody)
	}
	var s State
	copy(s.Epoch[:], r.take(len(s.Epoch)))
	s.Number = r.uint64()
	s.Prior = r.prior()
	s.Base, s.Last = Place(r.uint64()), Place(r.uint64())
	s.Signed, s.Acked = r.endOf(), r.endOf()
	s.Removed = r.spans()
	s.opened = slices.Clone(r.bytes())
	if err := r.end("header"); err != nil {
		return State{}, err
	}
	return s, s.check()
}

// check holds what every writer of a header keeps.
func (s *State) check() error {
	previous := s.Base
	for _, span := range s.Removed {
		if span.First <= previous || span.Last < span.First || span.Last > s.Last {
			return fmt.Errorf("state: places set aside: %w", errBody)
		}
		previous = span.Last
	}
	if s.Base > s.Last || s.Last > event.MaxCounter || s.Acked.Seq > s.Signed.Seq || s.Signed.Seq > event.MaxCounter {
		return fmt.Errorf("state: counters: %w", errBody)
	}
	return nil
}

func appendStatement(dst []byte, st *Statement) []byte {
	start := len(dst)
	dst = beginFrame(dst, statementFrame)
	dst = binary.BigEndian.AppendUint64(dst, st.Number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(st.First))
	dst = binary.BigEndian.AppendUint32(dst, uint32(st.Count))
	dst = append(dst, st.Digest[:]...)
	dst = append(dst, st.Signature[:]...)
	return endFrame(appendBytes(dst, st.Bytes), start)
}

func parseStatement(body []byte) (Statement, error) {
	r := reader{b: body}
	st := Statement{Number: r.uint64(), First: Seq(r.uint64()), Count: int(r.uint32())}
	copy(st.Digest[:], r.take(len(st.Digest)))
	copy(st.Signature[:], r.take(len(st.Signature)))
	st.Bytes = slices.Clone(r.bytes())
	return st, r.end("statement")
}

func appendAck(dst []byte, to End) []byte {
	start := len(dst)
	return endFrame(appendEnd(beginFrame(dst, ackFrame), to), start)
}

func parseAck(body []byte) (End, error) {
	r := reader{b: body}
	to := r.endOf()
	return to, r.end("acknowledgement")
}

func appendEpoch(dst []byte, n *newEpoch) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, epochFrame), n.Epoch[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(n.Base))
	dst = appendPrior(dst, n.Prior)
	dst = appendSpans(dst, n.Removed)
	return endFrame(appendBytes(dst, n.Opened), start)
}

func parseEpoch(body []byte) (newEpoch, error) {
	r := reader{b: body}
	var n newEpoch
	copy(n.Epoch[:], r.take(len(n.Epoch)))
	n.Base = Place(r.uint64())
	n.Prior = r.prior()
	n.Removed = r.spans()
	n.Opened = slices.Clone(r.bytes())
	return n, r.end("epoch")
}

func appendEnd(dst []byte, e End) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(e.Seq)), e.Digest[:]...)
}

func (r *reader) endOf() (e End) {
	e.Seq = Seq(r.uint64())
	copy(e.Digest[:], r.take(len(e.Digest)))
	return e
}

func appendPrior(dst []byte, p Prior) []byte {
	return appendEnd(binary.BigEndian.AppendUint64(dst, p.Number), p.End)
}

func (r *reader) prior() Prior { return Prior{r.uint64(), r.endOf()} }

func appendSpans(dst []byte, spans []Span) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(spans)))
	for _, s := range spans {
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.First))
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Last))
	}
	return dst
}

func (r *reader) spans() (spans []Span) {
	n := r.uint32()
	if n > maxSpans {
		r.bad = true
	}
	for range n {
		if r.bad {
			return nil
		}
		spans = append(spans, Span{Place(r.uint64()), Place(r.uint64())})
	}
	return spans
}
