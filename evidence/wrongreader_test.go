package evidence

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// A file that grows and cannot be written ends the export in the step that writes it, not only when it is finished.
func TestNoBundleWithoutRoomForItsParts(t *testing.T) {
	anchored, parts := hourly(t), shared(t)
	part := parts.part("support-1", "ticket-1")
	for name, test := range map[string]struct {
		w       *world
		s       Scope
		written []string // files that have a record
	}{
		"whole": {anchored, anchored.scope("08:45", "09:15"), []string{
			fileAnchors, fileLeaves, fileBatches, fileEvents, fileOpenings, fileKeysBefore, fileBefore, fileAfter, fileActions,
		}},
		"part": {parts, part, []string{fileKeysBefore, fileKeysRange, fileLeaves, fileBatches, fileEvents, fileOpenings, fileActions}},
	} {
		for _, file := range append(test.written, "") {
			if err := exportInto(t, test.w, test.s, file); errors.Is(err, os.ErrClosed) != (file != "") {
				t.Errorf("%s, %q: %v", name, file, err)
			}
		}
	}
}

// exportInto is the error of an export whose file of a name is full and could not be written before.
func exportInto(t *testing.T, r Reader, s Scope, name string) (err error) {
	t.Helper()
	x := newExport(r, s, signer.FromSeed([32]byte{1}), ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
	if err := x.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer x.close() //nolint:errcheck // one of them has failed
	if name != "" {
		f := x.file(name)
		f.room = make([]byte, stageBuffer)
		f.behind = &behind{full: make(chan []byte), written: make(chan written, 1), done: make(chan struct{}), err: os.ErrClosed}
		f.behind.written <- written{err: os.ErrClosed}
		go f.run(f.behind)
	}
	for _, step := range x.steps() {
		if err := step(t.Context()); err != nil {
			return err
		}
	}
	return nil
}

// wrong is a log whose answers are changed.
type wrong struct {
	*world
	message   func(*Message) // of the range, and of Custody's own
	own       func(*Message) // of Custody's own alone
	neighbour func(*Message) *Message
	anchor    func(*Anchor)
	leaf      func([]byte) []byte
}

func (r wrong) changed(list iter.Seq2[*Message, error], edits ...func(*Message)) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for m, err := range list {
			c := *m
			for _, edit := range edits {
				if edit != nil {
					edit(&c)
				}
			}
			if !yield(&c, err) {
				return
			}
		}
	}
}

func (r wrong) Messages(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return r.changed(r.world.Messages(ctx, begin, end), r.message)
}

func (r wrong) Admission(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return r.changed(r.world.Admission(ctx, begin, end), r.message, r.own)
}

func (r wrong) Before(ctx context.Context, key signer.KeyID, index chain.Index) (*Message, error) {
	return r.beside(r.world.Before(ctx, key, index))
}

func (r wrong) After(ctx context.Context, key signer.KeyID, begin, end chain.Index) (*Message, error) {
	return r.beside(r.world.After(ctx, key, begin, end))
}

func (r wrong) beside(m *Message, err error) (*Message, error) {
	if m == nil || r.neighbour == nil {
		return m, err
	}
	c := *m
	return r.neighbour(&c), err
}

func (r wrong) Anchors(ctx context.Context, begin, size chain.Index) ([]Anchor, error) {
	list, err := r.world.Anchors(ctx, begin, size)
	for i := range list {
		if r.anchor != nil {
			r.anchor(&list[i])
		}
	}
	return list, err
}

func (r wrong) Leaf(ctx context.Context, index chain.Index) ([]byte, error) {
	b, err := r.world.Leaf(ctx, index)
	if r.leaf != nil {
		b = r.leaf(b)
	}
	return b, err
}

