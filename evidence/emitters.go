package evidence

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// How an epoch's numbering ends, as far as the bundle shows.
const (
	endClosed    = "closed"              // its last event says so
	endSuccessor = "closed-by-successor" // a later epoch names its end
	endContinued = "continued"           // a batch after the range goes on
	endOpen      = "open"                // nothing says that this was all
)

// How an emitter's numbering begins in the range.
const (
	beginFirst   = "first"   // with number 1 of epoch 1; where others come first, the numbers before them count as missing
	beginProven  = "proven"  // after a batch that is shown
	beginClaimed = "claimed" // with a later number, and nothing shows what came before
)

// Why the numbering contradicts what the log recorded.
var (
	errDuplicate = errors.New("the same batch stands in the log twice")
	errConflict  = errors.New("a second story under used numbers was not recorded as one")
	errReused    = errors.New("used numbers were recorded as late")
	errNotGap    = errors.New("numbers are missing, and the log recorded none missing")
	errNotLate   = errors.New("a batch from before was not recorded as late")
	errNoGap     = errors.New("the log recorded missing numbers, and none are missing")
	errNoReason  = errors.New("the log recorded a second story under used numbers, and there is none")
)

// span is the numbers first to last.
type span struct{ first, last uint64 }

// numbered is a batch as its numbering sees it.
type numbered struct {
	statement *eventv1.BatchStatement
	digest    chain.Hash
	verdict   chain.Verdict // of its first leaf in the range
	cut       bool          // its first leaf is before the range, so that a gap may not show
	closes    bool          // its last event closes the epoch
}

func (n *numbered) span() span {
	s := n.statement
	return span{s.GetFirstSeq(), s.GetFirstSeq() + uint64(s.GetCount()) - 1}
}

// position is where a batch stands against its emitter's head.
type position uint8

const (
	unplaced  position = iota // the head is not known
	follows                   // continues the head
	leavesGap                 // after the head, with numbers left out
	isHead                    // the head itself, once more
	before                    // at or before the head
	conflicts                 // cannot be, unless the emitter signed two histories
)

// head is the last batch that moved an emitter on.
type head struct {
	epochNo uint64
	epoch   []byte
	last    uint64
	digest  chain.Hash
}

func headOf(n *numbered) *head {
	return &head{n.statement.GetEpochNo(), n.statement.GetEpoch(), n.span().last, n.digest}
}

// place is where the batch stands after h.
func (h *head) place(n *numbered) position {
	s := n.statement
	switch {
	case s.GetEpochNo() < h.epochNo:
		return before
	case s.GetEpochNo() > h.epochNo:
		return h.placeEpoch(s)
	case n.digest == h.digest:
		return isHead
	case !bytes.Equal(s.GetEpoch(), h.epoch):
		return conflicts
	case s.GetFirstSeq() <= h.last:
		return before
	case s.GetFirstSeq() > h.last+1:
		return leavesGap
	case !bytes.Equal(s.GetPrevBatch(), h.digest[:]):
		return conflicts
	}
	return follows
}

// placeEpoch is for a batch of a later epoch: it follows if it is the next one's first and names the head as the end.
func (h *head) placeEpoch(s *eventv1.BatchStatement) position {
	end := s.GetPreviousEpoch()
	if s.GetEpochNo() == h.epochNo+1 && s.GetFirstSeq() == 1 && end.GetLastSeq() == h.last && bytes.Equal(end.GetLastDigest(), h.digest[:]) {
		return follows
	}
	return leavesGap
}

// emitter is one key's numbering in the range.
type emitter struct {
	key      signer.KeyID
	instance string
	begins   string
	head     *head
	closed   bool // the head's last event closes the epoch
	before   bool // the head is a batch before the range
	skipped  bool // numbers are missing of epochs that the range does not show
	late     uint64
	doubled  uint64            // messages that were recorded as a second story
	epochs   []*epoch          // that the range shows, in order
	byNo     map[uint64]*epoch // these, and epochs that only late batches are of
}

// epoch is one numbering of an emitter.
type epoch struct {
	no    uint64
	id    []byte
	first uint64
	last  uint64
	ends  string
	gaps  []span // left out when a batch came
	seen  []span // apart and ascending
}

// numbering follows every emitter through the range. The writer and the verifier use the same.
type numbering struct {
	emitters map[signer.KeyID]*emitter
}

func newNumbering() *numbering { return &numbering{map[signer.KeyID]*emitter{}} }

// known makes a batch before the range the head of its emitter.
func (nu *numbering) known(n *numbered) {
	e := nu.of(n)
	e.head, e.before = headOf(n), true
}

func (nu *numbering) of(n *numbered) *emitter {
	key := signer.KeyID(n.statement.GetKeyId())
	e := nu.emitters[key]
	if e == nil {
		e = &emitter{key: key, instance: n.statement.GetInstance(), byNo: map[uint64]*epoch{}}
		nu.emitters[key] = e
	}
	return e
}

