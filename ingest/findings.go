package ingest

import (
	"strings"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// findingKey is what is flagged together.
type findingKey struct {
	emitter        signer.KeyID
	path, detector string
}

// findings holds back what was flagged less than refusalInterval ago. It is safe for concurrent use.
type findings struct {
	now func() time.Time

	mu   sync.Mutex
	last map[findingKey]time.Time
}

func newFindings(now func() time.Time) *findings {
	return &findings{now: now, last: make(map[findingKey]time.Time)}
}

// due reports whether a finding is to be recorded now.
func (f *findings) due(key findingKey) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if last, known := f.last[key]; known && now.Sub(last) < refusalInterval {
		return false
	}
	if len(f.last) >= maxTallies {
		clear(f.last)
	}
	key.path = strings.Clone(key.path) // the other one keeps its whole batch
	f.last[key] = now
	return true
}

// findingEvent says that a sealed field of an event holds a secret.
func findingEvent(s secret) *eventv1.Event {
	return &eventv1.Event{
		Causes: []*eventv1.Cause{{
			Id: s.event, Relation: eventv1.Relation_RELATION_INPUT, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED,
		}},
		Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_CONTENT_FINDING, Source: "ingest", Resource: event.Escape(s.path),
			DataClass: "secret", Detector: s.detector, Label: "secret",
		}},
	}
}
