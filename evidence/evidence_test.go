package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	gateway  = eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY
	importer = eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER
)

// morning is a log with one agent that closes its numbering; the export at noon is recorded after it.
func morning(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	a.send(1)
	w.clock("09:00")
	a.send(2)
	w.clock("10:00")
	a.send(3)
	a.say(a.closing())
	w.clock("12:00").access()
	return w
}

// want is what a verdict should say.
type want struct {
	exit         int
	completeness string
	records      uint64
}

func (w want) check(t *testing.T, v Verdict) {
	t.Helper()
	if got := (want{v.Exit, v.Completeness, v.Records.Records}); got != w {
		t.Errorf("got %+v, want %+v\n%s\n%s", got, w, v.Text(), details(v))
	}
}

// details are the failed checks with what the text does not say.
func details(v Verdict) (s string) {
	for _, c := range v.Checks {
		if c.Result == Failed {
			s += fmt.Sprintf("%s: %s\n", c.Name, c.Detail)
		}
	}
	return s
}

func TestWindows(t *testing.T) {
	complete := func(n uint64) want { return want{ExitVerified, Complete, n} }
	open := func(n uint64) want { return want{ExitOpenTail, OpenTail, n} }
	for name, test := range map[string]struct {
		from, to string
		want     want
	}{
		"middle":                      {"08:30", "09:30", complete(2)},
		"from the beginning":          {"00:00", "09:30", complete(7)},
		"everything but the export":   {"00:00", "11:00", complete(11)},
		"to the end of the log":       {"09:30", "23:00", open(5)},
		"everything":                  {"00:00", "23:00", open(12)},
		"nothing, between two":        {"09:30", "09:45", complete(0)},
		"nothing, before the log":     {"01:00", "02:00", complete(0)},
		"nothing, after the log":      {"22:00", "23:00", open(0)},
		"no time at all":              {"09:00", "09:00", complete(0)},
		"edge: from is in the window": {"09:00", "09:01", complete(2)},
		"edge: to is not":             {"08:30", "09:00", complete(0)},
	} {
		t.Run(name, func(t *testing.T) {
			w := morning(t)
			test.want.check(t, verify(t, w.bundle(test.from, test.to), w.policy()))
		})
	}
}

// A day on which everything happens that a log can hold.
func eventful(t testing.TB) *world {
	w := newWorld(t, "acme")
	w.time = w.key()
	agent, proxy, traces := w.agent("support-1"), w.producer("proxy-1", gateway), w.producer("traces", importer)
	other := w.agent("billing-1")
	agent.send(2)
	proxy.send(1)
	w.clock("09:00")
	agent.send(3, held(1))
	agent.batch([]*eventv1.Event{agent.call("person-2", "secret of person 2")})
	proxy.send(2)
	traces.send(4)
	late := other.late(2)
	other.send(1)
	w.malformed([]byte("no batch at all"))
	w.malformed(nil)
	w.clock("10:00")
	late()
	other.again()
	w.revoke(other, 0)
	other.send(2)
	w.erase("person-2")
	agent.say(agent.closing())
	agent.newEpoch().send(1)
	w.clock("11:00").access()
	agent.send(1)
	proxy.newEpoch().send(1)
	traces.say(traces.closing())
	return w
}

// late makes a batch that arrives when the returned function is called.
func (s *sender) late(n int) (arrive func()) {
	var kept *draft
	s.send(n, lost, func(d *draft) { kept = d })
	return func() {
		s.batch(kept.events, func(d *draft) { *d = *kept; d.lost, d.repeated, d.bytes = false, true, nil })
	}
}

// again uses the last numbers for another story.
func (s *sender) again() {
	s.send(1, reusing(s), judged(chain.Equivocation))
}

func reusing(s *sender) func(*draft) {
	return func(d *draft) { d.statement.FirstSeq, d.statement.PrevBatch, d.repeated = s.last, s.digest, true }
}

