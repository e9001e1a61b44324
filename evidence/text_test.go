package evidence

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

var update = flag.Bool("update", false, "write the golden texts")

// jargon is what a lawyer should never have to read.
var jargon = regexp.MustCompile(`(?i)\b(lea(f|ves)|merkle|epochs?|roots?|hash(es)?|digest)\b`)

// One text for each exit code.
func TestTexts(t *testing.T) {
	good := func(w *world) func(*testing.T) ([]byte, *Policy) {
		return func(*testing.T) ([]byte, *Policy) { return w.bundle("08:30", "10:30", ownFramework), w.policy() }
	}
	tampered := func(edit func(map[string][]byte)) func(*testing.T) ([]byte, *Policy) {
		return exporter("", 0, edit).make
	}
	lied := func(tell func(w *world, a *sender)) func(*testing.T) ([]byte, *Policy) { return liar("", 0, tell).make }
	for name, test := range map[string]struct {
		exit int
		make func(*testing.T) ([]byte, *Policy)
	}{
		"verified":   {ExitVerified, good(exported(t))},
		"open-tail":  {ExitOpenTail, good(eventful(t))},
		"gaps":       {ExitGaps, lied(func(_ *world, a *sender) { a.send(3, lost).send(1).say(a.closing()) })},
		"instance":   {ExitVerified, partial("support-1", "")},
		"run":        {ExitVerified, runWith(func(a *sender, x []*eventv1.Event) { a.batch(x) })},
		"run-beside": {ExitOpenTail, partial("support-1", "ticket-1")},
		"claimed":    {ExitOpenTail, partial("billing-1", "")},
		"selection":  {ExitBoundary, hidden("support-1", "", hideBatch(1))},
		"held": {ExitVerified, func(t *testing.T) ([]byte, *Policy) {
			w, states := kept(t)
			s := w.scope("08:30", "09:30")
			s.Grace = 3600
			return w.exportScope(s, ExportOptions{Held: states}), w.policy()
		}},
		"history": {ExitHistory, func(t *testing.T) ([]byte, *Policy) {
			w, states := kept(t)
			return repack(t, w.export, w.exportScope(w.scope("08:30", "11:00"), ExportOptions{Held: states[:2]}), editProofs(func(c *consistency) {
				c.Proofs[1].Hashes[0][0] ^= 1
			})), w.policy()
		}},
		"no-policy": {ExitNoPolicy, func(t *testing.T) ([]byte, *Policy) { return exported(t).bundle("08:30", "10:30"), nil }},
		"container": {ExitContainer, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			return w.bundle("08:30", "10:30")[1:], w.policy()
		}},
		"manifest": {ExitManifest, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			return list(t, w.bundle("08:30", "10:30"), fileEvents), w.policy()
		}},
		"format": {ExitFormat, tampered(editRecords(fileBatches, without(1)))},
		"policy": {ExitPolicy, tampered(replace(fileScope, `"acme"`, `"umbrella"`))},
		"envelope": {ExitEnvelope, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			p := w.policy()
			p.ExportKey = w.key().Public().Export()
			return w.bundle("08:30", "10:30"), p
		}},
		"checkpoint": {ExitCheckpoint, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			p := w.policy()
			p.LogKey = signer.VKey(p.Origin, w.key().Public())
			return w.bundle("08:30", "10:30"), p
		}},
		"witnessed": {ExitVerified, func(t *testing.T) ([]byte, *Policy) {
			w := hourly(t)
			return w.bundle("08:10", "10:30"), w.policy()
		}},
		"witnesses": {ExitWitnesses, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t).withWitnesses(2, 3).confirm(1)
			return w.bundle("08:30", "10:30"), w.policy()
		}},
		"time-stamp": {ExitTimestamp, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t).withAuthority("Clock of Example")
			w.authority = newAuthority(w, "Clock of Example", 8)
			w.confirm()
			return w.bundle("08:30", "10:30"), w.policy()
		}},
		"anchors":   {ExitHistory, splitView(true)},
		"chain":     {ExitChain, tampered(swapLeaves(1, 2))},
		"boundary":  {ExitBoundary, tampered(replace(fileScope, "10:30", "11:30"))},
		"keys":      {ExitKeys, lied(func(_ *world, a *sender) { a.w.revoke(a, 0); a.send(30, func(d *draft) { d.verdict = 1 }) })},
		"signature": {ExitSignature, lied(func(w *world, a *sender) { a.send(1, signedBy(w.key())) })},
		"event":     {ExitEvent, tampered(editRecord(fileEvents, 2, flipLast))},
		"verdict":   {ExitVerdict, lied(func(_ *world, a *sender) { a.send(1, lost).send(1, func(d *draft) { d.verdict = 1 }) })},
		"opening":   {ExitOpening, tampered(editRecord(fileOpenings, 0, flipLast))},
		"report":    {ExitReport, tampered(replace(fileEmitters, `"ends": "closed"`, `"ends": "open"`))},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, policy := test.make(t)
			v, err := Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), policy, VerifyOptions{Events: someEvents(t, bundle)})
			if err != nil {
				t.Fatal(err)
			}
			text := v.Text()
			if v.Exit != test.exit {
				t.Errorf("exit %d, want %d\n%s", v.Exit, test.exit, details(v))
			}
			if words := jargon.FindAllString(text, -1); words != nil {
				t.Errorf("a lawyer must read %q", words)
			}
			golden(t, filepath.Join("testdata", "text", name+".txt"), text)
			holdChecks(t, v)
		})
	}
}

