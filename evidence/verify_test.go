package evidence

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// rebegun is a log whose genesis says something else, and who works in it as if it did not.
func rebegun(t *testing.T, edit func(w *world, e *eventv1.Event)) *world {
	t.Helper()
	w := newWorld(t, "acme")
	genesis, err := event.Parse(w.messages[0].Events[0].Bytes)
	w.must(err)
	w.chain, err = chain.New(w.origin)
	w.must(err)
	w.registry, w.heads, w.leaves, w.messages = registry.New(), map[signer.KeyID]*head{}, nil, nil
	w.custody = w.sender(string(event.InstanceCustody), w.system)
	edit(w, genesis)
	w.custody.batch([]*eventv1.Event{genesis}, stating(func(s *eventv1.BatchStatement) { s.Tenant = genesis.GetTenant() }))
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(2).say(a.closing())
	w.clock("11:00").access()
	return w
}

// What a genesis may say of another log.
func elsewhere(_ *world, e *eventv1.Event) {
	e.GetSystem().GetGenesis().Origin = "example.com/custody/umbrella"
}

func ofUmbrella(_ *world, e *eventv1.Event) { e.Tenant = "umbrella" }

func otherSystemKey(w *world, e *eventv1.Event) {
	key := w.key().Public()
	e.GetSystem().GetGenesis().SystemKey = key[:]
}

func otherLogKey(w *world, e *eventv1.Event) {
	key := w.key().Public()
	e.GetSystem().GetGenesis().LogKey = key[:]
}

// A log that begins with the genesis of another has no keys; one whose own key did not sign its state is nobody's, whoever asks.
func TestGenesisOfOthers(t *testing.T) {
	of := func(check string, exit int, from string, policy bool, edit func(*world, *eventv1.Event)) attack {
		return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
			w := rebegun(t, edit)
			if !policy {
				return w.bundle(from, "10:30"), nil
			}
			return w.bundle(from, "10:30"), w.policy()
		}}
	}
	runAttacks(t, map[string]attack{
		"another log":                                           of(CheckGenesis, ExitKeys, "08:30", true, elsewhere),
		"another log, from the beginning":                       of(CheckGenesis, ExitKeys, "00:00", true, elsewhere),
		"another log, without a policy":                         of(CheckGenesis, ExitKeys, "08:30", false, elsewhere),
		"another tenant, from the beginning":                    of(CheckGenesis, ExitKeys, "00:00", true, ofUmbrella),
		"another system key, from the beginning":                of(CheckGenesis, ExitKeys, "00:00", true, otherSystemKey),
		"another log key":                                       of(CheckGenesis, ExitKeys, "08:30", true, otherLogKey),
		"another log key, without a policy":                     of(CheckCheckpoint, ExitCheckpoint, "08:30", false, otherLogKey),
		"another log key, without a policy, from the beginning": of(CheckCheckpoint, ExitCheckpoint, "00:00", false, otherLogKey),
	})
}

// What the genesis says decides which keys count, and is held to the policy; without one, the log's own key must hold.
func TestAnchor(t *testing.T) {
	weak := func(_ *world, e *eventv1.Event) {
		e.GetSystem().GetGenesis().LogKey = append([]byte{1}, make([]byte, 31)...)
	} // the neutral element
	other := func(_ *world, e *eventv1.Event) {
		e.GetSystem().Detail = &eventv1.System_Access{Access: &eventv1.Access{Method: "Export"}}
	}
	none := func(*world, *eventv1.Event) {}
	for name, test := range map[string]struct {
		policy     bool
		edit       func(*world, *eventv1.Event)
		want       error
		applied    bool
		checkpoint Result
	}{
		"right":                              {true, none, nil, true, NotRun},
		"right, without a policy":            {false, none, nil, true, NotRun},
		"another log":                        {true, elsewhere, errGenesis, false, NotRun},
		"another log, without":               {false, elsewhere, errGenesis, false, NotRun},
		"another tenant":                     {true, ofUmbrella, errGenesis, false, NotRun},
		"another record":                     {true, other, errGenesis, false, NotRun},
		"another record, without":            {false, other, errGenesis, false, NotRun},
		"another system key":                 {true, otherSystemKey, errSystemKey, false, NotRun},
		"another system key, without":        {false, otherSystemKey, nil, true, NotRun},
		"another log key":                    {true, otherLogKey, errLogKey, true, NotRun},
		"another log key, without":           {false, otherLogKey, nil, true, Failed},
		"a log key that binds nobody":        {false, weak, nil, true, Failed},
		"another log key and no other wrong": {true, weak, errLogKey, true, NotRun},
	} {
		w := newWorld(t, "acme")
		e, err := event.Parse(w.messages[0].Events[0].Bytes)
		w.must(err)
		v := w.proving(nil)
		if test.policy {
			v = w.proving(w.policy())
		}
		test.edit(w, e)
		v.anchor(e)
		c := v.checks[CheckGenesis]
		if (c.Result == Failed) != (test.want != nil) || test.want != nil && !strings.Contains(c.Detail, test.want.Error()) || c.Examined != 1 {
			t.Errorf("%s: %+v", name, c)
		}
		if applied := v.registry.Genesis() != nil; applied != test.applied || v.checks[CheckCheckpoint].Result != test.checkpoint {
			t.Errorf("%s: applied %t, checkpoint %s", name, applied, v.checks[CheckCheckpoint].Result)
		}
		if c := v.checks[CheckCheckpoint]; strings.Contains(c.Detail, signer.ErrKey.Error()) != (name == "a log key that binds nobody") {
			t.Errorf("%s: %+v", name, c)
		}
		if test.applied {
			key := signer.PublicKey(e.GetSystem().GetGenesis().GetSystemKey())
			if known, _ := v.publicKeys.Load(key.ID()); known != key || v.system == nil || *v.system != key {
				t.Errorf("%s: the system key is not known", name)
			}
			if v.anchor(e); c.Failures == 0 || test.want == nil && !strings.Contains(c.Detail, errNotApplied.Error()) {
				t.Errorf("%s, twice: %+v", name, c)
			}
		}
	}
}

