package evidence

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// A statement of isolation whose parts contradict each other does not verify, whoever has signed it.
func TestStatementsThatContradictThemselves(t *testing.T) {
	for name, test := range map[string]struct {
		check string
		edit  func(*Isolation)
	}{
		"with grace":               {CheckFormat, func(i *Isolation) { i.Scope.Grace = 3600 }},
		"of an instance":           {CheckFormat, func(i *Isolation) { i.Scope.Instance = "support-1" }},
		"another version":          {CheckFormat, func(i *Isolation) { i.Version++ }},
		"a record after the range": {CheckFormat, func(i *Isolation) { i.Connections[0].Last = uint64(i.Scope.End) }},
		"another tenant":           {CheckPolicy, func(i *Isolation) { i.Scope.Tenant = "umbrella"; i.Says = i.sentence() }},
		"another size":             {CheckCheckpoint, func(i *Isolation) { i.Scope.Size++ }},
	} {
		w := house(t)
		file := w.resigned(w.export, w.statement(w, "08:30", "10:30", connections(t, w)...), test.edit)
		v, err := VerifyIsolation(t.Context(), file, w.policy(), nil, VerifyOptions{})
		w.must(err)
		if v.check(test.check).Result != Failed || v.Authenticity == Authentic {
			t.Errorf("%s: exit %d\n%s", name, v.Exit, v.Text())
		}
	}
}

// again has the newest state of the log as an earlier one too.
type again struct{ *world }

func (a again) Anchors(ctx context.Context, _, _ chain.Index) ([]Anchor, error) {
	note, err := a.Checkpoint(ctx)
	return []Anchor{{Note: note}}, err
}

// A state of as many records as the bundle's is none that comes later.
func TestTheSameStateTwice(t *testing.T) {
	w := exported(t)
	var b bytes.Buffer
	_, err := Export(t.Context(), &b, again{w}, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
	w.must(err)
	if v := verify(t, b.Bytes(), w.policy()); v.Exit != ExitVerified || v.Check(CheckAnchors).Examined != 1 {
		t.Error(details(v))
	}
}

// What nobody outside the log confirms is said, and only then.
func TestTimesInWords(t *testing.T) {
	const nobody, nothing = "nobody outside the log confirms", "nothing shows a time after which"
	for name, test := range map[string]struct {
		w         *world
		index     chain.Index
		confirmed bool
	}{"confirmed": {hourly(t), 6, true}, "unconfirmed": {exported(t), 6, false}, "the first": {exported(t), 5, false}} {
		w := test.w
		var id event.ID
		for _, m := range w.messages {
			if test.index >= m.First && test.index < m.end() {
				e, err := event.Parse(m.Events[test.index-m.First].Bytes)
				w.must(err)
				id = event.ID(e.GetId())
			}
		}
		bundle := w.bundle("08:10", "10:30")
		v, err := Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), w.policy(), VerifyOptions{Events: []event.ID{id}})
		w.must(err)
		when := v.When[0]
		if strings.Contains(v.Text(), nobody) != (when.Before == nil) || strings.Contains(v.Text(), nothing) != (when.After == nil && when.Since == nil) {
			t.Errorf("%s: %+v\n%s", name, when, v.Text())
		}
		if (when.Before != nil) != test.confirmed {
			t.Errorf("%s: %+v", name, when)
		}
	}
}

// A statement of isolation of a bundle that cannot be read is not judged either.
func TestNoVerdictOnABrokenBundleBeside(t *testing.T) {
	w := house(t)
	file := w.statement(w, "08:30", "10:30", connections(t, w)...)
	bundle := w.bundle("08:30", "10:30")
	check := func(b *breaks) error {
		_, err := VerifyIsolation(t.Context(), file, w.policy(), &Beside{brokenFile{bytes.NewReader(bundle), b}, int64(len(bundle))}, VerifyOptions{})
		return err
	}
	count := new(breaks)
	w.must(check(count))
	for at := 1; at <= count.calls; at++ {
		if err := check(&breaks{at: at}); !errors.Is(err, errBroken) {
			t.Errorf("read %d of %d: %v", at, count.calls, err)
		}
	}
}
