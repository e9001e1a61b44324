package evidence

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

const stranger = "tenant-0123456789abcdef"

// house is a log with records of everything that tenants can share: leaves 5 to 10 are the agent's.
func house(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	bound := a.envelope()
	bound.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action:     eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_BOUND,
		Credential: &eventv1.Credential{Fingerprint: bytes.Repeat([]byte{0xab}, 8), Connector: "gmail", Scopes: []string{"send"}},
	}}
	memory := a.envelope()
	memory.Trust = eventv1.Trust_TRUST_TRUSTED
	memory.Body = &eventv1.Event_Data{Data: &eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN, MemoryKey: "notes", ContentDigest: bytes.Repeat([]byte{0xcd}, 32),
	}}
	caused := a.execute(started, "call-1", "send_email", causedBy(a.envelope().Id, eventv1.Relation_RELATION_INPUT))
	a.say(bound, memory, caused, a.closing())
	c := w.custody
	c.say(c.systemEvent(&eventv1.System{Actor: "dana", Reason: "one mailbox for all", Detail: &eventv1.System_Review{Review: &eventv1.Review{
		Topic: "sharing", Subject: "connector/gmail", Outcome: "approved", NextAt: int64(at("23:00")),
	}}}))
	w.clock("11:00").access()
	return w
}

// connections is what the records of house are connected by.
func connections(t testing.TB, w *world) []Connection {
	t.Helper()
	first := uint64(4)
	connection := func(kind, value string, from, to, n uint64) Connection {
		return Connection{Kind: kind, Value: value, With: stranger, Records: n, First: first + from, Last: first + to}
	}
	list := []Connection{
		connection("memory", "notes", 1, 1, 1),
		connection("credential", strings.Repeat("ab", 8), 0, 0, 1),
		connection("connector", "gmail", 0, 2, 2),
		connection("artefact", strings.Repeat("cd", 32), 1, 1, 1),
		connection("cause", w.idAt(6), 2, 2, 1),
	}
	list[2].Review = &Review{Record: 8, At: at("09:00"), Reviewer: "dana", Outcome: "approved", Until: at("23:00"), Reason: "one mailbox for all"}
	return list
}

// idAt is the id of the event of a leaf.
func (w *world) idAt(index chain.Index) string {
	var id string
	_, err := Verify(w.t.Context(), bytes.NewReader(w.bundle("00:00", "23:00")), int64(len(w.bundle("00:00", "23:00"))), nil, VerifyOptions{
		watch: func(i chain.Index, e *eventv1.Event) {
			if i == index {
				h := hex.EncodeToString(e.GetId())
				id = h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
			}
		},
	})
	w.must(err)
	return id
}

// statement is what the tenant's auditor gets.
func (w *world) statement(r Reader, from, to string, list ...Connection) []byte {
	w.t.Helper()
	file, err := StateIsolation(w.t.Context(), r, w.scope(from, to), w.export, func(chain.Index, chain.Index) ([]Connection, uint64, error) {
		return list, 0, nil
	})
	w.must(err)
	return file
}

func (w *world) isolation(t *testing.T, file, bundle []byte) IsolationVerdict {
	t.Helper()
	var beside *Beside
	if bundle != nil {
		beside = &Beside{bytes.NewReader(bundle), int64(len(bundle))}
	}
	v, err := VerifyIsolation(t.Context(), file, w.policy(), beside, VerifyOptions{})
	w.must(err)
	return v
}

func (v *IsolationVerdict) check(name string) Check {
	for _, c := range v.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{}
}

func TestIsolation(t *testing.T) {
	w := house(t)
	bundle := w.bundle("08:30", "10:30")
	for name, test := range map[string]struct {
		list   []Connection
		bundle []byte
		first  string
	}{
		"nothing":                 {nil, nil, "No recorded sharing: no record of acme "},
		"nothing, with a bundle":  {nil, bundle, "No recorded sharing: no record of acme "},
		"connections":             {connections(t, w), nil, "5 recorded connections of acme "},
		"connections with bundle": {connections(t, w), bundle, "5 recorded connections of acme "},
	} {
		t.Run(name, func(t *testing.T) {
			file := w.statement(w, "08:30", "10:30", test.list...)
			v := w.isolation(t, file, test.bundle)
			if v.Exit != ExitVerified || v.Authenticity != Authentic || !strings.HasPrefix(string(file), test.first) || !strings.HasPrefix(v.Text(), test.first) {
				t.Errorf("exit %d\n%s\n%s", v.Exit, file, v.Text())
			}
			if words := jargon.FindAllString(v.Text(), -1); words != nil {
				t.Errorf("a lawyer must read %q", words)
			}
			golden(t, filepath.Join("testdata", "isolation", strings.ReplaceAll(name, " ", "-")+".txt"), v.Text())
			recordStatement(t, file, test.bundle, w.policy(), v)
		})
	}
}

