package evidence

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

var errBroken = errors.New("broken")

// breaks fails once, at a call.
type breaks struct {
	mu        sync.Mutex // a bundle is read by several goroutines
	calls, at int
}

func (b *breaks) next() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls++; b.calls == b.at {
		return errBroken
	}
	return nil
}

// breakable is a log that fails at one call, whichever that is.
type breakable struct {
	*world
	*breaks
}

func (b breakable) Checkpoint(ctx context.Context) ([]byte, error) {
	return give(b, b.world.Checkpoint)(ctx)
}

func (b breakable) Timestamp(ctx context.Context) ([]byte, error) {
	return give(b, b.world.Timestamp)(ctx)
}

func give[T any](b breakable, read func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (none T, err error) {
		if err := b.next(); err != nil {
			return none, err
		}
		return read(ctx)
	}
}

func (b breakable) Anchors(ctx context.Context, begin, size chain.Index) ([]Anchor, error) {
	return give(b, func(ctx context.Context) ([]Anchor, error) { return b.world.Anchors(ctx, begin, size) })(ctx)
}

func (b breakable) ReadNodes(ctx context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	return give(b, func(ctx context.Context) ([]chain.Hash, error) { return b.world.ReadNodes(ctx, nodes) })(ctx)
}

func (b breakable) Bounds(ctx context.Context, from, to Instant, size chain.Index) (begin, end chain.Index, err error) {
	if err := b.next(); err != nil {
		return 0, 0, err
	}
	return b.world.Bounds(ctx, from, to, size)
}

func (b breakable) Leaf(ctx context.Context, index chain.Index) ([]byte, error) {
	return give(b, func(ctx context.Context) ([]byte, error) { return b.world.Leaf(ctx, index) })(ctx)
}

func (b breakable) Leaves(ctx context.Context, begin, end chain.Index, yield func([]byte) error) error {
	return b.world.Leaves(ctx, begin, end, func(leaf []byte) error { return errors.Join(b.next(), yield(leaf)) })
}

func (b breakable) Before(ctx context.Context, key signer.KeyID, index chain.Index) (*Message, error) {
	return give(b, func(ctx context.Context) (*Message, error) { return b.world.Before(ctx, key, index) })(ctx)
}

func (b breakable) After(ctx context.Context, key signer.KeyID, begin, end chain.Index) (*Message, error) {
	return give(b, func(ctx context.Context) (*Message, error) { return b.world.After(ctx, key, begin, end) })(ctx)
}

func (b breakable) Messages(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return b.each(b.world.Messages(ctx, begin, end))
}

func (b breakable) MessagesOf(ctx context.Context, begin, end chain.Index, instance string) iter.Seq2[*Message, error] {
	return b.each(b.world.MessagesOf(ctx, begin, end, instance))
}

func (b breakable) Admission(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return b.each(b.world.Admission(ctx, begin, end))
}

