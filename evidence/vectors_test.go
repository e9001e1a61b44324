package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
)

// vectorDir holds bundles, good and attacked, for other verifiers: NAME.evb with NAME.json, which says what a verifier must find.
// The attacks are those of the tests here; go test ./evidence -update writes all of them anew.
const vectorDir = "testdata/vectors"

// vector is NAME.json.
type vector struct {
	Of      string          `json:"of"`     // the test that made it
	Policy  json.RawMessage `json:"policy"` // null: to be verified without one
	Fails   []string        `json:"fails"`  // checks that must fail, whatever else does
	Verdict json.RawMessage `json:"verdict"`
}

// text is the file, one field a line.
func (v *vector) text(t testing.TB) []byte {
	t.Helper()
	b := []byte("{")
	for i, field := range []struct {
		name  string
		value any
	}{{"of", v.Of}, {"policy", v.Policy}, {"fails", v.Fails}, {"verdict", v.Verdict}} {
		value, err := json.Marshal(field.value)
		if err != nil {
			t.Fatal(err)
		}
		b = fmt.Appendf(b, "%s\n  %q: %s", strings.Repeat(",", min(i, 1)), field.name, value)
	}
	return append(b, "\n}\n"...)
}

// expectation is a verdict without what is for people only.
func expectation(t testing.TB, v Verdict) json.RawMessage {
	t.Helper()
	v.Checks = append([]Check(nil), v.Checks...)
	for i := range v.Checks {
		v.Checks[i] = Check{Name: v.Checks[i].Name, Result: v.Checks[i].Result}
	}
	b, err := v.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b, []byte(",\n      \"examined\": 0,\n      \"failures\": 0"), nil)
}