// Where the statement lies that every later version must still verify, with its bundle and policy.
const (
	goldenStatement = "testdata/isolation/house.isolation"
	goldenHouse     = "testdata/isolation/house.evb"
	goldenHousehold = "testdata/isolation/policy.json"
)

func TestOldStatementsStillVerify(t *testing.T) {
	if *update {
		w := house(t)
		policy, err := w.policy().Marshal()
		w.must(err)
		w.must(os.WriteFile(goldenStatement, w.statement(w, "08:30", "10:30", connections(t, w)...), 0o644))
		w.must(os.WriteFile(goldenHouse, w.bundle("08:30", "10:30"), 0o644))
		w.must(os.WriteFile(goldenHousehold, policy, 0o644))
	}
	statement, err1 := os.ReadFile(goldenStatement)
	bundle, err2 := os.ReadFile(goldenHouse)
	file, err3 := os.ReadFile(goldenHousehold)
	policy, err4 := ParsePolicy(file)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	v, err := VerifyIsolation(t.Context(), statement, policy, &Beside{bytes.NewReader(bundle), int64(len(bundle))}, VerifyOptions{})
	if err != nil || v.Exit != ExitVerified || !IsIsolation(statement) || IsIsolation(bundle) {
		t.Errorf("%v\n%s", err, v.Text())
	}
}

// statementDir is where vectors of statements are: NAME.isolation, and NAME.json with what must be found in it.
const statementDir = "testdata/isolation/vectors"

// statementVector is what a verifier must find in a statement. The bundle beside it, if any, is in the folder above.
type statementVector struct {
	Of      string          `json:"of"`
	Policy  json.RawMessage `json:"policy"`
	Bundle  string          `json:"bundle"`
	Verdict struct {
		Exit         int               `json:"exit"`
		Authenticity string            `json:"authenticity"`
		Checks       map[string]Result `json:"checks"`
	} `json:"verdict"`
}

// recordStatement keeps a statement as a vector (-update), or holds the one that is kept to the test that made it. One with another
// bundle beside it than that of the period is not kept.
func recordStatement(t *testing.T, file, bundle []byte, policy *Policy, v IsolationVerdict) {
	t.Helper()
	want := statementVector{Of: t.Name(), Policy: json.RawMessage("null")}
	if bundle != nil {
		house, err := os.ReadFile(goldenHouse)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bundle, house) {
			return
		}
		want.Bundle = filepath.Base(goldenHouse)
	}
	if policy != nil {
		p, err := policy.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		want.Policy = p
	}
	want.Verdict.Exit, want.Verdict.Authenticity, want.Verdict.Checks = v.Exit, v.Authenticity, map[string]Result{}
	for _, c := range v.Checks {
		want.Verdict.Checks[c.Name] = c.Result
	}
	text, err := marshalJSON(want)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(statementDir, vectorName(t))
	golden(t, name+".json", string(text))
	golden(t, name+".isolation", string(file))
}

// Every window of every log is proven at its ends.
func TestIsolationWindows(t *testing.T) {
	w := morning(t)
	for _, window := range [][2]string{{"00:00", "23:00"}, {"08:30", "09:30"}, {"00:00", "01:00"}, {"09:30", "09:45"}, {"22:00", "23:00"}, {"09:00", "09:00"}, {"00:00", "08:30"}} {
		v := w.isolation(t, w.statement(w, window[0], window[1]), nil)
		want := ExitVerified
		if window[1] == "23:00" { // past the last record
			want = ExitOpenTail
		}
		if v.Exit != want {
			t.Errorf("%s: exit %d\n%s", window, v.Exit, v.Text())
		}
	}
}

