package edge_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// long is a value of n bytes that is no other value.
func long(n, which int) []byte {
	line := fmt.Appendf(nil, "row %d of report %d for customer-%d@example.com\n", n, which, which)
	return bytes.Repeat(line, n/len(line)+1)[:n]
}

// longNote is event i with a long value.
func longNote(i, size int) *edge.Event {
	e := note(i)
	e.Sealed = append(e.Sealed, edge.Content{Path: "attachment", Value: long(size, i)})
	return e
}

func recordReport(t *testing.T, e *edge.Emitter, i, size int) {
	t.Helper()
	if _, err := e.Record(t.Context(), longNote(i, size)); err != nil {
		t.Fatal(err)
	}
}

// wantReports: the server has every long value whole, and the spool has none of them left.
func wantReports(t *testing.T, server *edgetest.Server, dir string, sizes map[int]int) {
	t.Helper()
	found := 0
	for _, ev := range server.Events(instance) {
		for i, size := range sizes {
			if ev.GetData().GetResource() == fmt.Sprint(i) {
				found++
				if got := server.Opened(ev, "attachment"); got != string(long(size, i)) {
					t.Errorf("report %d: %d bytes at the server, want %d", i, len(got), size)
				}
			}
		}
	}
	if found != len(sizes) {
		t.Errorf("%d of %d reports at the server", found, len(sizes))
	}
	if left := objectFiles(t, dir); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

func objectFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "spool", "*", "*.object"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLongValuesTravelAsObjects(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	record(t, e, 1, 3)
	recordReport(t, e, 4, event.MaxSealedInline+1)
	recordReport(t, e, 5, 3<<20+17)
	record(t, e, 6, 8)
	flush(t, e)
	wantNotes(t, server, 1, 2, 3, 4, 5, 6, 7, 8)
	shut(t, e)
	wantReports(t, server, dir, map[int]int{4: event.MaxSealedInline + 1, 5: 3<<20 + 17})
}

func TestObjectsOutliveEveryFailure(t *testing.T) {
	refuse := func(reason apiv1.RefusalReason) edgetest.Verdict {
		return edgetest.Verdict{Refuse: &apiv1.Refused{Reason: reason, RetryAfter: int64(time.Millisecond)}}
	}
	for name, judge := range map[string]func(n int) edgetest.Verdict{
		"cut at every fourth part": func(n int) edgetest.Verdict { return edgetest.Verdict{Cut: n%4 == 0} },
		"lost after every third":   func(n int) edgetest.Verdict { return edgetest.Verdict{Lose: n%3 == 0} },
		"pushed back at first": func(n int) edgetest.Verdict {
			if n < 6 {
				return refuse(apiv1.RefusalReason_REFUSAL_REASON_PUSHBACK)
			}
			return edgetest.Verdict{}
		},
		"forgotten in between": func(n int) edgetest.Verdict {
			if n == 3 {
				return refuse(apiv1.RefusalReason_REFUSAL_REASON_OBJECT)
			}
			return edgetest.Verdict{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			server.JudgeParts(func(n int, _ *apiv1.ObjectPart) edgetest.Verdict { return judge(n) })
			dir := server.Join(t, instance)
			e, _ := emitter(t, dir)
			recordReport(t, e, 1, 700<<10)
			recordReport(t, e, 2, 100<<10)
			flush(t, e)
			shut(t, e)
			wantReports(t, server, dir, map[int]int{1: 700 << 10, 2: 100 << 10})
		})
	}
}

// TestObjectsAreAskedForAgain: the server has lost the objects between upload and batch.
func TestObjectsAreAskedForAgain(t *testing.T) {
	server := edgetest.New(t)
	server.Judge(func(b edgetest.Batch) edgetest.Verdict {
		if b.Attempt == 1 && len(b.Signed.GetOpenings()) > 0 {
			go server.ForgetObjects()
			time.Sleep(10 * time.Millisecond)
			return edgetest.Verdict{Refuse: &apiv1.Refused{Reason: apiv1.RefusalReason_REFUSAL_REASON_OBJECT, Field: "openings[0]"}}
		}
		return edgetest.Verdict{}
	})
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	recordReport(t, e, 1, 700<<10)
	flush(t, e)
	shut(t, e)
	wantReports(t, server, dir, map[int]int{1: 700 << 10})
}

// TestALostObjectIsWithheld: the disk has lost the value and not the event, as after a power cut. The event goes without it.
func TestALostObjectIsWithheld(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone": os.Remove,
		"cut":  func(path string) error { return os.Truncate(path, 100) },
	} {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			dir := server.Join(t, instance)
			warm, _ := emitter(t, dir)
			shut(t, warm)
			server.Stop()
			e, _ := emitter(t, dir, func(c *edge.Config) { c.CloseTimeout = time.Millisecond })
			recordReport(t, e, 1, 700<<10)
			record(t, e, 2, 2)
			_ = e.Close(t.Context())
			files := objectFiles(t, dir)
			if len(files) != 1 {
				t.Fatalf("in the spool: %v", files)
			}
			if err := damage(files[0]); err != nil {
				t.Fatal(err)
			}
			server.Start()
			e, reports := emitter(t, dir)
			flush(t, e)
			wantNotes(t, server, 1, 2)
			if !reports.contain("withheld") {
				t.Error("nobody was told")
			}
			shut(t, e)
		})
	}
}

// TestAnObjectThatIsRefusedForGood does not stop the queue.
func TestAnObjectThatIsRefusedForGood(t *testing.T) {
	server := edgetest.New(t)
	server.JudgeParts(func(int, *apiv1.ObjectPart) edgetest.Verdict {
		return edgetest.Verdict{Refuse: &apiv1.Refused{Reason: apiv1.RefusalReason_REFUSAL_REASON_TOO_LARGE, Field: "object.size"}}
	})
	dir := server.Join(t, instance)
	e, reports := emitter(t, dir)
	recordReport(t, e, 1, 700<<10)
	record(t, e, 2, 2)
	flush(t, e)
	wantNotes(t, server, 1, 2)
	kept, _ := filepath.Glob(filepath.Join(dir, "refused", "*.object"))
	if !reports.contain("too_large") || len(kept) != 1 || len(objectFiles(t, dir)) != 0 {
		t.Errorf("reported %v, kept %v", reports.contain("too_large"), kept)
	}
	shut(t, e)
}

func TestLongValuesHaveLimits(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance), func(c *edge.Config) { c.SpoolMaxBytes = 8 << 20 })
	tooLong := longNote(1, 4<<20+1)
	tooMuch := longNote(1, 3<<20)
	tooMuch.Sealed = append(tooMuch.Sealed, edge.Content{Path: "other", Value: long(2<<20, 9)})
	for field, ev := range map[string]*edge.Event{"sealed[1].value": tooLong, "sealed[2].value": tooMuch} {
		if _, err := e.Record(t.Context(), ev); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want one about %s", err, field)
		}
	}
	for i := 1; i <= 8; i++ { // more than the spool holds at once
		recordReport(t, e, i, 3<<20)
	}
	flush(t, e)
	wantNotes(t, server, 1, 2, 3, 4, 5, 6, 7, 8)
	shut(t, e)
	if bytes := e.Stats().SpoolBytes; bytes > 1<<20 {
		t.Errorf("%d bytes are still taken", bytes)
	}
}
