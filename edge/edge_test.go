package edge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const instance = "support-1"

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// emitter opens an emitter that is quick to retry and tells the test what it reports.
func emitter(t *testing.T, dir string, change ...func(*edge.Config)) (*edge.Emitter, *reports) {
	t.Helper()
	r := new(reports)
	config := edge.Config{
		Dir: dir, MaxBatchAge: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, CloseTimeout: 5 * time.Second,
		OnError: r.add, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&config)
	}
	e, err := edge.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return e, r
}

type reports struct {
	mu  sync.Mutex
	all []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err)
}

func (r *reports) contain(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.all, func(err error) bool { return strings.Contains(err.Error(), text) })
}

// note is an event with a number in plain sight and something to seal.
func note(i int) *edge.Event {
	return &edge.Event{
		Plain: &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_RESOURCE_READ, Source: "test", Resource: fmt.Sprint(i),
		}}},
		Sealed: []edge.Content{{Path: "content", Value: fmt.Appendf(nil, "record %d of customer-%d@example.com", i, i)}},
	}
}

func record(t *testing.T, e *edge.Emitter, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := e.Record(t.Context(), note(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t *testing.T, e *edge.Emitter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := e.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func shut(t *testing.T, e *edge.Emitter) {
	t.Helper()
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// wantNotes holds what the server has against the numbers that were recorded.
func wantNotes(t *testing.T, server *edgetest.Server, numbers ...int) {
	t.Helper()
	var got []int
	for _, e := range server.Events(instance) {
		var i int
		if _, err := fmt.Sscan(e.GetData().GetResource(), &i); err == nil {
			got = append(got, i)
		}
	}
	if diff := cmp.Diff(numbers, got); diff != "" {
		t.Errorf("events at the server (-want +got):\n%s", diff)
	}
}

func upTo(from, to int) (numbers []int) {
	for i := from; i <= to; i++ {
		numbers = append(numbers, i)
	}
	return numbers
}

func refusal(reason apiv1.RefusalReason, field string) edgetest.Verdict {
	return edgetest.Verdict{Refuse: &apiv1.Refused{Reason: reason, Field: field, Message: "as the test wants"}}
}

func TestEventsArriveSealedInOrder(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	record(t, e, 1, 3000)
	flush(t, e)
	shut(t, e)
	wantNotes(t, server, upTo(1, 3000)...)
	first := server.Events(instance)[0]
	if got, want := server.Opened(first, "content"), "record 1 of customer-1@example.com"; got != want {
		t.Errorf("opening %q, want %q", got, want)
	}
	if first.GetTenant() != edgetest.Tenant || first.GetInstance() != instance || len(first.GetSealed()) != 1 {
		t.Errorf("event %v", first)
	}
	batches := server.Batches(instance)
	last := batches[len(batches)-1].Events
	closed := last[len(last)-1].GetIdentity()
	if batches[0].Events[0].GetIdentity().GetAction() != eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_OPENED ||
		closed.GetAction() != eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED || closed.GetLastSeq() != 3001 {
		t.Errorf("the epoch begins with %v and ends with %v", batches[0].Events[0], closed)
	}
}

func TestWriteAheadReturnsAfterTheReceipt(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance), func(c *edge.Config) { c.MaxBatchAge = time.Hour })
	if _, err := e.WriteAhead(t.Context(), note(1)); err != nil {
		t.Fatal(err)
	}
	wantNotes(t, server, 1)
	server.Judge(func(edgetest.Batch) edgetest.Verdict { return edgetest.Verdict{Hang: true} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.WriteAhead(ctx, note(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	server.Judge(func(edgetest.Batch) edgetest.Verdict { return edgetest.Verdict{} })
	server.Stop()
	server.Start()
	shut(t, e)
	wantNotes(t, server, 1, 2)
}

// TestAnUnreliableServer breaks the connection in every way: each event arrives once, in order.
func TestAnUnreliableServer(t *testing.T) {
	faults := map[string]func(n int) edgetest.Verdict{
		"cut before it is taken": func(n int) edgetest.Verdict { return edgetest.Verdict{Cut: n%2 == 0} },
		"receipt lost":           func(n int) edgetest.Verdict { return edgetest.Verdict{Lose: n%2 == 0} },
		"receipt forged":         func(n int) edgetest.Verdict { return edgetest.Verdict{Forge: n%3 == 0} },
		"hangs":                  func(n int) edgetest.Verdict { return edgetest.Verdict{Hang: n == 2 || n == 5} },
		"pushes back": func(n int) edgetest.Verdict {
			if n%2 == 0 {
				return refusal(apiv1.RefusalReason_REFUSAL_REASON_PUSHBACK, "")
			}
			return edgetest.Verdict{}
		},
		"has no manifest at first": func(n int) edgetest.Verdict {
			if n < 4 {
				return refusal(apiv1.RefusalReason_REFUSAL_REASON_MANIFEST, "")
			}
			return edgetest.Verdict{}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			n := 0
			server.Judge(func(edgetest.Batch) edgetest.Verdict { n++; return fault(n) })
			e, _ := emitter(t, server.Join(t, instance), edge.AnswerWithin(100*time.Millisecond))
			for part := range 6 {
				record(t, e, part*50+1, part*50+50)
				flush(t, e)
			}
			shut(t, e)
			wantNotes(t, server, upTo(1, 300)...)
			if e.Stats().Refused != 0 {
				t.Errorf("%+v", e.Stats())
			}
		})
	}
}

// TestRefusedForGood sets aside the one event that the server names, or the whole batch, and goes on.
func TestRefusedForGood(t *testing.T) {
	bad := func(b edgetest.Batch) int {
		return slices.IndexFunc(b.Events, func(e *eventv1.Event) bool { return e.GetData().GetResource() == "13" })
	}
	tests := map[string]struct {
		field   func(i int) string
		missing int // at least
	}{
		"one event":   {func(i int) string { return fmt.Sprintf("events[%d].data.resource", i) }, 1},
		"whole batch": {func(int) string { return "statement" }, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			server.Judge(func(b edgetest.Batch) edgetest.Verdict {
				if i := bad(b); i >= 0 {
					return refusal(apiv1.RefusalReason_REFUSAL_REASON_INVALID, test.field(i))
				}
				return edgetest.Verdict{}
			})
			dir := server.Join(t, instance)
			e, reported := emitter(t, dir)
			record(t, e, 1, 12)
			flush(t, e)
			record(t, e, 13, 13)
			record(t, e, 14, 40)
			var refused *edge.RefusedError
			if err := e.Flush(t.Context()); !errors.As(err, &refused) || refused.Reason != apiv1.RefusalReason_REFUSAL_REASON_INVALID {
				t.Fatalf("flush: %v", err)
			}
			record(t, e, 41, 45)
			flush(t, e)
			shut(t, e)
			left := int(e.Stats().Refused)
			wantNotes(t, server, append(upTo(1, 12), upTo(13+left, 45)...)...)
			if left < test.missing || (name == "one event" && left != 1) || !reported.contains(refused) {
				t.Errorf("%d set aside, reported %v", left, reported.all)
			}
			if _, err := os.Stat(refused.File); err != nil || !strings.HasPrefix(refused.File, filepath.Join(dir, "refused")) {
				t.Errorf("set aside in %s: %v", refused.File, err)
			}
			if last := server.Batches(instance); last[len(last)-1].Statement.GetEpochNo() != 2 {
				t.Errorf("the last batch is of epoch %d, want 2", last[len(last)-1].Statement.GetEpochNo())
			}
		})
	}
}

func (r *reports) contains(want error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.all, func(err error) bool { return err.Error() == want.Error() })
}

func TestRestarts(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	record(t, e, 1, 10)
	flush(t, e)
	server.Stop()
	record(t, e, 11, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := e.Close(ctx); !errors.Is(err, edge.ErrUndelivered) {
		t.Fatalf("close: %v", err)
	}
	e, _ = emitter(t, dir) // offline
	record(t, e, 21, 30)
	if err := e.Close(ctx); !errors.Is(err, edge.ErrUndelivered) {
		t.Fatalf("close: %v", err)
	}
	server.Start()
	e, reported := emitter(t, dir)
	record(t, e, 31, 40)
	flush(t, e)
	shut(t, e)
	wantNotes(t, server, upTo(1, 40)...)
	checkEpochs(t, server, 3)
	if len(reported.all) > 0 {
		t.Errorf("reported %v", reported.all)
	}
}

// checkEpochs holds every batch to the numbering: epochs count up, name the end of the one before, and have no gap.
func checkEpochs(t *testing.T, server *edgetest.Server, epochs uint64) {
	t.Helper()
	var before *eventv1.BatchStatement
	for _, b := range server.Batches(instance) {
		st := b.Statement
		follows := before != nil && st.GetEpochNo() == before.GetEpochNo() && st.GetFirstSeq() == before.GetFirstSeq()+uint64(before.GetCount())
		begins := st.GetFirstSeq() == 1 && st.GetEpochNo() == before.GetEpochNo()+1 &&
			(before == nil || st.GetPreviousEpoch().GetLastSeq() == before.GetFirstSeq()+uint64(before.GetCount())-1)
		if !follows && !begins {
			t.Errorf("%v does not follow %v", st, before)
		}
		before = st
	}
	if before.GetEpochNo() != epochs {
		t.Errorf("%d epochs, want %d", before.GetEpochNo(), epochs)
	}
}

func TestAServerThatLostWhatItConfirmed(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, reported := emitter(t, dir)
	record(t, e, 1, 10)
	flush(t, e)
	kept := len(server.Batches(instance))
	record(t, e, 11, 20)
	flush(t, e)
	server.Stop()
	server.Forget(instance, kept)
	server.Start()
	record(t, e, 21, 30)
	flush(t, e)
	shut(t, e)
	if !reported.contain("does not hold what it gave receipts for") {
		t.Errorf("reported %v", reported.all)
	}
	wantNotes(t, server, append(upTo(1, 10), upTo(21, 30)...)...)
	if !slices.ContainsFunc(server.Events(instance), func(e *eventv1.Event) bool {
		return e.GetData().GetAction() == eventv1.DataAction_DATA_ACTION_CONTENT_FINDING && e.GetData().GetDetector() == "receipts"
	}) {
		t.Error("the loss is not on the record")
	}
}

// TestAPowerCut takes bytes off the end of the spool, as a disk that never got them would: what the server holds is not
// sent again, and no number is used twice.
func TestAPowerCut(t *testing.T) {
	for _, lost := range []int64{1, 40, 300, 700, 1500, 5000, 1 << 30} {
		t.Run(fmt.Sprint(lost, " bytes"), func(t *testing.T) {
			server := edgetest.New(t)
			dir := server.Join(t, instance)
			e, _ := emitter(t, dir)
			for part := range 4 {
				record(t, e, part*5+1, part*5+5)
				flush(t, e)
			}
			server.Stop()
			record(t, e, 21, 22)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = e.Close(ctx)
			cutNewest(t, dir, lost)
			server.Start()
			e, _ = emitter(t, dir)
			record(t, e, 31, 35)
			flush(t, e)
			shut(t, e)
			checkEpochs(t, server, 2)
			seen := make(map[string]bool)
			for _, ev := range server.Events(instance) {
				if n := ev.GetData().GetResource(); seen[n] {
					t.Errorf("event %s was sent twice", n)
				} else {
					seen[n] = true
				}
			}
			for i := 1; i <= 20; i++ {
				if !seen[fmt.Sprint(i)] {
					t.Errorf("event %d is lost although it had its receipt", i)
				}
			}
		})
	}
}

func cutNewest(t *testing.T, dir string, bytes int64) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "spool", "*", "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	newest := segments[len(segments)-1]
	info, err := os.Stat(newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(newest, max(0, info.Size()-bytes)); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessPerKey(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	_, err := edge.Open(t.Context(), edge.Config{Dir: dir})
	if !errors.Is(err, edge.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	shut(t, e)
	e, _ = emitter(t, dir)
	shut(t, e)
}

func TestTheFirstContactIsAwaited(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := edge.Open(ctx, edge.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "first contact") {
		t.Errorf("got %v", err)
	}
}

func TestAnotherReceiptKeyIsRefused(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	shut(t, e)
	path := filepath.Join(dir, "identity.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const pinned = `"receipt_verifier": "`
	at := strings.Index(string(text), pinned)
	if at < 0 {
		t.Fatalf("nothing is pinned in %s", text)
	}
	other := edgetest.New(t).Join(t, instance)
	f, _ := emitter(t, other)
	shut(t, f)
	foreign, err := os.ReadFile(filepath.Join(other, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	key := string(foreign)[strings.Index(string(foreign), pinned):]
	if err := os.WriteFile(path, []byte(string(text)[:at]+key), 0o600); err != nil {
		t.Fatal(err)
	}
	e, reported := emitter(t, dir, func(c *edge.Config) { c.CloseTimeout = 50 * time.Millisecond })
	record(t, e, 1, 1)
	if err := e.Close(t.Context()); !errors.Is(err, edge.ErrUndelivered) || !reported.contain("is pinned") {
		t.Errorf("close: %v; reported %v", err, reported.all)
	}
	wantNotes(t, server)
}

func TestHeartbeatsWhenIdle(t *testing.T) {
	server := edgetest.New(t)
	server.Heartbeat(20 * time.Millisecond)
	e, _ := emitter(t, server.Join(t, instance))
	record(t, e, 1, 1)
	var beats []*eventv1.Identity
	for len(beats) < 2 {
		flush(t, e)
		time.Sleep(5 * time.Millisecond)
		beats = nil
		for _, b := range server.Batches(instance) {
			for i, ev := range b.Events {
				if x := ev.GetIdentity(); x.GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_HEARTBEAT {
					beats = append(beats, x)
					if want := b.Statement.GetFirstSeq() + uint64(i) - 1; x.GetLastSeq() != want {
						t.Errorf("heartbeat names %d, the number before it is %d", x.GetLastSeq(), want)
					}
				}
			}
		}
	}
	shut(t, e)
}

func TestReceiptsAreKept(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	for i := range 3 {
		record(t, e, i, i)
		flush(t, e)
	}
	shut(t, e)
	text, err := os.ReadFile(filepath.Join(dir, "receipts", "receipts.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(text), "custody/receipt/v1"), len(server.Batches(instance)); got != want {
		t.Errorf("%d receipts for %d batches", got, want)
	}
}

func TestRecordNamesTheField(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	defer shut(t, e)
	tests := map[string]struct {
		change func(*edge.Event)
		field  string
	}{
		"another tenant":    {func(ev *edge.Event) { ev.Plain.Tenant = "other" }, "tenant"},
		"another instance":  {func(ev *edge.Event) { ev.Plain.Instance = "other" }, "instance"},
		"a number":          {func(ev *edge.Event) { ev.Plain.RunSeq = 1 }, "run_seq"},
		"sealed by hand":    {func(ev *edge.Event) { ev.Plain.Sealed = []*eventv1.Sealed{{}} }, "sealed"},
		"a system event":    {func(ev *edge.Event) { ev.Plain.Body = &eventv1.Event_System{System: &eventv1.System{}} }, "system"},
		"no event":          {func(ev *edge.Event) { ev.Plain = nil }, ""},
		"too long":          {func(ev *edge.Event) { ev.Plain.GetData().Source = strings.Repeat("x", event.MaxText+1) }, "data.source"},
		"too much to seal":  {func(ev *edge.Event) { ev.Sealed[0].Value = make([]byte, event.MaxObject+1) }, "sealed[0].value"},
		"sealed twice":      {func(ev *edge.Event) { ev.Sealed = append(ev.Sealed, ev.Sealed[0]) }, "sealed[1].path"},
		"wrong for action":  {func(ev *edge.Event) { ev.Plain.GetData().Score = 1 }, "data.score"},
		"more than a batch": {func(ev *edge.Event) { ev.Sealed = large(20) }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ev := note(1)
			test.change(ev)
			var field *event.FieldError
			if _, err := e.Record(t.Context(), ev); !errors.As(err, &field) || field.Field != test.field {
				t.Errorf("got %v, want the field %q", err, test.field)
			}
		})
	}
	flush(t, e)
	wantNotes(t, server)
}

func large(n int) (all []edge.Content) {
	for i := range n {
		all = append(all, edge.Content{Path: fmt.Sprint(i), Value: make([]byte, event.MaxSealedInline)})
	}
	return all
}

func TestAFullSpool(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	shut(t, e)
	server.Stop()
	small := func(c *edge.Config) {
		c.SpoolMaxBytes, c.FullPolicy, c.CloseTimeout = 8<<20, edge.Error, time.Millisecond
	}
	e, _ = emitter(t, dir, small)
	var err error
	recorded := 0
	for ; err == nil; recorded++ {
		_, err = e.Record(t.Context(), &edge.Event{Plain: note(recorded + 1).Plain, Sealed: large(10)})
	}
	if !errors.Is(err, edge.ErrSpoolFull) {
		t.Fatalf("got %v", err)
	}
	_ = e.Close(t.Context())
	blocking := func(c *edge.Config) { c.SpoolMaxBytes, c.CloseTimeout = 8<<20, 10*time.Second }
	e, _ = emitter(t, dir, blocking)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = e.Record(ctx, &edge.Event{Plain: note(0).Plain, Sealed: large(10)})
	if !errors.Is(err, edge.ErrSpoolFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	server.Start()
	if _, err := e.Record(t.Context(), &edge.Event{Plain: note(recorded).Plain, Sealed: large(10)}); err != nil {
		t.Error(err)
	}
	shut(t, e)
	wantNotes(t, server, upTo(1, recorded)...)
}

func TestSecretsAreScrubbed(t *testing.T) {
	const secret = "AKIAIOSFODNN7EXAMPLE"
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	ev := note(1)
	ev.Plain.GetData().Source = "key " + secret
	ev.Sealed[0].Value = []byte("use " + secret + " please")
	if _, err := e.Record(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	flush(t, e)
	shut(t, e)
	got := server.Events(instance)[0]
	if opened := server.Opened(got, "content"); strings.Contains(opened, secret) || !strings.HasPrefix(opened, "use [secret:") {
		t.Errorf("sealed %q", opened)
	}
	if source := got.GetData().GetSource(); strings.Contains(source, secret) || !strings.HasPrefix(source, "key [secret:") {
		t.Errorf("plain %q", source)
	}
}

// TestACopiedFolder lets two processes use one key. Nothing is lost, and it is noticed.
func TestACopiedFolder(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	one, reported := emitter(t, dir)
	record(t, one, 1, 5)
	flush(t, one)
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(other, "key.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	two, _ := emitter(t, other)
	record(t, two, 6, 10)
	flush(t, two)
	server.Stop()
	server.Start()
	record(t, one, 11, 15)
	flush(t, one)
	shut(t, one)
	shut(t, two)
	wantNotes(t, server, upTo(1, 15)...)
	if !reported.contain("is not the one that the server holds") {
		t.Errorf("reported %v", reported.all)
	}
}

// TestOneRunInManyGoroutines: the numbers within a run have the order in which its events arrive.
func TestOneRunInManyGoroutines(t *testing.T) {
	const goroutines, each = 8, 100
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, run := e.Run(t.Context(), edge.RunOptions{ID: "run-1"})
	var wait sync.WaitGroup
	for range goroutines {
		wait.Go(func() {
			for i := range each {
				if _, err := e.Record(ctx, note(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if err := run.End(edge.OK); err != nil {
		t.Error(err)
	}
	shut(t, e)
	events := server.Events(instance)
	for i, ev := range events {
		if ev.GetRunSeq() != uint64(i+1) {
			t.Fatalf("event %d has run_seq %d", i+1, ev.GetRunSeq())
		}
	}
	if last := events[len(events)-1].GetIdentity(); len(events) != goroutines*each+2 || last.GetLastRunSeq() != uint64(len(events)) {
		t.Errorf("%d events, the last says %d", len(events), last.GetLastRunSeq())
	}
}
