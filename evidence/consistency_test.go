package evidence

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// older is a log as it was when a checkpoint was signed.
type older struct {
	*world
	note []byte
}

func (o older) Checkpoint(context.Context) ([]byte, error) { return o.note, nil }

// note is the newest signed state of the log.
func (w *world) note() []byte {
	b, err := w.Checkpoint(w.t.Context())
	w.must(err)
	return b
}

// exportAt makes the bundle of a scope under an older state.
func (w *world) exportAt(note []byte, s Scope, o ExportOptions) []byte {
	w.t.Helper()
	o.Dir = w.dir()
	o.Frameworks = noFrameworks
	var b bytes.Buffer
	_, err := Export(w.t.Context(), &b, older{w, note}, s, w.export, o)
	w.must(err)
	return b.Bytes()
}

// kept is a log of which somebody kept three states, and its window is over everything before the last.
func kept(t testing.TB) (w *world, states [][]byte) {
	w = newWorld(t, "acme")
	a := w.agent("support-1")
	states = append(states, w.note())
	w.clock("09:00")
	a.send(5)
	late := a.call("customer", "{}")
	states = append(states, w.note())
	w.clock("10:00")
	a.send(2).say(late).say(a.closing())
	states = append(states, w.note())
	w.clock("12:00").access()
	return w, states
}

// forked is another history under the same keys.
func forked(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(2)
	a.send(3)
	return w
}

func verifyHeld(t testing.TB, bundle []byte, p *Policy, held ...[]byte) Verdict {
	t.Helper()
	v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), p, VerifyOptions{Held: held})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestConsistency(t *testing.T) {
	w, states := kept(t)
	s := w.scope("08:30", "11:00")
	bundle := w.exportScope(s, ExportOptions{Held: states})
	v := verifyHeld(t, bundle, w.policy(), states[1], w.note())
	want{ExitVerified, Complete, 9}.check(t, v)
	var sizes []chain.Index
	var held []bool
	for _, h := range v.History {
		sizes, held = append(sizes, h.Size), append(held, h.Held)
		if !h.Proven {
			t.Errorf("%d is not proven", h.Size)
		}
	}
	if diff := cmp.Diff([]chain.Index{4, 9, 13, 14}, sizes) + cmp.Diff([]bool{false, true, false, true}, held); diff != "" {
		t.Error(diff)
	}
	if c := v.Check(CheckHistory); c.Examined != 5 {
		t.Errorf("%+v", c)
	}
	if text := v.Text(); strings.Count(text, "continues its earlier state") != 4 || strings.Count(text, "(held by you)") != 2 || strings.Count(text, "(named in the bundle)") != 2 {
		t.Errorf("the text of earlier states:\n%s", text)
	}
	back := w.exportAt(states[1], s, ExportOptions{Held: [][]byte{states[2]}}) // a smaller state than the one that is held
	if v := verifyHeld(t, back, w.policy(), states[2]); v.Exit != ExitOpenTail || !v.History[0].Proven || !strings.Contains(v.Text(), "The log's later state of 13 records (held by you) continues this one.") {
		t.Errorf("exit %d\n%s%s", v.Exit, v.Text(), details(v))
	}
}

