package evidence

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// windowed is exporter for another window.
func windowed(from, to string, check string, exit int, edit func(files map[string][]byte)) attack {
	return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
		w := exported(t)
		return repack(t, w.export, w.bundle(from, to), edit), w.policy()
	}}
}

// Leaves follow each other from the leaf before the range, or from the beginning of the log, and stand in one tree.
func TestWrongLinks(t *testing.T) {
	for name, test := range map[string]struct {
		attack
		detail string
		record uint64
	}{
		"swapped, from the beginning":      {windowed("00:00", "10:30", CheckChain, ExitChain, swapLeaves(1, 2)), "record 1: ", 1},
		"the one before, of no format":     {exporter(CheckChain, ExitChain, editLeaf(0, func(b []byte) { b[0] = 9 })), "record 4: ", 4},
		"the one before, of another log":   {exporter(CheckChain, ExitChain, editLeaf(0, func(b []byte) { b[1] ^= 1 })), "record 4: ", 4},
		"the one before, of another place": {exporter(CheckChain, ExitChain, editLeaf(0, func(b []byte) { b[1+32+7] ^= 1 })), "record 4: ", 4},
		"proofs to another leaf":           {exporter(CheckRange, ExitChain, replace(fileRange, `"end": 16`, `"end": 15`)), "not of the leaves that are shown", 0},
		"proofs of another size":           {exporter(CheckRange, ExitChain, replace(fileRange, `"size": 16`, `"size": 17`)), "not of the leaves that are shown", 0},
	} {
		bundle, policy := test.make(t)
		v := verify(t, bundle, policy)
		c := v.Check(test.check)
		if c.Result != Failed || v.Exit != test.exit || !strings.Contains(c.Detail, test.detail) || test.record > 0 && (len(c.Records) == 0 || c.Records[0] != test.record) {
			t.Errorf("%s: exit %d, %+v\n%s", name, v.Exit, c, details(v))
		}
	}
}

// A genesis that is not shown begins nothing, whoever asks; and reasons that nobody gives are none.
func TestWithoutAGenesis(t *testing.T) {
	hidden := func(files map[string][]byte) {
		editRecord(fileEvents, 0, func([]byte) []byte { return []byte{byte(stateExpired)} })(files)
	}
	bundle, policy := windowed("00:00", "10:30", CheckGenesis, ExitKeys, hidden).make(t)
	for name, p := range map[string]*Policy{"with a policy": policy, "without": nil} {
		if v := verify(t, bundle, p); v.Check(CheckGenesis).Result != Failed {
			t.Errorf("%s: %s", name, details(v))
		}
	}
	runUnrecorded(t, map[string]attack{
		"an event withheld for no reason": exporter(CheckRedactions, ExitReport, func(files map[string][]byte) {
			editRecord(fileEvents, 0, func([]byte) []byte { return []byte{byte(stateWithheld), 0, 0} })(files)
			editRecords(fileOpenings, without(0))(files)
		}),
		"a field withheld for no reason": exporter(CheckRedactions, ExitReport, editOpening(0, func(o *openingRecord) { o.state, o.reason = stateWithheld, 0 })),
	})
}

// A batch that names its own first leaf was made before it.
func TestBatchesThatSeeThemselves(t *testing.T) {
	bundle, policy := liar(CheckLastSeen, ExitVerdict, func(w *world, a *sender) {
		a.send(1, stating(func(s *eventv1.BatchStatement) { s.LastSeen.Index++ }))
	}).make(t)
	v := verify(t, bundle, policy)
	if c := v.Check(CheckLastSeen); c.Result != Failed || !strings.Contains(c.Detail, errLaterSeen.Error()) {
		t.Errorf("%s", details(v))
	}
}

// A batch made five minutes before what it has seen is late by no clock; one made before that is.
func TestClocksBehind(t *testing.T) {
	for behind, want := range map[int64]uint64{maxAhead: 0, maxAhead + 1: 1} {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		a.send(1)
		a.send(1, stating(func(s *eventv1.BatchStatement) { s.CreatedAt = int64(w.now) - behind }))
		w.clock("11:00").access()
		if v := verify(t, w.bundle("08:30", "10:30"), w.policy()); v.Clock.Behind != want {
			t.Errorf("%d ns: %d are behind", behind, v.Clock.Behind)
		}
	}
}

// A signature is verified though no worker knew the key, and a key that binds nobody admits nobody.
func TestWhatTheJudgeVerifies(t *testing.T) {
	var key signer.PublicKey
	_, m := agentJob(t, func(w *world, a *sender) { twoCalls(w, a); key = a.key.Public() })
	for name, test := range map[string]struct {
		signature []byte
		want      Result
	}{"right": {m.record.signature, NotRun}, "wrong": {make([]byte, len(m.record.signature)), Failed}} {
		j := &judge{verification: newVerification(nil, VerifyOptions{})}
		m.record.signature, m.signature = test.signature, unchecked
		if j.judge(m, key); j.checks[CheckSignature].Result != test.want {
			t.Errorf("%s: %s", name, j.checks[CheckSignature].Result)
		}
	}
	j := &judge{verification: newVerification(nil, VerifyOptions{})}
	j.scope = &Scope{Tenant: "acme"}
	weak := registry.Key{Instance: m.statement.GetInstance(), PublicKey: registry.Hash{0: 1}} // the neutral element
	if err := j.admitted(m, weak, true); !errors.Is(err, errWeakKey) {
		t.Errorf("a weak key: %v", err)
	}
}

