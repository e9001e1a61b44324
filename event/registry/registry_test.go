package registry_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	agent   = eventv1.ProducerClass_PRODUCER_CLASS_AGENT
	gateway = eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY
)

// log folds system events at consecutive indices.
type log struct {
	t     testing.TB
	state *registry.State
	next  uint64
}

// opened is a log after its genesis.
func opened(t testing.TB) *log {
	l := &log{t: t, state: registry.New()}
	l.must(event.Example("system.genesis").GetSystem())
	return l
}

func (l *log) apply(x *eventv1.System) error {
	e := event.Example("system.access")
	e.Body = &eventv1.Event_System{System: x}
	err := l.state.Apply(l.next, e)
	l.next++
	return err
}

// must applies an event and returns the index of its leaf.
func (l *log) must(x *eventv1.System) uint64 {
	l.t.Helper()
	if err := l.apply(x); err != nil {
		l.t.Fatal(err)
	}
	return l.next - 1
}

// refuse applies an event that must not apply, and holds the state to be as before.
func (l *log) refuse(want error, x *eventv1.System) {
	l.t.Helper()
	before := l.state.Hash()
	if err := l.apply(x); !errors.Is(err, want) {
		l.t.Errorf("got %v, want %v", err, want)
	}
	if l.state.Hash() != before {
		l.t.Error("a refused event changed the state")
	}
}

func hash(name string) []byte {
	d := sha256.Sum256([]byte(name))
	return d[:]
}

func private(name string) ed25519.PrivateKey { return event.ExampleKey(name) }

func public(name string) []byte { return private(name).Public().(ed25519.PublicKey) }

func keyID(name string) [32]byte { return sha256.Sum256(public(name)) }

func create(instance string) *eventv1.System {
	return change(&eventv1.InstanceChange{Instance: instance, Salt: hash(instance), Labels: &eventv1.Labels{Owner: "team"}})
}

func change(x *eventv1.InstanceChange) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Instance{Instance: x}}
}

func manifest(instance string, version uint32) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Manifest{Manifest: &eventv1.ManifestChange{
		Instance: instance, Version: version, SourceDigest: hash(fmt.Sprint(instance, version)),
		Permissions: []*eventv1.Permission{{Verb: 1, Tool: "<tool>&*", Resource: "r", Consequence: 2, Connector: "c"}},
	}}}
}

func enrol(instance, name string, class eventv1.ProducerClass) *eventv1.KeyChange {
	id := keyID(name)
	return &eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public(name), Instance: instance, Producer: class,
		Proof: ed25519.Sign(private(name), registry.EnrolmentMessage("acme", instance, class, public(name))),
	}
}

func rotate(instance, old, name string) *eventv1.KeyChange {
	x, id := enrol(instance, name, agent), keyID(old)
	x.Replaces = id[:]
	return x
}

func keyEnds(action eventv1.KeyAction, name string, suspectFrom uint64) *eventv1.KeyChange {
	id := keyID(name)
	return &eventv1.KeyChange{Action: action, KeyId: id[:], SuspectFrom: suspectFrom}
}

func revoke(name string, suspectFrom uint64) *eventv1.KeyChange {
	return keyEnds(eventv1.KeyAction_KEY_ACTION_REVOKED, name, suspectFrom)
}

func suspect(name string, from uint64) *eventv1.KeyChange {
	return keyEnds(eventv1.KeyAction_KEY_ACTION_SUSPECTED, name, from)
}

func key(x *eventv1.KeyChange) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Key{Key: x}}
}

func grant(principal string, role eventv1.Role, certificate []byte) *eventv1.GrantChange {
	return &eventv1.GrantChange{Principal: principal, Role: role, Certificate: certificate}
}

func granted(x *eventv1.GrantChange) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Grant{Grant: x}}
}

func taken(x *eventv1.GrantChange) *eventv1.System {
	x.Revoked = true
	return granted(x)
}

func rule(id string, version uint32, mode string) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{
		Rule: id, Version: version, SourceDigest: hash(fmt.Sprint(id, version)), Mode: mode,
	}}}
}

func exports(name, old string) *eventv1.System {
	id := keyID(old)
	return &eventv1.System{Detail: &eventv1.System_ExportKey{ExportKey: &eventv1.ExportKeyChange{PublicKey: public(name), Replaces: id[:]}}}
}

func hold(id, scope string, lifted bool) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: id, Scope: scope, Lifted: lifted}}}
}

func erase(subject string, generation uint32) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Erasure{Erasure: &eventv1.Erasure{Subject: subject, Generation: generation}}}
}

