package event_test

import (
	"testing"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestParseIsTheInverseOfMarshal(t *testing.T) {
	id := event.NewID(time.Unix(1, 0), nil)
	e := &eventv1.Event{Version: 1, Id: id[:], Tenant: "t", Instance: "i", OccurredAt: 1, TimeBasis: 1,
		Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Action: 1, Call: "c"}}}
	b, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.Parse(b); err != nil {
		t.Fatal(err)
	}
}
