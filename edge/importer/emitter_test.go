//go:build unix

package importer

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// heartbeat is the frame of an event, and its id.
func heartbeat(t *testing.T) (frame []byte, id event.ID) {
	t.Helper()
	id = event.NewID(time.Now(), nil)
	b, err := event.Marshal(&eventv1.Event{
		Version: event.Version, Id: id[:], Tenant: "t", Instance: "i", OccurredAt: 1, TimeBasis: eventv1.TimeBasis_TIME_BASIS_MADE,
		Body: &eventv1.Event_Identity{Identity: &eventv1.Identity{
			Action: eventv1.IdentityAction_IDENTITY_ACTION_HEARTBEAT, Epoch: make([]byte, event.EpochSize), Interval: 1,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return spool.AppendEvent(nil, b, nil), id
}

// filled is an emitter's folder whose process has recorded n events, had receipts for some of them and died.
func filled(t *testing.T, n, receipts int) (dir string, ids []event.ID) {
	t.Helper()
	dir = t.TempDir()
	s, err := spool.Open(filepath.Join(dir, spoolDir), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opened, _ := heartbeat(t)
	q, err := s.Begin(spool.Epoch{1}, opened)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		frame, id := heartbeat(t)
		room, err := s.Reserve(context.Background(), len(frame))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Enqueue(frame, room).Wait(); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if receipts > 0 {
		if err := q.Ack(spool.End{Seq: spool.Seq(receipts) + 1}); err != nil { // the epoch's first event is number 1
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

func TestHeldInSpool(t *testing.T) {
	const n, receipts = 3000, 1200
	dir, ids := filled(t, n, receipts)
	held, err := heldIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if want := i >= receipts; held[id] != want {
			t.Fatalf("event %d of %d held: %v, want %v", i+1, n, held[id], want)
		}
	}
}

func TestHeldInNewFolder(t *testing.T) {
	held, err := heldIn(t.TempDir())
	if err != nil || len(held) > 0 {
		t.Errorf("%d events, %v", len(held), err)
	}
}

// TestHeldInFolderInUse leaves the spool of a running emitter alone.
func TestHeldInFolderInUse(t *testing.T) {
	dir, _ := filled(t, 1, 0)
	lock, err := os.Create(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := heldIn(dir); err == nil {
		t.Error("read a spool that is in use")
	}
}
