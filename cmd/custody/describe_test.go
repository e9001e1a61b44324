package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestAClockThatIsAhead: an event from the future is taken, and is marked.
func TestAClockThatIsAhead(t *testing.T) {
	received := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for late, want := range map[time.Duration][]string{
		-time.Hour: nil, 0: nil, clockSlack: nil, clockSlack + 1: {"[CLOCK AHEAD]"},
	} {
		row := &apiv1.EventRow{Verdict: accepted, ReceivedAt: received.UnixNano(), Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT}
		got := marks(row, &eventv1.Event{OccurredAt: received.Add(late).UnixNano()})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s after it was received (-want +got):\n%s", late, diff)
		}
	}
}
