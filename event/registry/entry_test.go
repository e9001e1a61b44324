package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// anyChange draws an event over few names, so that many apply and many do not.
func anyChange(t *rapid.T, next uint64) *eventv1.System {
	pick := func(names ...string) string { return rapid.SampledFrom(names).Draw(t, "name") }
	number := func(most uint32) uint32 { return rapid.Uint32Range(1, most).Draw(t, "number") }
	instance := pick("a", "b")
	switch rapid.IntRange(0, 10).Draw(t, "change") {
	case 0:
		return create(instance)
	case 1:
		return change(&eventv1.InstanceChange{Instance: instance, Labels: &eventv1.Labels{OnCall: pick("x", "\u2028<é>")}})
	case 2:
		return manifest(instance, number(4))
	case 3:
		return key(enrol(instance, pick("k1", "k2", "k3"), eventv1.ProducerClass(number(3))))
	case 4:
		return key(rotate(instance, pick("k1", "k2"), pick("k3", "k4", "k5")))
	case 5:
		return key(revoke(pick("k1", "k2", "k3"), rapid.Uint64Range(0, next).Draw(t, "suspect")))
	case 6:
		return key(suspect(pick("k1", "k2", "k3"), rapid.Uint64Range(0, next).Draw(t, "suspect")))
	case 7:
		x := grant(pick("bob", "al/ice", `"\`), eventv1.Role(number(3)), hash(pick("c1", "c2", "c3")))
		x.Revoked, x.AllTenants = rapid.Bool().Draw(t, "revoked"), rapid.Bool().Draw(t, "all")
		return granted(x)
	case 9:
		return exports(pick("k1", "k2", "k3"), pick("log", "k1", "k2"))
	case 8:
		return rule(pick("r1", "r2/x"), number(3), pick("shadow", "live", "off"))
	}
	if rapid.Bool().Draw(t, "hold") {
		return hold(pick("h1", "h2"), pick("tenant", "subject/s"), rapid.Bool().Draw(t, "lifted"))
	}
	return erase(pick("s1", "s2"), number(3))
}

// TestAnySnapshotComesToTheSameState folds one sequence three ways: straight, through clones, and through entries taken and
// loaded at random places.
func TestAnySnapshotComesToTheSameState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := opened(t)
		stored := map[string][]byte{}
		keep(stored, l.state.TakeDirty())
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			x := anyChange(rt, l.next)
			copied := &log{t: t, state: l.state.Clone(), next: l.next}
			before := l.state.Hash()
			err := l.apply(x)
			if cerr := copied.apply(x); (err == nil) != (cerr == nil) || copied.state.Hash() != l.state.Hash() {
				rt.Fatalf("a clone differs: %v, %v", err, cerr)
			}
			if err != nil && l.state.Hash() != before {
				rt.Fatalf("refused, but changed: %v", err)
			}
			if rapid.IntRange(0, 4).Draw(rt, "snapshot") == 0 {
				keep(stored, l.state.TakeDirty())
				l.state = loaded(rt, stored, l.state)
			}
		}
	})
}

// keep does what a store does with changed entries.
func keep(stored map[string][]byte, dirty []registry.Entry) {
	for _, e := range dirty {
		stored[e.Key] = e.Value
	}
}

// loaded is the state from what was stored; it must be the one that was.
func loaded(t *rapid.T, stored map[string][]byte, was *registry.State) *registry.State {
	s := registry.New()
	for k, v := range stored {
		if err := s.Load([]registry.Entry{{Key: k, Value: v}}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(texts(was.Entries()), texts(s.Entries())); diff != "" || s.Hash() != was.Hash() {
		t.Fatalf("loaded state (-was +is):\n%s", diff)
	}
	if len(s.TakeDirty()) != 0 {
		t.Fatal("a loaded state is dirty")
	}
	return s
}

func texts(entries []registry.Entry) (list []string) {
	for _, e := range entries {
		list = append(list, e.Key+" "+string(e.Value))
	}
	return list
}

func full(t testing.TB) *log {
	l := opened(t)
	for _, x := range []*eventv1.System{
		create("a"), manifest("a", 1), key(enrol("a", "k1", agent)), key(rotate("a", "k1", "k2")), key(revoke("k2", 3)),
		granted(grant("bob", 2, hash("c"))), rule("r", 1, "live"), erase("s", 1), hold("h", "tenant", false),
		exports("x1", "log"), exports("x2", "x1"),
	} {
		l.must(x)
	}
	return l
}

func TestTakeDirtyIsSortedAndOnce(t *testing.T) {
	l := full(t)
	dirty := l.state.TakeDirty()
	if diff := cmp.Diff(texts(l.state.Entries()), texts(dirty)); diff != "" {
		t.Errorf("everything is dirty (-all +dirty):\n%s", diff)
	}
	if !slices.IsSortedFunc(dirty, func(a, b registry.Entry) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) }) {
		t.Error("not sorted")
	}
	if len(l.state.TakeDirty()) != 0 {
		t.Error("dirty twice")
	}
	l.must(hold("h", "tenant", true))
	if diff := cmp.Diff([]registry.Entry{{Key: "hold/h"}}, l.state.TakeDirty()); diff != "" {
		t.Errorf("a lifted hold (-want +got):\n%s", diff)
	}
}

// TestEntries pins the form in which the state is stored.
func TestEntries(t *testing.T) {
	k1, k2 := registry.Hash(keyID("k1")).String(), registry.Hash(keyID("k2")).String()
	hex := func(b []byte) string { return registry.Hash(b).String() }
	want := []string{
		fmt.Sprintf(`erased/s {"generation":1,"since":8,"at":%d}`, event.Example("system.access").GetOccurredAt()),
		`export/` + registry.Hash(keyID("x1")).String() + ` {"public_key":"` + hex(public("x1")) + `","from":11,"to":12}`,
		`export/` + registry.Hash(keyID("x2")).String() + ` {"public_key":"` + hex(public("x2")) + `","from":12}`,
		`genesis {"tenant":"acme","origin":"custody.example/custody/0123456789abcdef","system_key":"` + hex(public("system")) +
			`","log_key":"` + hex(public("log")) + `","system_salt":"` + hex(opened(t).state.Genesis().SystemSalt) + `","display_name":"Acme"}`,
		`grant/bob/auditor {"certificates":["` + hex(hash("c")) + `"],"since":6}`,
		`hold/h {"scope":"tenant","since":9}`,
		`instance/a {"created":1,"salt":"` + hex(hash("a")) + `","labels":{"owner":"team"},"manifest":{"version":1,"since":2,"source_digest":"` +
			hex(hash("a1")) + `","permissions":[{"verb":"read","tool":"\u003ctool\u003e\u0026*","resource":"r","consequence":"moderate","connector":"c"}]}}`,
		`key/` + k1 + ` {"public_key":"` + hex(public("k1")) + `","instance":"a","producer":"agent","from":4,"to":5,"replaced_by":"` + k2 + `"}`,
		`key/` + k2 + ` {"public_key":"` + hex(public("k2")) + `","instance":"a","producer":"agent","from":5,"to":6,"revoked":true,"suspect_from":3}`,
		`rule/r {"version":1,"source_digest":"` + hex(hash("r1")) + `","mode":"live","since":7}`,
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, texts(full(t).state.Entries())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadAcceptsOnlyWhatWasWritten(t *testing.T) {
	for _, e := range full(t).state.Entries() {
		for name, value := range map[string][]byte{
			"space":    append([]byte(" "), e.Value...),
			"unknown":  append([]byte(`{"x":1,`), e.Value[1:]...),
			"cut":      e.Value[:len(e.Value)-1],
			"doubled":  append(bytes.Clone(e.Value), e.Value...),
			"an array": []byte("[]"),
			"null":     []byte("null"),
		} {
			if err := registry.New().Load([]registry.Entry{{Key: e.Key, Value: value}}); !errors.Is(err, registry.ErrEntry) {
				t.Errorf("%s, %s: %v", e.Key, name, err)
			}
		}
	}
	for _, k := range []string{"", "other/x", "genesis/x", "key/00", "export/00", "export/" + strings.Repeat("0", 64), "grant/bob", "grant/bob/king", "instance"} {
		if err := registry.New().Load([]registry.Entry{{Key: k, Value: []byte("{}")}}); !errors.Is(err, registry.ErrEntry) {
			t.Errorf("%q: %v", k, err)
		}
	}
}

func TestOwns(t *testing.T) {
	for _, e := range full(t).state.Entries() {
		if !registry.Owns(e.Key) {
			t.Errorf("%s is not owned", e.Key)
		}
	}
	for _, k := range []string{"", "chain", "emitter/00", "genesis/x", "run/r"} {
		if registry.Owns(k) {
			t.Errorf("%q is owned", k)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, e := range full(f).state.Entries() {
		f.Add(e.Key, e.Value)
	}
	f.Fuzz(func(t *testing.T, k string, v []byte) {
		s := registry.New()
		if s.Load([]registry.Entry{{Key: k, Value: v}}) != nil || len(v) == 0 {
			return
		}
		if diff := cmp.Diff([]registry.Entry{{Key: k, Value: v}}, s.Entries()); diff != "" {
			t.Fatal(diff)
		}
	})
}