func TestIsolationWithoutPolicy(t *testing.T) {
	w := house(t)
	v, err := VerifyIsolation(t.Context(), w.statement(w, "08:30", "10:30"), nil, nil, VerifyOptions{})
	w.must(err)
	if v.Exit != ExitNoPolicy || v.Authenticity != NoClaim {
		t.Errorf("exit %d\n%s", v.Exit, v.Text())
	}
	recordStatement(t, w.statement(w, "08:30", "10:30"), nil, nil, v)
}

// resigned changes a statement as somebody with the export key would.
func (w *world) resigned(key signer.Exporter, file []byte, edit func(*Isolation)) []byte {
	i, _, err := parseIsolation(file)
	w.must(err)
	edit(i)
	payload, err := json.Marshal(i)
	w.must(err)
	out, err := sealIsolation(key, i.Says, payload)
	w.must(err)
	return out
}

func TestDishonestIsolation(t *testing.T) {
	type forged struct{ file, bundle []byte }
	honest := func(w *world) []byte { return w.statement(w, "08:30", "10:30", connections(t, w)...) }
	signed := func(edit func(*Isolation)) func(w *world) forged {
		return func(w *world) forged {
			return forged{w.resigned(w.export, honest(w), edit), w.bundle("08:30", "10:30")}
		}
	}
	for name, test := range map[string]struct {
		check string
		exit  int
		make  func(w *world) forged
	}{
		"first line edited": {CheckFormat, ExitFormat, func(w *world) forged {
			return forged{file: bytes.Replace(honest(w), []byte("5 recorded connections"), []byte("0 recorded connections"), 1)}
		}},
		"a connection dropped, not signed again": {CheckEnvelope, ExitEnvelope, func(w *world) forged {
			return forged{file: w.resigned(w.key(), honest(w), func(i *Isolation) { i.Connections = i.Connections[1:]; i.Says = i.sentence() })}
		}},
		"a connection dropped, sentence kept": {CheckFormat, ExitFormat, signed(func(i *Isolation) { i.Connections = i.Connections[1:] })},
		"connections out of order":            {CheckFormat, ExitFormat, signed(func(i *Isolation) { c := i.Connections; c[0], c[1] = c[1], c[0] })},
		"another tenant by its name":          {CheckFormat, ExitFormat, signed(func(i *Isolation) { i.Connections[0].With = "umbrella" })},
		"a review after the period":           {CheckFormat, ExitFormat, signed(func(i *Isolation) { i.Connections[1].Review.At = at("11:30") })},
		"cut":                                 {CheckFormat, ExitFormat, func(w *world) forged { return forged{file: honest(w)[:200]} }},
		"another tenant's statement": {CheckPolicy, ExitPolicy, func(w *world) forged {
			other := newWorld(w.t, "umbrella")
			other.clock("11:00").access()
			return forged{file: other.statement(other, "08:30", "10:30")}
		}},
		"another state of the log": {CheckCheckpoint, ExitCheckpoint, signed(func(i *Isolation) { i.Checkpoint = strings.Replace(i.Checkpoint, "\n10\n", "\n11\n", 1) })},
		"checkpoint by a stranger": {CheckCheckpoint, ExitCheckpoint, func(w *world) forged {
			file := honest(w)
			w.log = w.key()
			note, err := w.Checkpoint(t.Context())
			w.must(err)
			return forged{file: w.resigned(w.export, file, func(i *Isolation) { i.Checkpoint = string(note) })}
		}},
		"a record at the end replaced": {CheckRange, ExitChain, signed(func(i *Isolation) { i.Bounds[0].Leaf[100] ^= 1 })},
		"a proof edited":               {CheckRange, ExitChain, signed(func(i *Isolation) { i.Bounds[1].Path[0][0] ^= 1 })},
		"period narrowed": {CheckBoundaries, ExitBoundary, func(w *world) forged {
			return forged{file: w.statement(cut{w, 5, 8}, "08:30", "10:30")}
		}},
		"a connection that no record has": {CheckConnections, ExitReport, signed(func(i *Isolation) { i.Connections[0].Value = "ee" + i.Connections[0].Value })},
		"more records than there are":     {CheckConnections, ExitReport, signed(func(i *Isolation) { i.Connections[1].Records++ })},
		"bundle of another period":        {CheckBundle, ExitReport, func(w *world) forged { return forged{honest(w), w.bundle("00:00", "10:30")} }},
		"bundle that was changed":         {CheckBundle, ExitReport, func(w *world) forged { return forged{honest(w), list(t, w.bundle("08:30", "10:30"), fileEvents)} }},
	} {
		t.Run(name, func(t *testing.T) {
			w := house(t)
			policy := w.policy()
			f := test.make(w)
			var beside *Beside
			if f.bundle != nil {
				beside = &Beside{bytes.NewReader(f.bundle), int64(len(f.bundle))}
			}
			v, err := VerifyIsolation(t.Context(), f.file, policy, beside, VerifyOptions{})
			w.must(err)
			if v.check(test.check).Result != Failed || v.Exit != test.exit || v.Authenticity == Authentic {
				t.Errorf("exit %d, want %d\n%s", v.Exit, test.exit, v.Text())
			}
			if strings.Contains(strings.SplitN(v.Text(), "\n", 2)[0], "ecorded") {
				t.Errorf("the first line repeats what does not verify:\n%s", v.Text())
			}
			recordStatement(t, f.file, f.bundle, policy, v)
		})
	}
}