// judge is the judgement of a signature.
func (j *judge) judge(m *job, key signer.PublicKey) { j.signature(m, key) }

// Keys that could have signed in the range and did not are those that counted in it.
func TestSilentKeys(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	enrolled := w.chain.Size() // the first leaf at which it counts
	w.access()
	w.access()
	w.revoke(a, 0)
	revoked := w.chain.Size() // the first at which it does not
	w.access()
	for name, test := range map[string]struct {
		begin, end chain.Index
		want       int
	}{
		"before it":        {0, enrolled, 0},
		"until its first":  {0, enrolled + 1, 1},
		"from its last":    {revoked - 1, revoked + 1, 1},
		"after it":         {revoked, revoked + 1, 0},
		"all of the range": {0, revoked + 1, 1},
	} {
		v := newVerification(nil, VerifyOptions{})
		v.registry, v.scope = w.registry, &Scope{Begin: test.begin, End: test.end}
		v.signers[w.system.ID()] = new(activity)
		if n := v.silent(); n != test.want {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// An erasure is claimed first where it is met first.
func TestPlacesOfErasures(t *testing.T) {
	v := newVerification(nil, VerifyOptions{})
	j := &judge{verification: v}
	for _, index := range []chain.Index{5, 6} {
		j.claim(erasureClaim{erasure{9, "ann"}, uint32(index), index, "support-1", "run-1"})
	}
	c := v.erasures[erasure{9, "ann"}]
	if c == nil || c.index != 5 || c.last != 6 || c.generation != 6 || c.places["instance/support-1"] != 5 || c.places["run/run-1"] != 5 {
		t.Errorf("%+v", c)
	}
	for _, hold := range []string{"instance/support-1", "run/run-1", "run/run-2"} {
		scope, index, found := (&tombstone{holds: []string{hold}}).under(c)
		if want := hold != "run/run-2"; found != want || want && (scope != hold || index != 5) {
			t.Errorf("%s: %s, %d, %t", hold, scope, index, found)
		}
	}
}

// Progress of a verification is told of every record, to the end; and one that is broken off ends with what has broken it off.
func TestProgressOfAVerification(t *testing.T) {
	w := exported(t)
	bundle := w.bundle("08:30", "10:30")
	var told, total uint64
	_, err := Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), w.policy(), VerifyOptions{Progress: func(done, all uint64) { told, total = max(told, done), all }})
	if err != nil || told != 10 || total != 10 {
		t.Errorf("%d of %d, %v", told, total, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, file := range map[string][]byte{"a bundle": bundle, "no bundle": []byte("no bundle at all")} {
		if _, err := Verify(ctx, bytes.NewReader(file), int64(len(file)), w.policy(), VerifyOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Leaves that cannot be read are not judged.
func TestLeavesThatCannotBeRead(t *testing.T) {
	for before := range 2 {
		l := &leafFile{r: bufio.NewReader(io.MultiReader(bytes.NewReader(make([]byte, chain.LeafSize)), iotest.ErrReader(errBroken))), before: before}
		if _, err := l.read(nil, 2); !errors.Is(err, errBroken) {
			t.Errorf("%d before: %v", before, err)
		}
	}
}

// What the log refused of Custody admits nobody: writer and verifier agree that the key is nobody's.
func TestKeysThatNobodyAdmitted(t *testing.T) {
	w := newWorld(t, "acme")
	w.agent("support-1")
	w.clock("09:00")
	stranger := w.sender("support-1", w.key())
	id, public := stranger.key.ID(), stranger.key.Public()
	proof, err := stranger.key.Sign(registry.EnrolmentMessage(w.tenant, "support-1", eventv1.ProducerClass_PRODUCER_CLASS_AGENT, public[:]))
	w.must(err)
	w.custody.batch([]*eventv1.Event{w.custody.keyEvent(&eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public[:], Instance: "support-1",
		Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Proof: proof,
	})}, judged(chain.KeyInvalid))
	stranger.send(1, judged(chain.KeyInvalid))
	w.clock("11:00").access()
	v := verify(t, w.bundle("08:30", "10:30"), w.policy())
	if v.Check(CheckPopulation).Result != Passed || v.Check(CheckKey).Result != Failed || v.Vantage.Unattributed == 0 {
		t.Errorf("%+v\n%s", v.Vantage, details(v))
	}
}