func (b breakable) each(list iter.Seq2[*Message, error]) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for m, err := range list {
			if broken := b.next(); broken != nil {
				m, err = nil, broken
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Wherever a log cannot be read there is no bundle, and the error says so.
func TestNoBundleOfABrokenLog(t *testing.T) {
	anchored, parts, old := hourly(t), shared(t), expiring(t, func(w *world) { w.expire(at("09:15")) })
	for name, test := range map[string]struct {
		w    *world
		s    Scope
		held [][]byte
	}{
		"whole":              {anchored, anchored.scope("08:30", "09:30"), [][]byte{anchored.earlier[1].Note}},
		"from the beginning": {anchored, anchored.scope("00:00", "09:30"), nil},
		"part":               {parts, parts.part("support-1", "ticket-1"), nil},
		"expired":            {old, old.scope("08:30", "10:00"), nil},
	} {
		w := test.w
		export := func(b *breaks) error {
			_, err := Export(t.Context(), io.Discard, breakable{w, b}, test.s, w.export, ExportOptions{Dir: w.dir(), Frameworks: noFrameworks, Held: test.held})
			return err
		}
		count := new(breaks)
		w.must(export(count))
		for at := 1; at <= count.calls; at++ {
			if err := export(&breaks{at: at}); !errors.Is(err, errBroken) {
				t.Errorf("%s, call %d of %d: %v", name, at, count.calls, err)
			}
		}
	}
}

// brokenWriter fails at one write.
type brokenWriter struct{ *breaks }

func (w brokenWriter) Write(b []byte) (int, error) { return len(b), w.next() }

func TestNoBundleOnAFullDisk(t *testing.T) {
	w := exported(t)
	export := func(b *breaks) error {
		_, err := Export(t.Context(), brokenWriter{b}, w, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: w.dir(), Frameworks: noFrameworks})
		return err
	}
	count := new(breaks)
	w.must(export(count))
	for at := 1; at <= count.calls; at++ {
		if err := export(&breaks{at: at}); !errors.Is(err, errBroken) {
			t.Errorf("write %d of %d: %v", at, count.calls, err)
		}
	}
}

// brokenFile fails at one read.
type brokenFile struct {
	io.ReaderAt
	*breaks
}

func (f brokenFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.next(); err != nil {
		return 0, err
	}
	return f.ReaderAt.ReadAt(b, at)
}

// A bundle that cannot be read is not judged.
func TestNoVerdictOnABrokenFile(t *testing.T) {
	whole, part, long := hourly(t), shared(t), reported(t, event.MaxSealedInline+1)
	early := repack(t, whole.export, whole.bundle("08:30", "10:30"), func(files map[string][]byte) { files[fileScope] = append(files[fileScope], ' ') })
	promised := promisedWorld(t, receiptCases["omitted at the end of the log"].tell)
	for name, test := range map[string]struct {
		w      *world
		bundle []byte
		kept   []signer.KeptReceipt
	}{
		"whole":            {whole, whole.bundle("08:30", "10:30"), nil},
		"without a policy": {whole, whole.bundle("08:30", "10:30"), nil},
		"part":             {part, part.exportScope(part.part("support-1", "ticket-1"), ExportOptions{}), nil},
		"with an object":   {long, long.bundle("08:30", "10:30"), nil},
		"that stops early": {whole, early, nil},
		"with receipts":    {promised.w, promised.w.bundle("08:30", "23:00"), promised.kept},
	} {
		bundle, policy := test.bundle, test.w.policy()
		if name == "without a policy" {
			policy = nil
		}
		check := func(b *breaks) (Verdict, error) {
			return Verify(t.Context(), brokenFile{bytes.NewReader(bundle), b}, int64(len(bundle)), policy, VerifyOptions{Workers: 1, Receipts: test.kept})
		}
		count := new(breaks)
		_, err := check(count)
		whole.must(err)
		for at := 1; at <= count.calls; at++ {
			if v, err := check(&breaks{at: at}); !errors.Is(err, errBroken) {
				t.Errorf("%s: read %d of %d: %v, exit %d\n%s", name, at, count.calls, err, v.Exit, details(v))
			}
		}
	}
}

func TestExportRefusesItsOptions(t *testing.T) {
	w, states := kept(t)
	binary := slices.Concat(states[0], []byte("\xff"))
	long := func(edit func(*Scope)) Scope {
		s := w.scope("08:30", "09:30")
		edit(&s)
		return s
	}
	for what, test := range map[string]struct {
		scope Scope
		o     ExportOptions
		want  error
	}{
		"too many states": {w.scope("08:30", "09:30"), ExportOptions{Held: slices.Repeat(states[:1], maxHeld+1)}, signer.ErrNote},
		"no text":         {w.scope("08:30", "09:30"), ExportOptions{Held: [][]byte{binary}}, signer.ErrNote},
		"long requester":  {long(func(s *Scope) { s.Requester = strings.Repeat("r", maxText+1) }), ExportOptions{}, ErrScope},
		"long purpose":    {long(func(s *Scope) { s.Purpose = strings.Repeat("p", maxText+1) }), ExportOptions{}, ErrScope},
		"a stamper that fails": {w.scope("08:30", "09:30"), ExportOptions{
			Stamp: func(context.Context, []byte) ([]byte, error) { return nil, errBroken },
		}, errBroken},
	} {
		test.o.Dir, test.o.Frameworks = w.dir(), noFrameworks
		if _, err := Export(t.Context(), io.Discard, w, test.scope, w.export, test.o); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", what, err, test.want)
		}
	}
}