func TestEventfulDay(t *testing.T) {
	w := eventful(t)
	v := verify(t, w.bundle("08:30", "10:30"), w.policy())
	want{ExitOpenTail, OpenTail, 22}.check(t, v)
	if diff := cmp.Diff(Vantage{SelfReported: 9, GatewayObserved: 2, Imported: 4, Custody: 2, Unattributed: 5}, v.Vantage); diff != "" {
		t.Error(diff)
	}
	verdicts := map[string]uint64{"accepted": 13, "gap": 1, "late": 2, "key-invalid": 2, "held": 1, "equivocation": 1, "malformed": 2}
	if diff := cmp.Diff(verdicts, v.Verdicts); diff != "" {
		t.Error(diff)
	}
	if v.Anchoring != AnchoredByLog || v.AnchoredAt != int64(at("11:00"))/1e9 {
		t.Errorf("anchored %s at %d", v.Anchoring, v.AnchoredAt)
	}
	ends := map[string]string{}
	for _, e := range v.Emitters {
		for _, ep := range e.Epochs {
			ends[fmt.Sprint(e.Instance, " ", ep.No)] = ep.Ends
		}
	}
	if diff := cmp.Diff(map[string]string{
		"support-1 1": endClosed, "support-1 2": endContinued, "proxy-1 1": endSuccessor, "traces 1": endContinued,
		"billing-1 1": endOpen, "custody 1": endContinued,
	}, ends); diff != "" {
		t.Error(diff)
	}
	if v.Records.FieldsErased != 1 || v.Records.Held != 1 {
		t.Errorf("records %+v", v.Records)
	}
}

