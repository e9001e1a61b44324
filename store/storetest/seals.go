package storetest

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// testSeals: of a clear event its instance and its run are known; of a held one the instance alone.
func testSeals(f *fixture) {
	l := f.log
	clear, other, held, theirs := l.about("acme", "alice"), l.about("acme", "bob"), l.Held("acme"), l.about("globex", "alice")
	held.Openings = append(held.Openings, &eventv1.EncryptedOpening{
		Position: 1, Path: "content", Subject: "carol", Generation: 1, Ciphertext: l.bytes(60),
	})
	f.commit(l.Block(nil, clear, other, held, theirs))
	hidden := l.about("acme", "dave")
	f.must(f.store.Insert(f.Context(), l.Block(nil, hidden))) // not committed
	run := clear.Leaves[0].Event.GetRun()
	for _, test := range []struct {
		subject, instance, run string
		want                   bool
	}{
		{"alice", "support-1", "", true},
		{"alice", "support-2", "", false},
		{"alice", "", run, true},
		{"alice", "", "another run", false},
		{"alice", "support-1", run, true},
		{"bob", "", run, false},
		{"carol", "support-1", "", true},
		{"carol", "support-2", "", false},
		{"carol", "", "any run", true},
		{"dave", "support-1", "", false},
		{"nobody", "support-1", "", false},
	} {
		got, err := f.store.Seals(f.Context(), "acme", test.subject, test.instance, test.run)
		if f.must(err); got != test.want {
			f.Errorf("%+v: %v", test, got)
		}
	}
}

// about is a batch of one event of support-1 in a run of its own that seals content about a subject.
func (l *Log) about(tenant, subject string) *store.Folded {
	e := l.Event(tenant, "support-1")
	e.Run, e.Sealed = "run-of-"+subject, l.sealed()
	for _, s := range e.Sealed {
		s.Subject = subject
	}
	return l.Batch(tenant, eventv1.ProducerClass_PRODUCER_CLASS_AGENT, e)
}
