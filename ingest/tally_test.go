package ingest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// notebook keeps what is recorded.
type notebook struct {
	broken  bool
	records []*eventv1.Refusal
}

func (n *notebook) Record(_ context.Context, _ event.TenantID, events ...*eventv1.Event) (uint64, error) {
	if n.broken {
		return 0, errors.New("stream is down")
	}
	for _, e := range events {
		n.records = append(n.records, e.GetSystem().GetRefusal())
	}
	return 1, nil
}

func (n *notebook) counts() (counts []uint64) {
	for _, r := range n.records {
		counts = append(counts, r.GetCount())
	}
	return counts
}

func TestOneRecordAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, tallies := new(notebook), newTallies(time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go tallies.run(ctx, book)
		key := tallyKey{"acme", signer.KeyID{1}, "gap"}
		for range 150 { // one a second
			tallies.add(key, "events[3]: bad")
			time.Sleep(time.Second)
		}
		cancel()
		synctest.Wait()
		if got := book.counts(); len(got) != 3 || got[0] > 2 {
			t.Errorf("records of %v", got)
		}
		tallies.flush(t.Context(), book, true)
		var sum uint64
		for _, n := range book.counts() {
			sum += n
		}
		if sum != 150 || tallies.counts()["gap"] != 150 {
			t.Errorf("recorded %d, counted %d of 150", sum, tallies.counts()["gap"])
		}
	})
}

func TestUnrecordedRefusalsAreCountedAgain(t *testing.T) {
	book, tallies := &notebook{broken: true}, newTallies(time.Now, slog.New(slog.DiscardHandler))
	key := tallyKey{"acme", signer.KeyID{1}, "gap"}
	tallies.add(key, "first")
	tallies.flush(t.Context(), book, true)
	tallies.add(key, "second")
	book.broken = false
	tallies.flush(t.Context(), book, true)
	if len(book.records) != 1 || book.records[0].GetCount() != 2 || book.records[0].GetDetail() != "first" {
		t.Errorf("recorded %v", book.records)
	}
}

func TestExampleHoldsNoSecretAndNoControls(t *testing.T) {
	got := exampleText("key " + awsKey + "\x1b[2J" + strings.Repeat("é", 300))
	if strings.Contains(got, awsKey) || strings.Contains(got, "\x1b") || len(got) > maxDetail {
		t.Errorf("got %q", got)
	}
	if _, err := event.Marshal(completeForTest(got)); err != nil {
		t.Error(err)
	}
}

func completeForTest(detail string) *eventv1.Event {
	s := &System{now: time.Now}
	e := tally{count: 1, firstAt: 1, detail: detail}.event(tallyKey{reason: "x"})
	s.complete(e, "acme")
	return e
}

func TestTooManyToTellApart(t *testing.T) {
	tallies := newTallies(time.Now, slog.New(slog.DiscardHandler))
	for i := range maxTallies + 100 {
		tallies.add(tallyKey{"acme", signer.KeyID{byte(i), byte(i >> 8)}, "gap"}, "x")
	}
	if n := len(tallies.open); n != maxTallies+1 {
		t.Errorf("%d tallies", n)
	}
	if diff := cmp.Diff(uint64(maxTallies+100), tallies.counts()["gap"]); diff != "" {
		t.Error(diff)
	}
}
