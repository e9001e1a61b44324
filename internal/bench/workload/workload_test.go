package workload_test

import (
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	"github.com/agentcustody/custody/ledger"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
)

// TestEventsAreWhatIsClaimed: about 400 bytes, two sealed fields, three fingerprints, no secret.
func TestEventsAreWhatIsClaimed(t *testing.T) {
	e := workload.NewEmitter("acme", "support-1", 1)
	b, err := e.Batch(256)
	if err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, encoded := range b.GetEvents() {
		bytes += len(encoded)
		x, err := event.Parse(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if len(x.GetSealed()) != workload.Sealed || len(x.GetFingerprints()) != workload.Fingerprints {
			t.Fatalf("%d sealed fields, %d fingerprints", len(x.GetSealed()), len(x.GetFingerprints()))
		}
		if detector, found := event.ScanSecrets(encoded); found {
			t.Errorf("%s found in an event", detector)
		}
	}
	if mean := bytes / 256; mean < 360 || mean > 480 {
		t.Errorf("an event has %d bytes", mean)
	}
	if _, _, err := event.CheckBatch(b); err != nil {
		t.Error(err)
	}
	for _, o := range b.GetOpenings() {
		x, _ := event.Parse(b.GetEvents()[o.GetPosition()])
		if err := event.CheckOpening(x, o, e.FingerprintKey[:], workload.FingerprintKeyID); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCallsHaveTheirStages: proposed, decided, started, finished, each call to its end before the next one of its run, as an agent that
// makes one call after the other.
func TestCallsHaveTheirStages(t *testing.T) {
	a := workload.NewAgent(3)
	run, open, finished := "", &eventv1.Execution{}, 0
	for range 1000 {
		p := a.Next().Plain
		x := p.GetExecution()
		if x == nil {
			continue
		}
		goesOn := p.GetRun() == run && open.GetAction() != eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED
		switch {
		case goesOn && (x.GetCall() != open.GetCall() || x.GetTool() != open.GetTool() || x.GetAction() != open.GetAction()+1):
			t.Fatalf("after %s comes %s", open, x)
		case !goesOn && x.GetAction() != eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED:
			t.Fatalf("a call begins with %s", x.GetAction())
		case x.GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED:
			finished++
		}
		run, open = p.GetRun(), x
	}
	if finished < 150 {
		t.Errorf("%d calls came to their end", finished)
	}
}

// TestFoldAcceptsTheWorkload: otherwise a benchmark would measure refusals.
func TestFoldAcceptsTheWorkload(t *testing.T) {
	v, err := vault.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	w, err := workload.NewLog("acme", 2, v)
	if err != nil {
		t.Fatal(err)
	}
	fold := ledger.NewFold(w.System(), nil)
	for i := range 6 {
		m, err := w.Next(32)
		if err != nil {
			t.Fatal(err)
		}
		folded, err := fold.Message(t.Context(), fold.Decoder().Decode(m))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range folded.Leaves {
			if l.Verdict != chain.Accepted {
				t.Fatalf("message %d: %s", i, l.Verdict)
			}
		}
	}
	head, _ := fold.Head("acme")
	if want := uint64(5 + 5*32); head.Size != want {
		t.Errorf("%d leaves, want %d", head.Size, want)
	}
}
