package evidence

import (
	"errors"
	"io"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// A list that cannot be written ends the derivation, at its header as at a row.
func TestListsThatCannotBeWritten(t *testing.T) {
	started := &fact{event: &eventv1.Event{Id: make([]byte, 16), Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{
		Action: eventv1.ExecutionAction_EXECUTION_ACTION_STARTED, Call: "call-1", Consequence: eventv1.Consequence_CONSEQUENCE_HIGH,
	}}}}
	for at, header := range map[int]bool{1: true, len(populations): true, len(populations) + 1: false} {
		broken := brokenWriter{&breaks{at: at}}
		d, err := newDerivation(&Scope{}, nil, func(string) io.Writer { return broken })
		if header != errors.Is(err, errBroken) {
			t.Errorf("write %d: %v", at, err)
		}
		if header {
			continue
		}
		if err := d.add(started); !errors.Is(err, errBroken) {
			t.Errorf("write %d, row: %v", at, err)
		}
	}
}

// Without questions that can be read nothing is missing from them.
func TestMissingForNobody(t *testing.T) {
	d, err := newDerivation(&Scope{}, nil, func(string) io.Writer { return io.Discard })
	if err != nil {
		t.Fatal(err)
	}
	d.missing(chain.KindData)
}

// What is older than the law asks is old by a nanosecond.
func TestOldRecords(t *testing.T) {
	mapping, err1 := ownMapping()
	exam, err2 := newExamination(mapping)
	d, err3 := newDerivation(&Scope{To: 10 * keptLong}, exam, func(string) io.Writer { return io.Discard })
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for time, want := range map[int64]bool{9*keptLong - 1: true, 9 * keptLong: false} {
		f := &fact{time: time, event: &eventv1.Event{Id: make([]byte, 16)}}
		if err := d.add(f); err != nil || f.old != want {
			t.Errorf("%d: old %t, %v", time-9*keptLong, f.old, err)
		}
	}
}

// A key that nobody has admitted is of no class.
func TestProducersOfNoKey(t *testing.T) {
	if p := producerAt(registry.New(), &eventv1.BatchStatement{KeyId: make([]byte, 32)}, 3); p != eventv1.ProducerClass_PRODUCER_CLASS_UNSPECIFIED {
		t.Error(p)
	}
}

// An approval that was signed with a key that does not count approves nothing.
func TestApprovalOfARevokedKey(t *testing.T) {
	for revoked, want := range map[bool]string{false: "approved", true: "none"} {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		b := w.enrol("support-1", eventv1.ProducerClass_PRODUCER_CLASS_AGENT)
		w.clock("09:00")
		if revoked {
			w.revoke(b, 0)
		}
		b.say(b.consents(approved, "call-1", "mail"))
		a.say(a.execute(started, "call-1", "mail"))
		w.clock("11:00").access()
		if r := rows(t, unpack(t, w.bundle("08:30", "10:30"))[fileActions]); len(r) != 1 || r[0]["approval"] != want {
			t.Errorf("revoked %t: %v", revoked, r)
		}
	}
}
