package workload_test

import (
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	"github.com/agentcustody/custody/ledger"
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