// Of a state of a log that no key is known for nothing is claimed.
func TestCheckpointThatNobodyCanVerify(t *testing.T) {
	w := exported(t)
	bundle := repack(t, w.export, w.bundle("08:30", "10:30"), editRecords(fileKeysBefore, without(0)))
	if v := verify(t, bundle, nil); v.Check(CheckCheckpoint).Result != NotClaimed || v.Check(CheckGenesis).Result != Failed {
		t.Errorf("%s", details(v))
	}
}

// A leaf that nobody can read stands on no side of a time.
func TestUnreadableLeavesAtTheEnds(t *testing.T) {
	for name, i := range map[string]int{"before the first": 0, "the first": 1, "the last": 10, "after the last": 11} {
		bundle, policy := exporter(CheckChain, ExitChain, editLeaf(i, func(b []byte) { b[0] = 9 })).make(t)
		if v := verify(t, bundle, policy); v.Check(CheckChain).Result != Failed || v.Check(CheckBoundaries).Result != Passed {
			t.Errorf("%s: %s", name, details(v))
		}
	}
}

// Content was erased by the tombstone of its subject that came after it, and by no older one.
func TestWhatATombstoneErases(t *testing.T) {
	for name, test := range map[string]struct {
		e          erasure
		generation uint32
		last       chain.Index
		want       Result
	}{
		"right":                           {erasure{9, "ann"}, 2, 8, Passed},
		"an older generation":             {erasure{9, "ann"}, 1, 8, Passed},
		"a later generation":              {erasure{9, "ann"}, 3, 8, Failed},
		"its own content":                 {erasure{9, "ann"}, 2, 9, Failed},
		"later content":                   {erasure{9, "ann"}, 2, 10, Failed},
		"of somebody else":                {erasure{9, "bob"}, 2, 8, Failed},
		"of nobody":                       {erasure{9, ""}, 2, 8, Failed},
		"by nothing":                      {erasure{10, "ann"}, 2, 8, Failed},
		"of nobody, by nothing":           {erasure{10, ""}, 0, 8, Failed},
		"of nobody, no generation at all": {erasure{9, ""}, 0, 8, Failed},
	} {
		v := newVerification(nil, VerifyOptions{})
		v.tombstones[9] = tombstone{"ann", 2, nil}
		v.erasures[test.e] = &claimed{generation: test.generation, index: 5, last: test.last}
		if err := v.checkErasures(); err != nil || v.checks[CheckErasure].Result != test.want || v.checks[CheckErasure].Examined != 1 {
			t.Errorf("%s: %v, %+v", name, err, v.checks[CheckErasure])
		}
	}
}

// Only an erasure is a tombstone.
func TestTombstones(t *testing.T) {
	w := exported(t)
	v := w.proving(w.policy())
	for _, m := range w.messages {
		for i := range m.Events {
			e, err := event.Parse(m.Events[i].Bytes)
			if w.must(err); m.First == 0 {
				v.anchor(e)
			}
			v.apply(m.First+chain.Index(i), e)
		}
	}
	if len(v.tombstones) != 1 || v.tombstones[14].subject != "person-1" {
		t.Errorf("%+v", v.tombstones)
	}
}

// What cannot be encoded is compared with nothing.
func TestWhatCannotBeEncoded(t *testing.T) {
	var want *json.UnsupportedTypeError
	if err := new(verification).compareJSON(fileEmitters, make(chan int)); !errors.As(err, &want) {
		t.Errorf("%v", err)
	}
}
