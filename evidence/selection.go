package evidence

import (
	"context"
	"errors"
	"iter"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// source reads the messages of the scope.
func (x *export) source(ctx context.Context) iter.Seq2[*Message, error] {
	if x.scope.whole() {
		return x.reader.Messages(ctx, x.scope.Begin, x.scope.End)
	}
	return x.reader.MessagesOf(ctx, x.scope.Begin, x.scope.End, x.scope.Instance)
}

// outside writes the leaves before end that are of other instances than the scope's.
func (x *export) outside(ctx context.Context, end chain.Index) error {
	if x.scope.whole() || x.next >= end {
		return nil
	}
	n := uint64(end - x.next)
	x.count.Records += n
	x.count.Outside += n
	err := x.reader.Leaves(ctx, x.next, end, x.writeLeaf)
	x.next = end
	return err
}

// hides reports whether an event, or a message that is kept whole, is left out because it is not of the scope's run. What cannot be
// read may be of the run, and so may what is missing.
func (x *export) hides(p *part, r *eventRecord, e *eventv1.Event) bool {
	if x.scope.Run == "" || r.state != stateHere {
		return false
	}
	return p.whole || e != nil && !x.scope.selects(e)
}

// concerns reports whether a system event is shown with the records of one instance: the genesis, the export keys, what is said of the instance and of its
// keys, the erasures and expiries that the records rest on, and the holds that bear on them. It must be asked in the order of the log.
func (x *export) concerns(index chain.Index, e *eventv1.Event) bool {
	switch d := e.GetSystem().GetDetail().(type) {
	case *eventv1.System_Genesis, *eventv1.System_ExportKey:
		return true
	case *eventv1.System_Instance:
		return d.Instance.GetInstance() == x.scope.Instance
	case *eventv1.System_Manifest:
		return d.Manifest.GetInstance() == x.scope.Instance
	case *eventv1.System_Erasure:
		return x.cited[index]
	case *eventv1.System_Expiry:
		return x.count.Expired > 0
	case *eventv1.System_Hold:
		return x.holds(d.Hold.GetScope())
	case *eventv1.System_Key:
		id := signer.KeyID(d.Key.GetKeyId())
		if d.Key.GetInstance() == x.scope.Instance {
			x.own[id] = true
		}
		return x.own[id]
	}
	return false
}

// holds reports whether a hold bears on what the part shows: on all of it, or on content of it that is said to be erased.
func (x *export) holds(scope string) bool {
	return scope == "tenant" || scope == "instance/"+x.scope.Instance || scope == "run/"+x.scope.Run || x.erased[scope]
}

// othersChunk is how many leaves of others are examined at a time: about 180 KiB.
const othersChunk = 1024

// others reads the leaves in front of the next message of the scope, at most othersChunk of them, and reports whether there are any.
func (f *feeder) others(j *job) (bool, error) {
	if f.scope.whole() {
		return false, nil
	}
	end, err := f.nextFirst()
	if err != nil || end <= f.next {
		return false, err
	}
	j.record.form = formOthers
	j.from, j.to = f.next, min(end, f.next+othersChunk)
	j.leafBytes, err = f.leaves.read(j.leafBytes, int(j.to-j.from))
	f.next = j.to
	return true, err
}

// nextFirst is where the next message begins, or the end of the range.
func (f *feeder) nextFirst() (chain.Index, error) {
	b, err := f.batches.peek(4 + 8)
	if b == nil {
		return f.scope.End, err
	}
	c := cursor{b: b[4:]}
	return min(chain.Index(c.uint64()), f.scope.End), nil
}

var (
	errHidden     = errors.New("is of the scope, and its content is left out as another's")
	errSurplus    = errors.New("is shown, and is not of the scope")
	errNoInstance = errors.New("the instance of the scope was never created")
	errRunHidden  = errors.New("numbers of the run are missing that no record could have had but those left out as another's")
)

// checkOthers holds leaves that are shown without their content to the scope: none may be filed under its instance.
func (j *judge) checkOthers(m *job) {
	tag, known := j.tag(j.scope.Instance) // if not, it is created after the range, or checkSelection says so
	j.examine(CheckSelection, uint64(len(m.leaves)))
	for i := range m.leaves {
		if known && m.leaves[i].Instance == tag {
			j.failAt(CheckSelection, m.index(i), errHidden)
		}
	}
	j.count.Records += uint64(len(m.leaves))
	j.count.Outside += uint64(len(m.leaves))
}

// covered holds a message that is shown to the scope.
func (j *judge) covered(m *job) {
	j.examine(CheckSelection, 1)
	if !j.scope.covers(m.statement.GetInstance()) {
		j.failAt(CheckSelection, m.from, errSurplus)
	}
}

// selected checks that a record that is shown is one of the scope, and remembers its number in the run.
func (w *worker) selected(j *job, l *chain.Leaf, e *eventv1.Event) {
	if !w.scope.selects(e) {
		j.problem(CheckSelection, l.Index, errSurplus)
	}
	if w.scope.Run != "" && e.GetRun() == w.scope.Run {
		j.runs = append(j.runs, runNumber{e.GetRunSeq(), e.GetIdentity().GetAction()})
	}
}

// runNumber is the number of an event in its run, as its emitter counts within an epoch.
type runNumber struct {
	number uint64
	action eventv1.IdentityAction // which may start or end the run
}

// threadID names one emitter's numbering of the run.
type threadID struct {
	key     signer.KeyID
	epochNo uint64
}

// thread is what one emitter in one epoch has to say of the run.
type thread struct {
	numbers epoch
	last    uint64
	started bool   // by the event with number 1
	ended   bool   // by the event with the last number
	unread  uint64 // events of the epoch that are not shown for other reasons: they may be of the run
}

// follow takes the numbers of the run in a message.
func (j *judge) follow(m *job) {
	if j.scope.Run == "" || m.record.form != formEvents {
		return
	}
	id := threadID{signer.KeyID(m.statement.GetKeyId()), m.statement.GetEpochNo()}
	t := j.threads[id]
	if t == nil {
		t = new(thread)
		j.threads[id] = t
	}
	t.unread += m.count.Held + m.count.Withheld + m.count.Expired
	for _, r := range m.runs {
		t.add(r)
	}
}

func (t *thread) add(r runNumber) {
	if one := (span{r.number, r.number}); !t.numbers.overlaps(one) {
		t.numbers.see(one)
	}
	if r.number == 1 {
		t.started = r.action == eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED
	}
	if r.number >= t.last {
		t.last, t.ended = r.number, r.action == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED
	}
}

// whole reports whether the numbers go on from the start of the run to its end. What another epoch told before or between would be missing.
func (t *thread) whole() bool { return t.started && t.ended && t.missing(true) == 0 }

// missing counts the numbers before the last that are not here. Those before the first count only if the whole epoch is in the range.
func (t *thread) missing(whole bool) (n uint64) {
	next := uint64(1)
	for i, s := range t.numbers.seen {
		if i > 0 || whole {
			n += s.first - next
		}
		next = s.last + 1
	}
	return n
}

// Selection is how far a bundle shows all there is of its scope, if that is not a whole tenant.
type Selection struct {
	Basis      string `json:"basis"`      // "contiguous" or "claimed"
	Contiguous int    `json:"contiguous"` // emitters whose numbering shows that nothing of the scope is missing
	Emitters   int    `json:"emitters"`   // emitters of the instance with records of the scope in the range
	Others     int    `json:"others"`     // of a run: further emitters of the instance, of which none is shown: nothing says that they have none of it
	Outside    uint64 `json:"outside"`    // records of the range that are only linked
	Missing    uint64 `json:"missing"`    // of a run: numbers that are missing
}

// What the completeness of an instance or a run rests on.
const (
	Contiguous = "contiguous" // on the numbering that every one of its emitters has signed
	Claimed    = "claimed"    // on the operator, for at least one of them
)

// checkSelection says, after the range, that the instance was created at all, and compares what is missing of the run with what may be: numbers that the log never received and records that cannot be read.
func (v *verification) checkSelection() error {
	if _, known := v.tag(v.scope.Instance); !v.scope.whole() && !known {
		v.fail(CheckSelection, errNoInstance)
	}
	for id, t := range v.threads {
		ep := v.numbering.emitters[id.key].epoch(id.epochNo)
		may := t.unread
		for _, s := range ep.missing() {
			may += s.last - s.first + 1
		}
		if v.examine(CheckSelection, 1); t.missing(ep.first == 1) > may {
			v.fail(CheckSelection, errRunHidden)
		}
	}
	return nil
}

// selection sums up what the completeness of the scope rests on, nil for a whole tenant.
func (v *verification) selection() *Selection {
	if v.scope == nil || v.scope.whole() {
		return nil
	}
	s := &Selection{Outside: v.count.Outside}
	if v.scope.Run == "" {
		s.countEmitters(v.emitters)
	} else {
		s.countThreads(v)
	}
	if s.Basis = Claimed; s.Contiguous == s.Emitters && s.Emitters > 0 && s.Others == 0 {
		s.Basis = Contiguous
	}
	return s
}

func (s *Selection) countEmitters(list []Emitter) {
	s.Emitters = len(list)
	for i := range list {
		if e := &list[i]; !e.gaps() && !e.open() {
			s.Contiguous++
		}
	}
}

// countThreads counts an emitter as contiguous if its numbers of the run go from its start to its end, in every epoch that has any.
func (s *Selection) countThreads(v *verification) {
	broken := map[signer.KeyID]bool{} // of the emitters that show some of the run
	for id, t := range v.threads {
		if len(t.numbers.seen) == 0 {
			continue
		}
		ep := v.numbering.emitters[id.key].epoch(id.epochNo)
		s.Missing += t.missing(ep.first == 1)
		broken[id.key] = broken[id.key] || !t.whole()
	}
	s.Emitters, s.Others = len(broken), len(v.emitters)-len(broken)
	for _, b := range broken {
		if !b {
			s.Contiguous++
		}
	}
}

// completeness of a part of a tenant: everything that the log filed under it, as far as its emitters' numbering shows.
func (s *Selection) completeness(out *Verdict) string {
	switch {
	case out.Scope.Run == "" && s.Emitters > 0:
		return out.numbersSay()
	case s.Missing > 0:
		return Gaps
	case s.Basis == Contiguous:
		return Complete
	}
	return OpenTail
}