// Of a log whose answers do not belong together there is no bundle.
func TestNoBundleOfAWrongLog(t *testing.T) {
	w := hourly(t)
	cutLeaf := func(m *Message) *Message { m.Leaves = [][]byte{m.Leaves[0][1:]}; return m }
	for name, test := range map[string]struct {
		r    wrong
		want error
	}{
		"right":                      {wrong{}, nil},
		"an anchor that is no note":  {wrong{anchor: func(a *Anchor) { a.Note = a.Note[:9] }}, signer.ErrNote},
		"a leaf that is cut":         {wrong{leaf: func(b []byte) []byte { return b[1:] }}, ErrReader},
		"a neighbour without a leaf": {wrong{neighbour: func(m *Message) *Message { m.Leaves = nil; return m }}, ErrReader},
		"a neighbour's leaf is cut":  {wrong{neighbour: cutLeaf}, chain.ErrLeaf},
		"a neighbour's statement is cut": {wrong{neighbour: func(m *Message) *Message {
			m.Statement = m.Statement[:9]
			return m
		}}, errAny},
		"a leaf of Custody's own is cut": {wrong{own: func(m *Message) { cutLeaf(m) }}, chain.ErrLeaf},
		"an event that is not there":     {wrong{message: func(m *Message) { m.Events = make([]Event, len(m.Leaves)) }}, ErrReader},
		"a message's leaf is cut":        {wrong{message: func(m *Message) { cutLeaf(m) }}, errAny},
	} {
		test.r.world = w
		_, err := Export(t.Context(), io.Discard, test.r, w.scope("08:45", "09:15"), w.export, ExportOptions{Dir: w.dir(), Frameworks: noFrameworks})
		if !is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// errAny stands for an error of any kind.
var errAny = errors.New("any error")

// is reports whether an error is the one that is wanted.
func is(err, want error) bool {
	if errors.Is(want, errAny) {
		return err != nil
	}
	return errors.Is(err, want)
}

// Only what was accepted, is here and can be read is chosen.
func TestWhatIsChosen(t *testing.T) {
	m := exported(t).opened(exported(t).messages[0])
	for name, test := range map[string]struct {
		verdict chain.Verdict
		events  []Event
		chosen  bool
	}{
		"an event":          {chain.Accepted, m.Events, true},
		"refused":           {chain.KeyInvalid, m.Events, false},
		"not here":          {chain.Accepted, nil, false},
		"of no bytes":       {chain.Accepted, []Event{{}}, false},
		"that nobody reads": {chain.Accepted, []Event{{Bytes: []byte{1}}}, false},
	} {
		leaf := &chain.Leaf{Verdict: test.verdict}
		b, chosen := chooseEvent(&Message{Events: test.events}, 0, leaf, func(chain.Index, *eventv1.Event) bool { return true })
		if chosen != test.chosen || chosen && !bytes.Equal(b, m.Events[0].Bytes) {
			t.Errorf("%s: %t, %x", name, chosen, b)
		}
	}
}

// An export that is broken off says so, though its log does not.
func TestExportIsBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w, parts := exported(t), shared(t)
	x := newExport(w, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
	y := newExport(parts, parts.part("support-1", ""), parts.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
	w.must(errors.Join(x.begin(ctx), y.begin(ctx)))
	cancel()
	for name, step := range map[string]func(context.Context) error{
		"before": x.keysBefore, "messages": x.messages, "after": x.keysAfter, "producers": y.producers, "expiries": x.readExpiries,
	} {
		if err := step(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must(errors.Join(x.close(), y.close()))
}

// Of a message of Custody's own across an end of the range what lies on this side is shown.
func TestMessagesAcrossAnEnd(t *testing.T) {
	w := exported(t) // leaves 1 and 2 are one message
	for _, test := range []struct{ begin, end, position uint32 }{{2, 3, 1}, {1, 2, 0}} {
		x := newExport(w, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
		w.must(x.begin(t.Context()))
		all := func(chain.Index, *eventv1.Event) bool { return true }
		w.must(x.admissionMessage(t.Context(), fileKeysAfter, w.opened(w.messages[1]), chain.Index(test.begin), chain.Index(test.end), all))
		r, err := parseProvenRecord(splitRecords(x.file(fileKeysAfter).room)[0])
		w.must(errors.Join(err, x.close()))
		if len(r.shown) != 1 || r.shown[0].position != test.position {
			t.Errorf("[%d, %d): %d shown", test.begin, test.end, len(r.shown))
		}
	}
}

// What an export is told wrongly ends the step that is told.
func TestStepsOfAWrongLog(t *testing.T) {
	parts := shared(t)
	cut := wrong{world: parts, own: func(m *Message) { m.Leaves = [][]byte{m.Leaves[0][1:]} }}
	x := newExport(cut, parts.part("support-1", ""), parts.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
	parts.must(x.begin(t.Context()))
	if err := x.producers(t.Context()); !errors.Is(err, chain.ErrLeaf) {
		t.Errorf("producers: %v", err)
	}
	parts.must(x.close())
	w := exported(t)
	elsewhere := w.scope("08:30", "10:30")
	elsewhere.Origin += "x"
	for name, test := range map[string]struct {
		r    Reader
		s    Scope
		o    ExportOptions
		want error
	}{
		"another log":         {w, elsewhere, ExportOptions{Dir: t.TempDir()}, chain.ErrOrigin},
		"a note that is none": {noted{w, func(b []byte) []byte { return b[:9] }}, w.scope("08:30", "10:30"), ExportOptions{Dir: t.TempDir()}, signer.ErrNote},
		"a note too long":     {noted{w, func(b []byte) []byte { return append(b, make([]byte, maxSmallFile)...) }}, w.scope("08:30", "10:30"), ExportOptions{Dir: t.TempDir()}, signer.ErrNote},
		"another state":       {noted{w, func(b []byte) []byte { return append([]byte("x\n\n"), b...) }}, w.scope("08:30", "10:30"), ExportOptions{Dir: t.TempDir()}, chain.ErrCheckpoint},
		"no folder":           {w, w.scope("08:30", "10:30"), ExportOptions{Dir: filepath.Join(t.TempDir(), "nowhere")}, fs.ErrNotExist},
		"no such order":       {bounded{w}, w.scope("08:30", "10:30"), ExportOptions{Dir: t.TempDir()}, ErrScope},
	} {
		if _, err := Export(t.Context(), io.Discard, test.r, test.s, w.export, test.o); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		x := newExport(test.r, test.s, w.export, test.o)
		if err := x.begin(t.Context()); !errors.Is(err, test.want) {
			t.Errorf("%s: begins with %v, want %v", name, err, test.want)
		}
		_ = x.close()
	}
}

// noted is a log whose checkpoint is changed.
type noted struct {
	*world
	edit func([]byte) []byte
}

func (n noted) Checkpoint(ctx context.Context) ([]byte, error) {
	note, err := n.world.Checkpoint(ctx)
	return n.edit(bytes.Clone(note)), err
}

// bounded is a log that ends before it begins.
type bounded struct{ *world }

func (bounded) Bounds(context.Context, Instant, Instant, chain.Index) (begin, end chain.Index, err error) {
	return 9, 4, nil
}

// A message of the range that does not follow the one before, or is not whole, is none.
func TestPartsOfWrongMessages(t *testing.T) {
	w := exported(t)
	m := w.opened(w.messages[4]) // of two leaves
	for name, test := range map[string]struct {
		next chain.Index
		edit func(*Message)
		want error
	}{
		"right":               {m.First, func(*Message) {}, nil},
		"its second":          {m.First + 1, func(*Message) {}, nil},
		"too late":            {m.First + 2, func(*Message) {}, ErrReader},
		"too early":           {m.First - 1, func(*Message) {}, ErrReader},
		"an event too few":    {m.First, func(m *Message) { m.Events = m.Events[:1] }, ErrReader},
		"a leaf that is cut":  {m.First, func(m *Message) { m.Leaves = [][]byte{m.Leaves[0], m.Leaves[1][1:]} }, chain.ErrLeaf},
		"no statement at all": {m.First, func(m *Message) { m.Statement = nil }, nil},
		"no statement":        {m.First, func(m *Message) { m.Statement = []byte("no statement") }, errAny},
	} {
		x := newExport(w, w.scope("00:00", "23:00"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
		w.must(x.begin(t.Context()))
		c := *m
		test.edit(&c)
		x.next = test.next
		if _, err := x.part(&c); !is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		w.must(x.close())
	}
}

// brokenSigner fails at one signature.
type brokenSigner struct {
	signer.Exporter
	*breaks
}

func (b brokenSigner) Sign(message []byte) ([]byte, error) {
	if err := b.next(); err != nil {
		return nil, err
	}
	return b.Exporter.Sign(message)
}

// Without its signatures there is no bundle.
func TestNoBundleWithoutASignature(t *testing.T) {
	w := exported(t)
	export := func(b *breaks) error {
		_, err := Export(t.Context(), io.Discard, w, w.scope("08:30", "10:30"), brokenSigner{w.export, b}, ExportOptions{
			Dir: w.dir(), Frameworks: noFrameworks, Stamp: func(context.Context, []byte) ([]byte, error) { return nil, nil },
		})
		return err
	}
	count := new(breaks)
	w.must(export(count))
	for at := 1; at <= count.calls; at++ {
		if err := export(&breaks{at: at}); !errors.Is(err, errBroken) {
			t.Errorf("signature %d of %d: %v", at, count.calls, err)
		}
	}
	if files, err := os.ReadDir(w.dir()); err != nil || len(files) > 0 || count.calls < 2 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
}

// greedy is a log that gives the messages of everybody where those of one are asked for.
type greedy struct{ breakable }

func (g greedy) MessagesOf(ctx context.Context, begin, end chain.Index, _ string) iter.Seq2[*Message, error] {
	return g.Messages(ctx, begin, end)
}

// Of messages that are of others only the leaves are shown.
func TestMessagesOfOthersAreLeftOut(t *testing.T) {
	w := shared(t)
	export := func(r Reader) ([]byte, error) {
		var out bytes.Buffer
		_, err := Export(t.Context(), &out, r, w.part("support-1", "ticket-1"), w.export, ExportOptions{Dir: w.dir(), Tool: Tool{Name: "custody test"}, Frameworks: noFrameworks})
		return out.Bytes(), err
	}
	count := new(breaks)
	got, err := export(greedy{breakable{w, count}})
	if want := w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("another bundle: %v", err)
	}
	for at := 1; at <= count.calls; at++ {
		if _, err := export(greedy{breakable{w, &breaks{at: at}}}); !errors.Is(err, errBroken) {
			t.Errorf("call %d of %d: %v", at, count.calls, err)
		}
	}
}

// What goes wrong in one step of an export ends that step.
func TestStepsThatFail(t *testing.T) {
	w := exported(t)
	begun := func() *export {
		x := newExport(w, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
		w.must(x.begin(t.Context()))
		return x
	}
	x := begun()
	late := w.opened(w.messages[len(w.messages)-1])
	if err := x.message(t.Context(), late); !errors.Is(err, ErrReader) {
		t.Errorf("a message that does not follow: %v", err)
	}
	x.nodes = newNodeCache(&askedNodes{times: map[chain.Node]int{}, short: true})
	if err := x.span(t.Context()); !errors.Is(err, chain.ErrRange) {
		t.Errorf("span: %v", err)
	}
	x.reasons.list = make([]Reason, maxReasons)
	sealed := &eventv1.Event{Sealed: []*eventv1.Sealed{{Path: "p"}}}
	if err := x.openings(5, sealed, nil); !errors.Is(err, ErrRedactions) {
		t.Errorf("openings: %v", err)
	}
	w.must(errors.Join(x.putJSON(fileScope, &x.scope), x.file(fileEvents).file.Close()))
	if _, err := x.sign(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("sign: %v", err)
	}
	if err := x.close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v", err)
	}
	x = begun()
	cut := wrong{world: w, message: func(m *Message) { m.Leaves = [][]byte{m.Leaves[0][1:]} }}
	x.reader = cut
	if err := x.readExpiries(t.Context()); !errors.Is(err, chain.ErrLeaf) {
		t.Errorf("expiries: %v", err)
	}
	w.must(x.close())
}

// What was erased in the state of the bundle is erased, and what was erased later is withheld; what is withheld is not loaded.
func TestOpeningsOfErasedFields(t *testing.T) {
	w := exported(t)
	x := newExport(w, w.scope("08:30", "10:30"), w.export, ExportOptions{Disclose: Disclose{Withhold: map[string]string{"w": "privilege"}}})
	x.scope.Size = 9
	for tombstone, want := range map[chain.Index]state{8: stateErased, 9: stateWithheld, 10: stateWithheld} {
		r, err := x.opening(new(eventv1.Event), &eventv1.Sealed{Path: "p"}, &Opening{Path: "p", Erased: true, Tombstone: tombstone})
		if w.must(err); r.state != want {
			t.Errorf("tombstone %d: %d", tombstone, r.state)
		}
	}
	_, err := x.opening(new(eventv1.Event), &eventv1.Sealed{Path: "w"}, &Opening{Path: "w", Load: func() []byte { t.Error("loaded"); return nil }})
	w.must(err)
}

// An epoch that a record closes within a batch, behind which the range ends, is not closed.
func TestARangeThatEndsBehindAClosing(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.say(a.call("customer", "{}"), a.closing(), a.call("customer", "{}"))
	first := w.messages[len(w.messages)-1].First
	w.clock("11:00").access()
	var b bytes.Buffer
	_, err := Export(t.Context(), &b, cut{w, first, first + 2}, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: w.dir(), Frameworks: noFrameworks})
	w.must(err)
	v := verify(t, b.Bytes(), w.policy())
	if v.Check(CheckEmitters).Result != Passed || v.Emitters[0].Epochs[0].Ends == "closed" {
		t.Errorf("%+v\n%s", v.Emitters, details(v))
	}
}