// recordReceipts is recordVector with the receipts that were held to the bundle, in NAME.receipts.
func recordReceipts(t testing.TB, bundle []byte, policy *Policy, v Verdict, kept []signer.KeptReceipt) {
	t.Helper()
	name, file := filepath.Join(vectorDir, vectorName(t)+".receipts"), receiptFile(t, kept)
	if *update {
		if err := errors.Join(os.MkdirAll(vectorDir, 0o755), os.WriteFile(name, file, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, file) {
		t.Errorf("%s is not what this test makes (-update writes it anew): %v", name, err)
	}
	recordVector(t, bundle, policy, v)
}

// receiptsBeside are those of a vector, none if it has none.
func receiptsBeside(t testing.TB, name string) []signer.KeptReceipt {
	t.Helper()
	file, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept, readErr := ReadReceipts(bytes.NewReader(file))
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	return kept
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

func vectorName(t testing.TB) string {
	return strings.Trim(notInNames.ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-"), "-")
}

// recordVector keeps a bundle and its verdict (-update), or holds the ones that are kept to the test that made them. fails are the
// checks that must fail.
func recordVector(t testing.TB, bundle []byte, policy *Policy, v Verdict, fails ...string) {
	t.Helper()
	name := filepath.Join(vectorDir, vectorName(t))
	want := vector{Of: t.Name(), Policy: json.RawMessage("null"), Fails: append([]string{}, fails...), Verdict: expectation(t, v)}
	if policy != nil {
		p, err := policy.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		want.Policy = p
	}
	text := want.text(t)
	if *update {
		err := errors.Join(os.MkdirAll(vectorDir, 0o755), os.WriteFile(name+".evb", bundle, 0o644), os.WriteFile(name+".json", text, 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	kept, err1 := os.ReadFile(name + ".evb")
	keptText, err2 := os.ReadFile(name + ".json")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, bundle) {
		t.Errorf("%s.evb is not what this test makes (-update writes it anew)", name)
	}
	if diff := cmp.Diff(string(keptText), string(text)); diff != "" {
		t.Errorf("%s.json (-want +got):\n%s", name, diff)
	}
	holdChecks(t, v)
}

// honest are bundles that verify, or say why they cannot say more.
var honest = map[string]func(t *testing.T) ([]byte, *Policy){
	"complete": func(t *testing.T) ([]byte, *Policy) {
		w := exported(t)
		return w.bundle("08:30", "10:30"), w.policy()
	},
	"without a policy": func(t *testing.T) ([]byte, *Policy) {
		return exported(t).bundle("08:30", "10:30"), nil
	},
	"an instance":           partial("support-1", ""),
	"an open instance":      partial("billing-1", ""),
	"a run":                 runWith(func(a *sender, x []*eventv1.Event) { a.batch(x) }),
	"a run beside others":   partial("support-1", "ticket-1"),
	"a run without a start": beginningHidden,
	"a run of nobody":       partial("support-1", "ticket-3"),
	"a run with its tail":   tailHidden,
	"a run with a gap":      runWith(func(a *sender, x []*eventv1.Event) { a.batch(x[:1]).batch(x[1:3], lost).batch(x[3:]) }),
	"a run that is held":    runWith(func(a *sender, x []*eventv1.Event) { a.batch(x, held(1)) }),
	"late arrivals and earlier states": func(t *testing.T) ([]byte, *Policy) {
		w, states := kept(t)
		s := w.scope("08:30", "09:30")
		s.Grace = 3600
		return w.exportScope(s, ExportOptions{Held: states}), w.policy()
	},
	"an older state": func(t *testing.T) ([]byte, *Policy) {
		w, states := kept(t)
		return w.exportAt(states[1], w.scope("08:30", "09:30"), ExportOptions{Held: states}), w.policy()
	},
	"witnessed": func(t *testing.T) ([]byte, *Policy) {
		w := hourly(t)
		w.stamps = true
		return w.bundle("08:10", "10:30"), w.policy()
	},
	"an authority of one's own": func(t *testing.T) ([]byte, *Policy) {
		w := exported(t).withAuthority("Custody time stamps (not qualified)")
		w.authority.policy = timestamp.NotQualified
		return w.confirm().bundle("08:30", "10:30"), w.policy()
	},
	"an authority that is not revoked": func(t *testing.T) ([]byte, *Policy) {
		w := exported(t).withAuthority("Clock of Example")
		return w.listed(-9, 0).listed(1, 5).confirm().bundle("08:30", "10:30"), w.policy()
	},
	"an authority with an old list": func(t *testing.T) ([]byte, *Policy) {
		w := exported(t).withAuthority("Clock of Example")
		return w.listed(-9, 0).confirm().bundle("08:30", "10:30"), w.policy()
	},
	"from the beginning": between("00:00", "09:30"),
	"to the end":         between("09:30", "23:00"),
	"everything":         between("00:00", "23:00"),
	"nothing":            between("09:30", "09:45"),
	"before the log":     between("01:00", "02:00"),
	"after the log":      between("22:00", "23:00"),
	"eventful day":       busy("08:30", "10:30"),
	"eventful all":       busy("00:00", "23:00"),
	"eventful end":       busy("10:30", "23:00"),
	"withheld": func(t *testing.T) ([]byte, *Policy) {
		w := eventful(t)
		return w.bundle("08:30", "10:30", ExportOptions{Disclose: Disclose{Withhold: map[string]string{"arguments": "privilege <&> ‘é’"}}}), w.policy()
	},
	"erased after a hold": made(func(w *world, a *sender) {
		w.hold("subject/customer", false)
		a.send(1).say(a.closing())
		w.hold("subject/customer", true)
		w.clock("10:10").hold("tenant", false)
		w.clock("10:20").hold("tenant", true)
		w.clock("10:30").erase("customer")
	}),
	"expired": func(t *testing.T) ([]byte, *Policy) {
		w := expiring(t, func(w *world) { w.hold("tenant", false); w.hold("tenant", true); w.expire(at("09:15")) })
		return w.bundle("08:30", "10:00"), w.policy()
	},
	"expired of a run": func(t *testing.T) ([]byte, *Policy) {
		w := expiring(t, func(w *world) { w.expire(at("09:15")); w.hold("tenant", false) })
		return w.exportScope(w.part("support-1", "run-1"), ExportOptions{}), w.policy()
	},
	"no longer kept and withheld": func(t *testing.T) ([]byte, *Policy) {
		w := expiring(t, func(w *world) { w.drop(at("09:15")) })
		return w.bundle("08:30", "10:00"), w.policy()
	},
	"approved for other arguments": made(func(_ *world, a *sender) {
		a.say(a.arguing(proposed, 1), a.consents(approved, "call-1", "mail"), a.arguing(started, 2), a.closing())
	}),
	"gap": made(func(_ *world, a *sender) { a.send(3, lost).send(2) }),
	"gap after the head": made(func(w *world, a *sender) {
		a.send(2, lost)
		w.clock("09:10")
		a.send(1).say(a.closing())
	}),
	"end of an epoch missing": made(func(_ *world, a *sender) { a.send(2, lost).newEpoch().send(1) }),
	"epoch missing":           made(func(_ *world, a *sender) { a.newEpoch().send(1, lost).newEpoch().send(2) }),
	"begins late":             made(func(w *world, _ *sender) { w.agent("billing-1").send(4, lost).send(1) }),
	"begins in a later epoch": made(func(w *world, _ *sender) { w.agent("billing-1").send(4, lost).newEpoch().send(1, lost).send(1) }),
	"late fills a part": made(func(_ *world, a *sender) {
		a.send(1, lost)
		fill := a.late(2)
		a.send(1, lost).send(1)
		fill()
	}),
	"suspected": made(func(w *world, a *sender) {
		a.send(2)
		w.revoke(a, uint64(w.chain.Size()-1))
	}),
	"late from another epoch": made(func(_ *world, a *sender) {
		fill := a.late(2)
		a.newEpoch().send(1)
		fill()
	}),
	"only a second story": made(func(w *world, _ *sender) {
		b := w.agent("billing-1")
		b.send(2)
		w.clock("09:50")
		b.again()
	}),
	"held after a gap": made(func(_ *world, a *sender) { a.send(1, lost).send(2, held(0)) }),
	"held by a revoked key": made(func(w *world, a *sender) {
		w.revoke(a, 0)
		a.send(2, held(1))
	}),
	"held and late": made(func(_ *world, a *sender) {
		var kept *draft
		a.send(2, lost, held(1), func(d *draft) { kept = d })
		a.send(1)
		a.batch(kept.events, func(d *draft) { *d = *kept; d.lost, d.repeated, d.bytes = false, true, nil })
	}),
	"second story by a revoked key": made(func(w *world, a *sender) {
		w.revoke(a, 0)
		a.again()
	}),
	"late numbers by a revoked key": made(func(w *world, a *sender) {
		fill := a.late(2)
		a.send(1)
		w.revoke(a, 0)
		fill()
	}),
	"gap by a revoked key": made(func(w *world, a *sender) {
		w.revoke(a, 0)
		a.send(2, lost).send(1)
	}),
	"clocks": made(func(w *world, a *sender) {
		e := a.call("person-1", "x")
		e.OccurredAt += 10 * 60 * 1e9
		a.batch([]*eventv1.Event{e}, stating(func(s *eventv1.BatchStatement) { s.CreatedAt -= 70 * 60 * 1e9 }))
	}),
}

func between(from, to string) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := morning(t)
		return w.bundle(from, to), w.policy()
	}
}

func busy(from, to string) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := eventful(t)
		return w.bundle(from, to), w.policy()
	}
}

func made(tell func(*world, *sender)) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		a.send(2)
		tell(w, a)
		w.clock("11:00").access()
		return w.bundle("08:30", "10:00"), w.policy()
	}
}