// someEvents are to be asked about in the bundle of hourly; the others show none.
func someEvents(t *testing.T, bundle []byte) (ids []event.ID) {
	t.Helper()
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil || c.open(fileAnchors).Size() == 0 || c.open(fileTimestamp).Size() == 0 {
		return nil
	}
	events, err := c.read(fileEvents)
	if err != nil {
		t.Fatal(err)
	}
	for i, record := range splitRecords(events) {
		if e, err := event.Parse(record[1:]); err == nil && i%3 == 0 {
			ids = append(ids, event.ID(e.GetId()))
		}
	}
	return append(ids, event.ID{6: 0x70, 8: 0x80})
}

// list changes one byte of a file without making anything else right.
func list(t *testing.T, bundle []byte, name string) []byte {
	t.Helper()
	files := unpack(t, bundle)
	flipLast(files[name])
	var staged []*staged
	for _, l := range layout {
		staged = append(staged, stageBytes(files[l.name]))
	}
	var out strings.Builder
	if err := writeContainer(&out, staged); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -update writes it):\n%s", name, diff)
	}
}

// What a producer or a requester wrote cannot drive the reader's terminal or forge lines.
func TestTextIsEscaped(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.batch([]*eventv1.Event{a.call("person-1", "x")})
	w.clock("12:00").access()
	s := w.scope("08:30", "10:00")
	s.Requester, s.Purpose = "\x1b[2J\x1b[31m\xff", "review\nANSWERS\n  integrity INTACT\u202e"
	var b strings.Builder
	_, err := Export(t.Context(), &b, w, s, w.export, ExportOptions{Disclose: Disclose{Nothing: "\x07\x1b]0;\xff"}, Dir: t.TempDir()})
	w.must(err)
	v := verify(t, []byte(b.String()), w.policy())
	want{ExitOpenTail, OpenTail, 1}.check(t, v)
	if text := v.Text(); strings.ContainsAny(text, "\x1b\x07\u202e") || strings.Count(text, "\nANSWERS\n") != 1 {
		t.Errorf("%q", text)
	}
}

// A check that has no row, or a row without words, would leave a failure unsaid.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	exit := 0
	for _, r := range slices.Concat(rules, receiptRules) {
		if seen[r.name] || r.what == "" || r.failure == "" || r.therefore == "" {
			t.Errorf("%s: repeated or silent", r.name)
		}
		if seen[r.name] = true; r.exit < ExitContainer || r.exit > ExitReceipts {
			t.Errorf("%s: exit %d", r.name, r.exit)
		}
		exit = max(exit, r.exit)
	}
	if exit != ExitReceipts {
		t.Errorf("the last class is %d", exit)
	}
}