// Progress is told of every record, in order, to the end.
func TestProgress(t *testing.T) {
	w := exported(t)
	var told []uint64
	total := uint64(0)
	w.bundle("08:30", "10:30", ExportOptions{Progress: func(done, all uint64) { told, total = append(told, done), all }})
	if total != 10 || len(told) == 0 || told[len(told)-1] != total || !slices.IsSorted(told) {
		t.Errorf("told %v of %d", told, total)
	}
}

// Other versions of the files are other formats.
func TestOtherVersions(t *testing.T) {
	const version, other = `"version": 1,`, `"version": 2,`
	runUnrecorded(t, map[string]attack{
		"scope":      exporter(CheckFormat, ExitFormat, replace(fileScope, `"version": `, `"version": 7`)),
		"redactions": exporter(CheckFormat, ExitFormat, replace(fileRedactions, version, other)),
		"controls":   exporter(CheckControls, ExitReport, replace(fileControls, version, other)),
		"history":    exporter(CheckFormat, ExitFormat, replace(fileProofs, version, other)),
	})
}

// runUnrecorded runs attacks without keeping them as vectors.
func runUnrecorded(t *testing.T, attacks map[string]attack) {
	t.Helper()
	for name, a := range attacks {
		bundle, policy := a.make(t)
		v := verify(t, bundle, policy)
		if v.Exit != a.exit || v.Check(a.check).Result != Failed {
			t.Errorf("%s: exit %d, want %d by %s\n%s", name, v.Exit, a.exit, a.check, details(v))
		}
	}
}

// An earlier state of another log is none of this one's, also for somebody who trusts no key.
func TestAnchorOfAnotherLogWithoutAPolicy(t *testing.T) {
	w := hourly(t)
	bundle := repack(t, w.export, w.bundle("08:10", "10:30"), editRecords(fileAnchors, func(list [][]byte) [][]byte {
		list[0] = bytes.Replace(list[0], []byte("custody/acme"), []byte("custody/acne"), 1)
		return list
	}))
	if v := verify(t, bundle, nil); v.Check(CheckAnchors).Result != Failed {
		t.Errorf("%s", details(v))
	}
}

// What was examined is counted.
func TestExaminedOnce(t *testing.T) {
	v := verify(t, exported(t).bundle("08:30", "10:30"), nil)
	for _, name := range []string{CheckEmitters, CheckRedactions} {
		if c := v.Check(name); c.Result != Passed || c.Examined == 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// The half of an approval by two is no approval yet, and its pace counts.
func TestHalfAnApprovalVouchesForNothing(t *testing.T) {
	p := newPeople()
	step := func(state eventv1.ApprovalState) *fact {
		return &fact{event: &eventv1.Event{Id: bytes.Repeat([]byte{1}, 16), Body: &eventv1.Event_System{System: &eventv1.System{
			Actor: "bob", Detail: &eventv1.System_Approval{Approval: &eventv1.ApprovalStep{State: state, Call: "call-1"}},
		}}}}
	}
	half := step(eventv1.ApprovalState_APPROVAL_STATE_HALF)
	if p.system(half); len(p.approvals) != 0 || half.pace != paceSteady {
		t.Errorf("half: %d approvals, pace %d", len(p.approvals), half.pace)
	}
	asked := step(eventv1.ApprovalState_APPROVAL_STATE_ASKED)
	if p.system(asked); len(p.approvals) != 0 || asked.pace != paceNone || asked.late {
		t.Errorf("asked: %d approvals, pace %d, late %t", len(p.approvals), asked.pace, asked.late)
	}
	if whole := step(eventv1.ApprovalState_APPROVAL_STATE_APPROVED); len(p.reviews) != 0 {
		t.Errorf("an approval is a review: %v", p.reviews)
	} else if p.system(whole); len(p.approvals) != 1 {
		t.Error("an approval is none")
	}
}