func TestGenesisIsFirstAndOnce(t *testing.T) {
	genesis := event.Example("system.genesis")
	s := registry.New()
	if s.Genesis() != nil || s.Tenant() != "" || s.MayEmit("custody") {
		t.Error("a state before genesis")
	}
	if err := s.Apply(0, event.Example("system.access")); !errors.Is(err, registry.ErrGenesis) {
		t.Errorf("before genesis: %v", err)
	}
	if err := s.Apply(1, genesis); !errors.Is(err, registry.ErrGenesis) {
		t.Errorf("genesis at 1: %v", err)
	}
	if err := s.Apply(0, genesis); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(0, genesis); !errors.Is(err, registry.ErrGenesis) {
		t.Errorf("second genesis: %v", err)
	}
	if diff := cmp.Diff(genesis.GetSystem().GetGenesis(), s.Genesis(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	k, ok := s.Key(keyID("system"))
	if !ok || !k.ValidAt(0) || !k.ValidAt(1<<40) || k.Instance != "custody" || k.Producer != 4 || !s.MayEmit("custody") {
		t.Errorf("system key: %+v", k)
	}
	if i, ok := s.Instance("custody"); !ok || string(i.Salt[:]) != string(s.Genesis().SystemSalt) {
		t.Errorf("custody's own instance: %+v", i)
	}
}

func TestOnlySystemEventsOfTheTenantApply(t *testing.T) {
	l := opened(t)
	if err := l.state.Apply(1, event.Example("execution.started")); !errors.Is(err, registry.ErrNotSystem) {
		t.Errorf("an execution: %v", err)
	}
	foreign := event.Example("system.instance")
	foreign.Tenant = "evil"
	if err := l.state.Apply(1, foreign); !errors.Is(err, registry.ErrNotSystem) {
		t.Errorf("another tenant's: %v", err)
	}
	invalid := event.Example("system.instance")
	invalid.GetSystem().GetInstance().Salt = []byte{1}
	if err := l.state.Apply(1, invalid); err == nil {
		t.Error("an invalid event applies")
	}
}

func TestInstances(t *testing.T) {
	l := opened(t)
	l.refuse(registry.ErrUnknown, manifest("a", 1))
	l.refuse(registry.ErrUnknown, key(enrol("a", "k", agent)))
	l.refuse(registry.ErrUnknown, change(&eventv1.InstanceChange{Instance: "a"}))
	at := l.must(create("a"))
	l.refuse(registry.ErrExists, create("a"))
	if l.state.MayEmit("a") {
		t.Error("emits without a manifest")
	}
	l.refuse(registry.ErrVersion, manifest("a", 2))
	l.must(manifest("a", 1))
	l.refuse(registry.ErrVersion, manifest("a", 1))
	since := l.must(manifest("a", 2))
	l.must(change(&eventv1.InstanceChange{Instance: "a", Labels: &eventv1.Labels{Client: "c", Regulation: []string{"gdpr", "sox"}}}))
	l.must(create("0-first"))
	i, ok := l.state.Instance("a")
	if !ok || i.Created != at || i.Since != since || i.Version() != 2 || i.Labels.Client != "c" || i.Labels.Owner != "" || !l.state.MayEmit("a") {
		t.Errorf("%+v", i)
	}
	if list := l.state.Instances(); len(list) != 2 || list[0].ID != "0-first" || list[1].ID != "a" {
		t.Errorf("%+v", list)
	}
}

func TestKeysAreValidByIndex(t *testing.T) {
	l := opened(t)
	l.must(create("a"))
	i := l.must(key(enrol("a", "k1", agent)))
	l.refuse(registry.ErrExists, key(enrol("a", "k1", agent)))
	j := l.must(key(rotate("a", "k1", "k2")))
	l.refuse(registry.ErrEnded, key(rotate("a", "k1", "k3")))
	n := l.must(key(revoke("k2", 0)))
	l.refuse(registry.ErrEnded, key(revoke("k2", 0)))
	l.refuse(registry.ErrExists, key(enrol("a", "k2", agent)))
	k1, _ := l.state.Key(keyID("k1"))
	k2, _ := l.state.Key(keyID("k2"))
	for _, c := range []struct {
		key   registry.Key
		index uint64
		want  bool
	}{
		{k1, i, false},
		{k1, i + 1, true},
		{k1, j, true},
		{k1, j + 1, false},
		{k2, j, false},
		{k2, j + 1, true},
		{k2, n, true},
		{k2, n + 1, false},
	} {
		if c.key.ValidAt(c.index) != c.want {
			t.Errorf("key [%d, %d) at %d: %v", c.key.From, c.key.To, c.index, !c.want)
		}
	}
	if k1.Revoked || k1.ReplacedBy != k2.ID || !k2.Revoked || len(l.state.Keys()) != 2 {
		t.Errorf("%+v, %+v", k1, k2)
	}
}

func TestEnrolmentIsProven(t *testing.T) {
	l := opened(t)
	l.must(create("a"))
	l.must(create("b"))
	stolen := enrol("b", "k", agent)
	stolen.Proof = enrol("a", "k", agent).Proof
	l.refuse(registry.ErrProof, key(stolen))
	raised := enrol("a", "k", gateway)
	raised.Proof = enrol("a", "k", agent).Proof
	l.refuse(registry.ErrProof, key(raised))
	system := enrol("a", "system", agent)
	l.refuse(registry.ErrExists, key(system))
	l.must(key(enrol("a", "k", agent)))
	l.refuse(registry.ErrInstance, key(rotate("b", "k", "k2")))
	l.refuse(registry.ErrUnknown, key(rotate("a", "none", "k2")))
}

func TestSuspicionWidensAndDoesNotEndAKey(t *testing.T) {
	l := opened(t)
	l.must(create("a"))
	l.must(key(enrol("a", "k", agent)))
	l.refuse(registry.ErrUnknown, key(suspect("none", 0)))
	l.refuse(registry.ErrIndex, key(suspect("k", 1000)))
	l.must(key(suspect("k", 5)))
	l.must(key(suspect("k", 6)))
	k, _ := l.state.Key(keyID("k"))
	if !k.Suspect || k.SuspectFrom != 5 || k.Revoked || !k.ValidAt(100) || k.SuspectAt(4) || !k.SuspectAt(5) {
		t.Errorf("%+v", k)
	}
	l.must(key(revoke("k", 2)))
	if k, _ = l.state.Key(keyID("k")); k.SuspectFrom != 2 || k.ValidAt(100) {
		t.Errorf("%+v", k)
	}
	l.must(key(suspect("k", 0)))
	if k, _ = l.state.Key(keyID("k")); k.SuspectFrom != 0 || !k.SuspectAt(0) {
		t.Errorf("%+v", k)
	}
}

func TestGrants(t *testing.T) {
	l := opened(t)
	const auditor, admin = eventv1.Role_ROLE_AUDITOR, eventv1.Role_ROLE_ADMIN
	one, two := hash("one"), hash("two")
	l.refuse(registry.ErrUnknown, taken(grant("bob", auditor, nil)))
	l.must(granted(grant("bob", auditor, two)))
	l.must(granted(grant("bob", auditor, one)))
	l.refuse(registry.ErrExists, granted(grant("bob", auditor, one)))
	l.refuse(registry.ErrExists, granted(grant("bob", auditor, nil)))
	l.must(granted(grant("al/ice", admin, nil)))
	everywhere := grant("bob", admin, one)
	everywhere.AllTenants = true
	l.must(granted(everywhere))
	list := l.state.Grants()
	if len(list) != 3 || list[0].Principal != "al/ice" || !list[1].AllTenants || list[2].Role != auditor || len(list[2].Certificates) != 2 {
		t.Errorf("%+v", list)
	}
	l.refuse(registry.ErrUnknown, taken(grant("bob", auditor, hash("three"))))
	l.must(taken(grant("bob", auditor, one)))
	l.must(taken(grant("bob", admin, nil)))
	l.must(taken(grant("al/ice", admin, nil)))
	if list = l.state.Grants(); len(list) != 1 || len(list[0].Certificates) != 1 || string(list[0].Certificates[0][:]) != string(two) {
		t.Errorf("%+v", list)
	}
	l.must(taken(grant("bob", auditor, two)))
	if len(l.state.Grants()) != 0 {
		t.Error("a grant without a certificate is left")
	}
}

func TestRulesHoldsAndErasures(t *testing.T) {
	l := opened(t)
	l.must(rule("s", 2, "live"))
	l.must(rule("r", 1, "shadow"))
	l.refuse(registry.ErrExists, rule("r", 1, "shadow"))
	l.must(rule("r", 1, "live"))
	l.must(rule("r", 2, "off"))
	l.refuse(registry.ErrVersion, rule("r", 1, "live"))
	if list := l.state.Rules(); len(list) != 2 || list[0].Version != 2 || list[0].Mode != "off" {
		t.Errorf("%+v", list)
	}

	l.refuse(registry.ErrUnknown, hold("h", "tenant", true))
	l.must(hold("h", "subject/s", false))
	l.refuse(registry.ErrExists, hold("h", "subject/s", false))
	l.refuse(registry.ErrUnknown, hold("h", "tenant", true))
	if !l.state.Held("subject/s") || l.state.Held("subject/t") || len(l.state.Holds()) != 1 {
		t.Error("a hold on one subject")
	}
	l.must(hold("all", "tenant", false))
	if !l.state.Held("subject/t") {
		t.Error("a hold on the tenant")
	}
	l.must(hold("all", "tenant", true))
	l.must(hold("h", "subject/s", true))
	if l.state.Held("subject/s") || len(l.state.Holds()) != 0 {
		t.Error("a lifted hold holds")
	}

	l.must(erase("s", 2))
	l.refuse(registry.ErrExists, erase("s", 1))
	l.must(erase("s", 3))
	if l.state.Erased("s") != 3 || l.state.Erased("t") != 0 {
		t.Error("erased generations")
	}
	want := registry.Erasure{Generation: 3, Since: l.next - 1, At: event.Example("system.access").GetOccurredAt()}
	if got := l.state.Erasure("s"); got != want || len(l.state.Erasures()) != 1 {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAHoldRefusesErasure(t *testing.T) {
	for scope, holds := range map[string]bool{
		"tenant": true, "subject/s": true, "subject/t": false, "instance/s": false, "run/s": false,
	} {
		t.Run(scope, func(t *testing.T) {
			l := opened(t)
			l.must(erase("s", 1))
			l.must(hold("case-1", scope, false))
			if !holds {
				l.must(erase("s", 2))
				return
			}
			l.refuse(registry.ErrHeld, erase("s", 2))
			var held *registry.HeldError
			if err := l.apply(erase("s", 2)); !errors.As(err, &held) || held.Hold.ID != "case-1" || held.Hold.Scope != scope {
				t.Errorf("%v does not name the hold", err)
			}
			l.must(hold("case-1", scope, true))
			l.must(erase("s", 2))
		})
	}
}

func TestRecordsChangeNothing(t *testing.T) {
	l := opened(t)
	before := l.state.Hash()
	for _, action := range []string{"system.access", "system.refusal", "system.finding", "system.containment"} {
		l.must(event.Example(action).GetSystem())
	}
	if l.state.Hash() != before {
		t.Error("a record changed the state")
	}
}

// TestExportKeysFollowEachOther: the log key is the first; each key comes once, and only in the place of the one in force.
func TestExportKeysFollowEachOther(t *testing.T) {
	if s := registry.New(); s.ExportKeys() != nil || s.ExportKey() != (registry.ExportKey{}) {
		t.Error("there is an export key before genesis")
	}
	l := opened(t)
	if k := l.state.ExportKey(); k.ID != keyID("log") || k.PublicKey != string(public("log")) || k.From != 0 || k.To != registry.Forever {
		t.Errorf("at first %+v", k)
	}
	l.refuse(registry.ErrEnded, exports("x1", "system"))
	l.refuse(registry.ErrExists, exports("log", "x1"))
	first := l.must(exports("x1", "log"))
	l.refuse(registry.ErrEnded, exports("x2", "log"))
	l.refuse(registry.ErrExists, exports("log", "x1"))
	second := l.must(exports("x2", "x1"))
	l.refuse(registry.ErrExists, exports("x1", "x2"))
	l.refuse(registry.ErrEnded, exports("x3", "x1"))
	want := []registry.ExportKey{
		{ID: keyID("log"), PublicKey: string(public("log")), To: first + 1},
		{ID: keyID("x1"), PublicKey: string(public("x1")), From: first + 1, To: second + 1},
		{ID: keyID("x2"), PublicKey: string(public("x2")), From: second + 1, To: registry.Forever},
	}
	if diff := cmp.Diff(want, l.state.ExportKeys()); diff != "" || l.state.ExportKey() != want[2] {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, known := l.state.Key(keyID("x2")); known {
		t.Error("an export key is an emitter's")
	}
}

// TestExportKeysUnderOneIndex: admission gives every change the same index, and knows which key is in force all the same.
func TestExportKeysUnderOneIndex(t *testing.T) {
	const index = math.MaxInt64
	l, names := opened(t), []string{"log", "x1", "x2", "x3", "x4", "x5"}
	for i, name := range names[1:] {
		l.next = index
		l.must(exports(name, names[i]))
		for range 20 { // a map's order differs from one time to the next
			if got := l.state.ExportKey(); got.ID != keyID(name) {
				t.Fatalf("after %s another key is in force: %s", name, got.ID)
			}
		}
	}
}