func TestDisclosure(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	e := a.call("person-1", "what the person asked")
	a.seal(e, "result", "person-1", "what the tool said")
	a.seal(e, "goal", "", "what was to be done")
	unknown := a.call("person-1", "what Custody never got")
	delete(w.openings, [2]string{string(unknown.Id), "arguments"})
	damaged := a.call("person-1", "what the store lost")
	w.openings[[2]string{string(damaged.Id), "arguments"}].Value[0] ^= 1
	a.batch([]*eventv1.Event{e, unknown, damaged, a.closing()})
	w.clock("12:00").access()
	for name, test := range map[string]struct {
		disclose Disclose
		want     Disclosure
		reasons  []Reason
	}{
		"all": {
			Disclose{},
			Disclosure{Records: 4, Clear: 4, FieldsDisclosed: 3, FieldsWithheld: 2},
			[]Reason{{reasonAbsent, 1, 0}, {reasonDamaged, 1, 0}},
		},
		"some": {
			Disclose{Withhold: map[string]string{"result": "privilege", "goal": "privilege"}},
			Disclosure{Records: 4, Clear: 4, FieldsDisclosed: 1, FieldsWithheld: 4},
			[]Reason{{"privilege", 2, 0}, {reasonAbsent, 1, 0}, {reasonDamaged, 1, 0}},
		},
		"none": {
			Disclose{Nothing: "not asked for"},
			Disclosure{Records: 4, Clear: 4, FieldsWithheld: 5},
			[]Reason{{"not asked for", 5, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := verify(t, w.bundle("08:30", "10:00", ExportOptions{Disclose: test.disclose}), w.policy())
			want{ExitVerified, Complete, 4}.check(t, v)
			if diff := cmp.Diff(test.want, v.Records) + cmp.Diff(test.reasons, v.Redactions); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Who mistypes the path of what is to be withheld would disclose it: nothing is handed out.
func TestWithholdingWhatIsNowhere(t *testing.T) {
	w := eventful(t)
	for _, s := range []Scope{w.scope("08:30", "10:30"), w.part("support-1", "run-1")} {
		var b bytes.Buffer
		o := ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks, Disclose: Disclose{Withhold: map[string]string{"argumets": "privilege"}}}
		if _, err := Export(t.Context(), &b, w, s, w.export, o); !errors.Is(err, ErrPath) || b.Len() > 0 {
			t.Errorf("%d bytes, error %v", b.Len(), err)
		}
	}
}

// cut is a reader that bounds by index instead of time, so that batches lie partly in the range.
type cut struct {
	*world
	begin, end chain.Index
}

func (c cut) Bounds(context.Context, Instant, Instant, chain.Index) (begin, end chain.Index, err error) {
	return c.begin, c.end, nil
}

func TestBatchesPartlyInTheRange(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	for range 3 {
		a.send(3)
	}
	w.access()
	size := w.chain.Size()
	for begin := range size {
		for end := begin; end <= size; end++ {
			var b bytes.Buffer
			if _, err := Export(t.Context(), &b, cut{w, begin, end}, w.scope("00:00", "23:00"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks}); err != nil {
				t.Fatal(err)
			}
			v := verify(t, b.Bytes(), w.policy())
			for _, c := range v.Checks {
				if c.Name != CheckBoundaries && c.Result != Passed { // times say nothing here
					t.Errorf("[%d, %d): %s: %s: %s", begin, end, c.Name, c.Result, c.Detail)
				}
			}
		}
	}
}

func TestWithoutPolicy(t *testing.T) {
	w := morning(t)
	v := verify(t, w.bundle("08:30", "11:00"), nil)
	want{ExitNoPolicy, NoClaim, 6}.check(t, v)
	if v.Integrity != Intact || v.Authenticity != NoClaim {
		t.Errorf("integrity %s, authenticity %s", v.Integrity, v.Authenticity)
	}
	for _, name := range []string{CheckPolicy, CheckEnvelope, CheckCheckpoint, CheckGenesis, CheckCustody} {
		if r := v.Check(name).Result; r != NotClaimed {
			t.Errorf("%s: %s", name, r)
		}
	}
}

func TestCompleteness(t *testing.T) {
	for name, test := range map[string]struct {
		tell func(w *world, a *sender)
		want want
	}{
		"closed":                 {func(_ *world, a *sender) { a.send(2).say(a.closing()) }, want{0, Complete, 3}},
		"continued":              {func(w *world, a *sender) { a.send(2); w.clock("11:00"); a.send(1) }, want{0, Complete, 2}},
		"followed by an epoch":   {func(w *world, a *sender) { a.send(2); w.clock("11:00"); a.newEpoch().send(1) }, want{0, Complete, 2}},
		"open":                   {func(_ *world, a *sender) { a.send(2) }, want{ExitOpenTail, OpenTail, 2}},
		"tail lost":              {func(w *world, a *sender) { a.send(2).send(1, lost); w.clock("11:00"); a.send(1) }, want{ExitOpenTail, OpenTail, 2}},
		"gap":                    {func(_ *world, a *sender) { a.send(1).send(1, lost).send(1).say(a.closing()) }, want{ExitGaps, Gaps, 3}},
		"gap at the beginning":   {func(_ *world, a *sender) { a.send(1, lost).send(1).say(a.closing()) }, want{ExitGaps, Gaps, 2}},
		"gap that was filled":    {func(_ *world, a *sender) { fill := a.late(2); a.send(1); fill(); a.say(a.closing()) }, want{0, Complete, 4}},
		"gap, partly filled":     {func(_ *world, a *sender) { fill := a.late(2); a.send(1, lost).send(1); fill(); a.say(a.closing()) }, want{ExitGaps, Gaps, 4}},
		"new epoch":              {func(_ *world, a *sender) { a.send(1).newEpoch().send(1).say(a.closing()) }, want{0, Complete, 3}},
		"end of an epoch lost":   {func(_ *world, a *sender) { a.send(1).send(2, lost).newEpoch().send(1).say(a.closing()) }, want{ExitGaps, Gaps, 3}},
		"epoch lost":             {func(_ *world, a *sender) { a.send(1).newEpoch().send(1, lost).newEpoch().send(1).say(a.closing()) }, want{ExitGaps, Gaps, 3}},
		"first of an epoch lost": {func(_ *world, a *sender) { a.send(1).newEpoch().send(1, lost).send(1).say(a.closing()) }, want{ExitGaps, Gaps, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00")
			test.tell(w, a)
			w.clock("12:00").access()
			test.want.check(t, verify(t, w.bundle("08:30", "10:00"), w.policy()))
		})
	}
}

func TestSilentAndSuspect(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.agent("billing-1")
	w.clock("09:00")
	a.send(2)
	first := uint64(w.chain.Size())
	a.send(2).say(a.closing())
	w.clock("11:00").revoke(a, first)
	w.access()
	v := verify(t, w.bundle("08:30", "10:00"), w.policy())
	want{ExitVerified, Complete, 5}.check(t, v)
	if v.SilentKeys != 1 {
		t.Errorf("%d silent keys", v.SilentKeys)
	}
	if diff := cmp.Diff([]Suspect{{a.key.ID(), "support-1", first, first + 2}}, v.Suspects); diff != "" {
		t.Error(diff)
	}
}

func TestClocks(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	ahead, tolerated := a.call("person-1", "x"), a.call("person-1", "y")
	ahead.OccurredAt, tolerated.OccurredAt = int64(at("09:06")), int64(at("09:04"))
	a.batch([]*eventv1.Event{ahead, tolerated})
	a.send(2, stating(func(s *eventv1.BatchStatement) { s.CreatedAt = int64(at("08:50")) }))
	a.say(a.closing())
	w.clock("12:00").access()
	v := verify(t, w.bundle("08:30", "10:00"), w.policy())
	want{ExitVerified, Complete, 5}.check(t, v)
	if v.Clock != (Clock{Ahead: 1, Behind: 2}) {
		t.Errorf("clock %+v", v.Clock)
	}
}

// The same log and request give the same bytes.
func TestBundlesAreReproducible(t *testing.T) {
	if !bytes.Equal(morning(t).bundle("08:30", "11:00"), morning(t).bundle("08:30", "11:00")) {
		t.Error("two exports of the same range differ")
	}
}

func TestExportRefusesAReaderThatSkips(t *testing.T) {
	w := morning(t)
	for name, r := range map[string]Reader{
		"no messages":    skipping{w, func(*Message) bool { return false }},
		"without a leaf": skipping{w, func(m *Message) bool { return m.First != 7 }},
	} {
		var b bytes.Buffer
		if _, err := Export(t.Context(), &b, r, w.scope("08:30", "11:00"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks}); err == nil {
			t.Errorf("%s: exported", name)
		}
	}
}

type skipping struct {
	*world
	keep func(*Message) bool
}

func (s skipping) Messages(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for m, err := range s.world.Messages(ctx, begin, end) {
			if s.keep(m) && !yield(m, err) {
				return
			}
		}
	}
}

// What is in memory must not grow with the log: here the bundle is several times what the heap may gain.
func TestMemoryIsFlat(t *testing.T) {
	const most = 6 << 20
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	for range 200 {
		a.send(128)
	}
	w.clock("12:00").access()
	base, gained := liveHeap(), uint64(0)
	watch := func(done, _ uint64) {
		if done%(128*32) == 0 {
			gained = max(gained, liveHeap()-min(base, liveHeap()))
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "bundle"))
	w.must(err)
	defer file.Close()
	_, err = Export(t.Context(), file, w, w.scope("08:30", "10:00"), w.export, ExportOptions{Dir: t.TempDir(), Progress: watch})
	w.must(err)
	size, err := file.Seek(0, io.SeekEnd)
	w.must(err)
	v, err := Verify(t.Context(), file, size, w.policy(), VerifyOptions{Progress: watch})
	w.must(err)
	want{ExitOpenTail, OpenTail, 200 * 128}.check(t, v)
	if gained > most || size < 2*most-most/2 {
		t.Errorf("the heap gained %d KiB for a bundle of %d KiB", gained>>10, size>>10)
	}
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