// add takes the next batch of the range. The error says how its numbers contradict the verdict that the log recorded.
func (nu *numbering) add(n *numbered) error {
	e := nu.of(n)
	at := e.place(n)
	if e.begins == "" {
		e.begins = e.beginning(n, at)
	}
	if n.verdict == chain.Equivocation {
		e.doubled++
		return contradiction(at == follows || at == leavesGap, errNoReason)
	}
	if at == before || at == unplaced && n.verdict == chain.Late {
		return e.addLate(n)
	}
	if at == unplaced && n.verdict == chain.Gap {
		at = leavesGap
	}
	err := agree(at, n)
	e.move(n, at)
	return err
}

func contradiction(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// place is where the batch stands against what the bundle has shown so far.
func (e *emitter) place(n *numbered) position {
	if e.head == nil {
		return unplaced
	}
	return e.head.place(n)
}

// beginning is how the numbering begins. Where a gap comes first, every number before it counts as missing: nothing is claimed.
func (e *emitter) beginning(n *numbered, at position) string {
	first := n.statement.GetFirstSeq() == 1 && n.verdict != chain.Late
	switch {
	case at != unplaced:
		return beginProven
	case n.statement.GetEpochNo() == 1 && (first || n.verdict == chain.Gap):
		return beginFirst
	}
	return beginClaimed
}

// agree holds a batch that moves the head to its verdict. A key that is not valid outranks gaps.
func agree(at position, n *numbered) error {
	switch v := n.verdict; {
	case at == isHead:
		return errDuplicate
	case at == conflicts:
		return errConflict
	case v == chain.KeyInvalid:
		return nil
	case at == leavesGap && v != chain.Gap && !n.cut:
		return errNotGap
	case at == follows && v == chain.Gap:
		return errNoGap
	case v == chain.Late:
		return errNotLate
	}
	return nil
}

// addLate takes a batch from before the head: it fills what was missing, or is of numbers that the range does not show.
func (e *emitter) addLate(n *numbered) error {
	e.late += uint64(n.statement.GetCount())
	ep, err := e.epoch(n.statement.GetEpochNo()), error(nil)
	if ep.overlaps(n.span()) {
		err = errReused
	}
	ep.see(n.span())
	if n.verdict != chain.Late && n.verdict != chain.KeyInvalid {
		return errNotLate
	}
	return err
}

// epoch finds the epoch with a number, or makes it.
func (e *emitter) epoch(no uint64) *epoch {
	if e.byNo[no] == nil {
		e.byNo[no] = &epoch{no: no}
	}
	return e.byNo[no]
}

// move makes the batch the head.
func (e *emitter) move(n *numbered, at position) {
	ep := e.enter(n, at)
	if at == leavesGap && ep.last+1 < n.span().first {
		ep.gaps = append(ep.gaps, span{ep.last + 1, n.span().first - 1})
	}
	if ep.first == 0 {
		ep.first = n.span().first
	}
	ep.last = n.span().last
	ep.see(n.span())
	e.head, e.closed, e.before = headOf(n), n.closes, false
}

// enter returns the epoch of the batch, which may be a new one.
func (e *emitter) enter(n *numbered, at position) *epoch {
	s := n.statement
	if len(e.epochs) > 0 && e.newest().no == s.GetEpochNo() {
		return e.newest()
	}
	ep := e.epoch(s.GetEpochNo())
	ep.id = s.GetEpoch()
	switch {
	case e.head == nil:
		e.skipped = at == leavesGap && ep.no > 1
	case e.head.epochNo == ep.no: // goes on from before the range
		ep.last = e.head.last
	default:
		e.leave(s)
	}
	e.epochs = append(e.epochs, ep)
	return ep
}

// leave ends the epoch of the head for one that begins with the statement.
func (e *emitter) leave(s *eventv1.BatchStatement) {
	end, isNext := s.GetPreviousEpoch(), s.GetEpochNo() == e.head.epochNo+1
	named := isNext && end.GetLastSeq() == e.head.last && bytes.Equal(end.GetLastDigest(), e.head.digest[:])
	tail := isNext && end.GetLastSeq() > e.head.last && !e.before // numbers of its end are missing
	e.skipped = e.skipped || !named && !tail
	if e.before {
		return
	}
	ep := e.newest()
	if ep.ends = endOpen; e.closed {
		ep.ends = endClosed
	} else if named {
		ep.ends = endSuccessor
	}
	if tail {
		ep.gaps = append(ep.gaps, span{ep.last + 1, end.GetLastSeq()})
	}
}

func (e *emitter) newest() *epoch { return e.epochs[len(e.epochs)-1] }

// finish says how the last epoch ends; next is the emitter's first batch after the range, nil if none is shown.
func (e *emitter) finish(next *numbered) {
	if len(e.epochs) == 0 {
		return
	}
	ends := endOpen
	switch {
	case e.closed:
		ends = endClosed
	case next == nil || next.verdict != chain.Accepted && next.verdict != chain.Held || e.head.place(next) != follows:
	case next.statement.GetEpochNo() == e.head.epochNo:
		ends = endContinued
	default:
		ends = endSuccessor
	}
	e.newest().ends = ends
}

// overlaps reports whether any of the numbers was seen.
func (ep *epoch) overlaps(s span) bool {
	at := ep.behind(s.first)
	return at < len(ep.seen) && ep.seen[at].first <= s.last
}

// behind is the place of the first span that was seen and does not end before a number.
func (ep *epoch) behind(number uint64) int {
	at, _ := slices.BinarySearchFunc(ep.seen, number, func(s span, n uint64) int { return cmp.Compare(s.last, n) })
	return at
}

// see adds numbers to those that were seen. They usually follow the last.
func (ep *epoch) see(s span) {
	if n := len(ep.seen); n > 0 && ep.seen[n-1].last+1 == s.first {
		ep.seen[n-1].last = s.last
		return
	}
	ep.seen = slices.Insert(ep.seen, ep.behind(s.first), s)
}

// missing are the numbers that were left out and never came.
func (ep *epoch) missing() []span {
	var list []span
	for _, gap := range ep.gaps {
		for at := ep.behind(gap.first); at < len(ep.seen) && ep.seen[at].first <= gap.last; at++ {
			if s := ep.seen[at]; s.first > gap.first {
				list = append(list, span{gap.first, s.first - 1})
			}
			gap.first = ep.seen[at].last + 1
		}
		if gap.first <= gap.last {
			list = append(list, gap)
		}
	}
	return list
}

// closesEpoch reports whether an event is the last of its epoch.
func closesEpoch(e *eventv1.Event) bool {
	return e.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED
}

// Emitter is one emitter's numbering in the range, as emitters.json has it.
type Emitter struct {
	KeyID         signer.KeyID `json:"key_id"`
	Instance      string       `json:"instance"`
	Begins        string       `json:"begins"`                   // "first", "proven" or "claimed"
	Skipped       bool         `json:"epochs_missing,omitempty"` // numbers are missing of epochs that the range does not show
	Late          uint64       `json:"late,omitempty"`           // events that came after later ones
	Equivocations uint64       `json:"equivocations,omitempty"`  // messages that tell used numbers differently
	Epochs        []Epoch      `json:"epochs"`                   // in order
}

// Epoch is one numbering of an emitter in the range.
type Epoch struct {
	No      uint64      `json:"epoch_no"`
	ID      string      `json:"epoch"`             // hexadecimal
	First   uint64      `json:"first"`             // number of its first event in the range
	Last    uint64      `json:"last"`              // of its last
	Missing [][2]uint64 `json:"missing,omitempty"` // numbers first to last that never came
	Ends    string      `json:"ends"`              // "closed", "closed-by-successor", "continued" or "open"
}

// emittersFile is emitters.json.
type emittersFile struct {
	Version  int       `json:"version"` // 1
	Emitters []Emitter `json:"emitters"`
}

// report lists the emitters by key id, without those that only stand before the range.
func (nu *numbering) report() []Emitter {
	list := make([]Emitter, 0, len(nu.emitters))
	for _, e := range nu.emitters {
		if e.begins != "" {
			list = append(list, e.report())
		}
	}
	slices.SortFunc(list, func(a, b Emitter) int { return bytes.Compare(a.KeyID[:], b.KeyID[:]) })
	return list
}

func (e *emitter) report() Emitter {
	r := Emitter{
		KeyID: e.key, Instance: e.instance, Begins: e.begins, Skipped: e.skipped, Late: e.late, Equivocations: e.doubled,
		Epochs: make([]Epoch, 0, len(e.epochs)),
	}
	for _, ep := range e.epochs {
		x := Epoch{No: ep.no, ID: hex.EncodeToString(ep.id), First: ep.first, Last: ep.last, Ends: ep.ends}
		for _, s := range ep.missing() {
			x.Missing = append(x.Missing, [2]uint64{s.first, s.last})
		}
		r.Epochs = append(r.Epochs, x)
	}
	return r
}

// gaps reports whether numbers of the emitter are missing.
func (e *Emitter) gaps() bool {
	return e.Skipped || slices.ContainsFunc(e.Epochs, func(x Epoch) bool { return len(x.Missing) > 0 })
}

// open reports whether nothing shows where the emitter's numbering begins or ends.
func (e *Emitter) open() bool {
	return e.Begins == beginClaimed || slices.ContainsFunc(e.Epochs, func(x Epoch) bool { return x.Ends == endOpen })
}

// isSystem reports whether a statement is by Custody itself.
func isSystem(s *eventv1.BatchStatement) bool {
	return s.GetInstance() == string(event.InstanceCustody)
}