func TestExportRefusesAnotherHistory(t *testing.T) {
	w, states := kept(t)
	strange := newWorld(t, "umbrella")
	strange.clock("09:00").access()
	for name, held := range map[string][]byte{"a fork": forked(t).note(), "another log's": strange.note()} {
		_, err := Export(t.Context(), &bytes.Buffer{}, w, w.scope("08:30", "11:00"), w.export, ExportOptions{Dir: w.dir(), Held: [][]byte{states[0], held}})
		if !errors.Is(err, ErrHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, held := range map[string][]byte{"no note": []byte("no note"), "a bare state": w.leaves[0], "no text": bytes.Replace(states[0], []byte("\n\n"), []byte("\n\n\xff"), 1)} {
		if _, err := Export(t.Context(), &bytes.Buffer{}, w, w.scope("08:30", "11:00"), w.export, ExportOptions{Dir: w.dir(), Held: [][]byte{held}}); !errors.Is(err, signer.ErrNote) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// editProofs changes log/consistency/proofs.json.
func editProofs(edit func(*consistency)) func(map[string][]byte) {
	return func(files map[string][]byte) {
		c := new(consistency)
		_ = unmarshalJSON(files[fileProofs], c)
		edit(c)
		files[fileProofs], _ = marshalJSON(c)
	}
}

func TestDishonestHistories(t *testing.T) {
	proofs := func(edit func(*consistency)) attack {
		return attack{CheckHistory, ExitHistory, func(t *testing.T) ([]byte, *Policy) {
			w, states := kept(t)
			return repack(t, w.export, w.exportScope(w.scope("08:30", "11:00"), ExportOptions{Held: states[:2]}), editProofs(edit)), w.policy()
		}}
	}
	runAttacks(t, map[string]attack{
		"a proof edited":         proofs(func(c *consistency) { c.Proofs[1].Hashes[0][0] ^= 1 }),
		"a proof cut":            proofs(func(c *consistency) { c.Proofs[1].Hashes = c.Proofs[1].Hashes[1:] }),
		"a proof with a surplus": proofs(func(c *consistency) { c.Proofs[1].Hashes = append(c.Proofs[1].Hashes, chain.Hash{}) }),
		"proofs exchanged":       proofs(func(c *consistency) { c.Proofs[0].Hashes, c.Proofs[1].Hashes = c.Proofs[1].Hashes, c.Proofs[0].Hashes }),
		"a state of another history": proofs(func(c *consistency) {
			c.Proofs[1].Checkpoint = string(forked(t).note())
		}),
		"a state of another log": proofs(func(c *consistency) { c.Proofs[1].Checkpoint = string(newWorld(t, "umbrella").note()) }),
		"a state that nobody signed": proofs(func(c *consistency) {
			text, _, _ := strings.Cut(c.Proofs[1].Checkpoint, "\n\n")
			c.Proofs[1].Checkpoint = text + "\n\n"
		}),
		"no list of proofs": {CheckFormat, ExitFormat, func(t *testing.T) ([]byte, *Policy) {
			w, _ := kept(t)
			return repack(t, w.export, w.bundle("08:30", "11:00"), replace(fileProofs, "1", "2")), w.policy()
		}},
	})
}

// What an auditor holds must be continued, whatever the bundle says.
func TestHeldStates(t *testing.T) {
	w, states := kept(t)
	s := w.scope("08:30", "11:00")
	with, without := w.exportScope(s, ExportOptions{Held: states[:2]}), w.bundle("08:30", "11:00")
	rolledBack := w.exportAt(states[1], s, ExportOptions{})
	stranger := signedState(t, w, w.key())
	for name, test := range map[string]struct {
		bundle, held []byte
		err          error
	}{
		"not in the bundle":             {without, states[1], errNoProof},
		"another history, with a proof": {with, forked(t).note(), errFork},
		"another history, without one":  {without, forked(t).note(), errNoProof},
		"the log is rolled back":        {rolledBack, states[2], errNoProof},
		"signed by a stranger":          {with, stranger, signer.ErrSignature},
		"no state at all":               {with, []byte("nothing"), signer.ErrNote},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifyHeld(t, test.bundle, w.policy(), test.held)
			if c := v.Check(CheckHistory); c.Result != Failed || !bytes.Contains([]byte(c.Detail), []byte(test.err.Error())) {
				t.Errorf("%s: %s", c.Result, c.Detail)
			}
			if v.Exit != ExitHistory || v.Authenticity != NotAuthentic {
				t.Errorf("exit %d, authenticity %s", v.Exit, v.Authenticity)
			}
		})
	}
}

// Who trusts no key can hold states of the log all the same; one of another log is none.
func TestHeldStatesWithoutAPolicy(t *testing.T) {
	w, states := kept(t)
	bundle := w.exportScope(w.scope("08:30", "11:00"), ExportOptions{Held: states[:2]})
	strange := bytes.Replace(states[1], []byte("custody/acme"), []byte("custody/acne"), 1)
	for name, test := range map[string]struct {
		held []byte
		err  error
	}{
		"of this log":    {states[1], nil},
		"of another log": {strange, chain.ErrOrigin},
		"of no log":      {[]byte("nothing"), signer.ErrNote},
	} {
		v := verifyHeld(t, bundle, nil, test.held)
		if c := v.Check(CheckHistory); (c.Result == Failed) != (test.err != nil) || test.err != nil && !strings.Contains(c.Detail, test.err.Error()) {
			t.Errorf("%s: %s: %s", name, c.Result, c.Detail)
		}
	}
}

// A state that has the size of the bundle's and another content is a fork; one that a bundle names and does not prove shows no fork.
func TestForksAtASize(t *testing.T) {
	w, states := kept(t)
	other := forked(t)
	earlier, err := readHead(other.note())
	w.must(err)
	for other.chain.Size() < w.chain.Size() {
		other.clock("12:00").access()
	}
	head, err := readHead(w.note())
	w.must(err)
	for name, test := range map[string]struct {
		held []byte
		want error
	}{
		"the bundle's own":       {w.note(), nil},
		"another content":        {other.note(), errFork},
		"another unproven state": {states[1], errNoProof},
	} {
		v := newVerification(nil, VerifyOptions{})
		v.scope, v.head.Checkpoint, v.history = &Scope{Origin: w.origin}, head, []History{{Size: earlier.Size, Root: earlier.Root}}
		if err := v.checkHeld(test.held); !errors.Is(err, test.want) || v.history[1].Proven != (err == nil) {
			t.Errorf("%s: %v, want %v; %+v", name, err, test.want, v.history)
		}
	}
}

// As many states may be named as are read, and no more.
func TestLimitsOfHeldStates(t *testing.T) {
	w, states := kept(t)
	o := ExportOptions{Held: slices.Repeat(states[:1], maxHeld)}
	bundle := w.exportScope(w.scope("08:30", "11:00"), o)
	if v := verify(t, bundle, nil); v.Exit != ExitNoPolicy || len(v.History) != maxHeld {
		t.Errorf("exit %d, %d states", v.Exit, len(v.History))
	}
	more := repack(t, w.export, bundle, editProofs(func(c *consistency) { c.Proofs = append(c.Proofs, c.Proofs[0]) }))
	if v := verify(t, more, nil); v.Exit != ExitFormat {
		t.Errorf("one more: exit %d", v.Exit)
	}
	bad := repack(t, w.export, bundle, editProofs(func(c *consistency) { c.Proofs[0].Checkpoint = "x" }))
	v := verify(t, bad, nil)
	if c := v.Check(CheckHistory); !strings.HasPrefix(c.Detail, "state 1 in the bundle: ") {
		t.Errorf("%s", c.Detail)
	}
}

// signedState is the log's state under another key.
func signedState(t testing.TB, w *world, key *signer.Key) []byte {
	t.Helper()
	c, err := w.chain.Checkpoint(w.origin)
	w.must(err)
	s, err := signer.NoteSigner(key, w.origin)
	w.must(err)
	note, err := signer.SignCheckpoint(c, s)
	w.must(err)
	return note
}

// signedEachTime are the files that are not the same when an export is made again.
var signedEachTime = []string{fileManifest, fileStatement, fileCustody, fileReport}

// The same export at the same size gives the same files, whenever it is made and by whatever tool.
func TestSameFilesAtASize(t *testing.T) {
	for name, scope := range map[string]func(w *world) Scope{
		"tenant":   func(w *world) Scope { return w.scope("08:30", "09:30") },
		"instance": func(w *world) Scope { return w.part("support-1", "") },
		"run":      func(w *world) Scope { return w.part("support-1", "ticket-1") },
	} {
		t.Run(name, func(t *testing.T) {
			w := shared(t)
			note, held := w.note(), [][]byte{w.note()}
			w.access()
			first := unpack(t, w.exportAt(note, scope(w), ExportOptions{Held: held, Tool: Tool{Name: "custody 1"}}))
			w.clock("13:00").agent("later-1").send(20)
			w.erase("later")
			s := scope(w)
			s.ExportedAt = at("14:00")
			second := unpack(t, w.exportAt(note, s, ExportOptions{Held: held, Tool: Tool{Name: "custody 2"}}))
			for _, file := range slices.Sorted(maps.Keys(first)) {
				if same := bytes.Equal(first[file], second[file]); same == slices.Contains(signedEachTime, file) {
					t.Errorf("%s: same %v", file, same)
				}
			}
		})
	}
}

// What was erased after the state that a bundle is of cannot be shown to be erased by it.
func TestErasedAfterTheState(t *testing.T) {
	w, states := kept(t)
	w.erase("customer")
	v := verify(t, w.exportAt(states[2], w.scope("08:30", "09:30"), ExportOptions{}), w.policy())
	want{ExitVerified, Complete, 5}.check(t, v)
	if diff := cmp.Diff([]Reason{{reasonErasedLater, 5, 0}}, v.Redactions); diff != "" {
		t.Error(diff)
	}
}

func TestReadCheckpoint(t *testing.T) {
	w, states := kept(t)
	bundle := w.bundle("08:30", "11:00")
	for name, test := range map[string]struct{ file, want []byte }{
		"a checkpoint": {states[1], states[1]},
		"a bundle":     {bundle, w.note()},
		"neither":      {[]byte("neither"), nil},
		"nothing":      {nil, nil},
		"a cut bundle": {bundle[:1000], nil},
		"too large":    {make([]byte, maxSmallFile+1), nil},
	} {
		note, err := ReadCheckpoint(bytes.NewReader(test.file), int64(len(test.file)))
		if (err == nil) != (test.want != nil) || err == nil && !bytes.Equal(note, test.want) {
			t.Errorf("%s: %q, %v", name, note, err)
		}
	}
}

// A file that cannot be read holds no state, and a large one is not read.
func TestReadCheckpointOfABrokenFile(t *testing.T) {
	w, states := kept(t)
	c, err := w.chain.Checkpoint(w.origin)
	w.must(err)
	text, err := c.MarshalText()
	w.must(err)
	largest := slices.Concat(text, []byte("\n"), make([]byte, maxSmallFile))[:maxSmallFile]
	for name, test := range map[string]struct {
		file []byte
		at   int // the read that fails
		want error
	}{
		"its beginning":   {states[1], 1, errBroken},
		"the rest":        {states[1], 2, errBroken},
		"a large one":     {make([]byte, maxSmallFile+1), 2, signer.ErrNote},
		"the largest one": {largest, 0, nil},
	} {
		if _, err := ReadCheckpoint(brokenFile{bytes.NewReader(test.file), &breaks{at: test.at}}, int64(len(test.file))); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// The grace period takes in what arrived late, and counts it.
func TestGrace(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	early, later := a.call("customer", "x"), a.call("customer", "y")
	a.send(1)
	w.clock("09:50")
	a.say(early, later)
	w.clock("10:20")
	after := a.call("customer", "z")
	w.clock("10:40")
	a.say(after)
	w.clock("12:00").access()
	s := w.scope("08:30", "09:30")
	s.Grace = 3600
	v := verify(t, w.exportScope(s, ExportOptions{}), w.policy())
	want{ExitVerified, Complete, 3}.check(t, v)
	if diff := cmp.Diff(&Arrivals{Late: 2}, v.Arrivals); diff != "" {
		t.Error(diff)
	}
	s.Grace = 7200
	v = verify(t, w.exportScope(s, ExportOptions{}), w.policy())
	want{ExitOpenTail, OpenTail, 4}.check(t, v)
	if diff := cmp.Diff(&Arrivals{Late: 2, Later: 1}, v.Arrivals); diff != "" {
		t.Error(diff)
	}
	runAttacks(t, map[string]attack{
		"grace cut short": {CheckBoundaries, ExitBoundary, func(t *testing.T) ([]byte, *Policy) {
			return repack(t, w.export, w.exportScope(s, ExportOptions{}), replace(fileScope, "7200", "3600")), w.policy()
		}},
		"grace taken away": {CheckBoundaries, ExitBoundary, func(t *testing.T) ([]byte, *Policy) {
			return repack(t, w.export, w.exportScope(s, ExportOptions{}), replace(fileScope, "  \"grace\": 7200,\n", "")), w.policy()
		}},
	})
}

// Only what was asked for is disclosed, and a redaction outranks it.
func TestDiscloseOnly(t *testing.T) {
	w := exported(t)
	o := ExportOptions{Disclose: Disclose{Only: map[string]bool{"result": true}}}
	v := verify(t, w.exportScope(w.scope("08:30", "10:30"), o), w.policy())
	if v.Records.FieldsDisclosed != 1 || v.Records.FieldsWithheld != 6 || v.Redactions[0].Reason != reasonNotAsked {
		t.Errorf("%+v %+v", v.Records, v.Redactions)
	}
	o.Disclose.Withhold = map[string]string{"result": "privilege"}
	v = verify(t, w.exportScope(w.scope("08:30", "10:30"), o), w.policy())
	if v.Records.FieldsDisclosed != 0 || len(v.Redactions) != 2 {
		t.Errorf("%+v %+v", v.Records, v.Redactions)
	}
}

func FuzzReadCheckpoint(f *testing.F) {
	w, states := kept(f)
	f.Add(states[1])
	f.Add(w.bundle("08:30", "11:00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		note, err := ReadCheckpoint(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if _, err := readHead(note); err != nil && !bytes.HasPrefix(file, []byte("PK")) {
			t.Errorf("%q is no state: %v", note, err)
		}
	})
}