func TestHonest(t *testing.T) {
	for name, makeIt := range honest {
		t.Run(name, func(t *testing.T) {
			bundle, policy := makeIt(t)
			v := verify(t, bundle, policy)
			if v.Exit >= ExitContainer {
				t.Errorf("exit %d\n%s", v.Exit, details(v))
			}
			recordVector(t, bundle, policy, v)
		})
	}
}

// The vectors as somebody else reads them: every file of the folder, and nothing but the files.
func TestVectorsVerify(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors:", err)
	}
	for _, file := range files {
		var want vector
		text, err1 := os.ReadFile(file)
		bundle, err2 := os.ReadFile(strings.TrimSuffix(file, ".json") + ".evb")
		if err := errors.Join(err1, err2, json.Unmarshal(text, &want)); err != nil {
			t.Fatal(err)
		}
		var policy *Policy
		if string(want.Policy) != "null" {
			if policy, err = ParsePolicy(want.Policy); err != nil {
				t.Fatal(err)
			}
		}
		found := verifyReceipts(t, bundle, policy, receiptsBeside(t, strings.TrimSuffix(file, ".json")+".receipts"))
		var got, expected bytes.Buffer
		if err := errors.Join(json.Compact(&got, expectation(t, found)), json.Compact(&expected, want.Verdict)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expected.String(), got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}