// Labels say nothing: they are of one length, differ for each tenant and each statement, and hold no name.
func TestLabels(t *testing.T) {
	a, b := Labels(), Labels()
	if again := a("umbrella"); again != a("umbrella") || again == a("initech") || a("umbrella") == b("umbrella") || !labelForm.MatchString(a("umbrella")) {
		t.Errorf("%s %s %s", a("umbrella"), a("initech"), b("umbrella"))
	}
}

func FuzzParseIsolation(f *testing.F) {
	w := house(f)
	f.Add(w.statement(w, "08:30", "10:30", connections(f, w)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, _, err := parseIsolation(b); err == nil && i.Says != i.sentence() {
			t.Fatal("the first line is not that of the list")
		}
	})
}

// Who keeps a second log, without what is shared, is found out: by the witnesses of the policy, and by a bundle of the first.
func TestIsolationOfAnotherHistory(t *testing.T) {
	other := func(t *testing.T) *world {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		a.send(3).say(a.closing())
		w.access()
		w.clock("11:00").access()
		return w
	}
	t.Run("beside a bundle of the first", func(t *testing.T) {
		w := house(t)
		file, bundle := other(t).statement(other(t), "08:30", "10:30"), w.bundle("08:30", "10:30")
		v := w.isolation(t, file, bundle)
		if v.check(CheckBundle).Result != Failed || v.check(CheckRange).Result != Passed || v.Exit != ExitReport {
			t.Errorf("exit %d\n%s", v.Exit, v.Text())
		}
		recordStatement(t, file, bundle, w.policy(), v)
	})
	for name, confirmed := range map[string]bool{"with its witnesses": true, "without its witnesses": false} {
		t.Run(name, func(t *testing.T) {
			w := house(t).withWitnesses(2, 3)
			if confirmed {
				w.confirm(0, 2)
			}
			file := w.statement(w, "08:30", "10:30")
			v := w.isolation(t, file, nil)
			want := map[bool]int{true: ExitVerified, false: ExitWitnesses}[confirmed]
			if v.Exit != want || (v.check(CheckWitnesses).Result == Passed) != confirmed {
				t.Errorf("exit %d\n%s", v.Exit, v.Text())
			}
			recordStatement(t, file, nil, w.policy(), v)
		})
	}
}

// A statement about a period that goes on after the log that was searched does not say that the period was.
func TestIsolationToTheEndOfTheLog(t *testing.T) {
	w := house(t)
	file := w.statement(w, "08:30", "23:00", connections(t, w)...)
	v := w.isolation(t, file, nil)
	if v.Exit != ExitOpenTail || v.Authenticity != Authentic || !strings.Contains(v.Text(), "the log that was searched ends there") {
		t.Errorf("exit %d\n%s", v.Exit, v.Text())
	}
	recordStatement(t, file, nil, w.policy(), v)
}
