package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/ingest"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// diary is a system with one agent that records what people said.
type diary struct {
	*testenv.Env
	t       *testing.T
	emitter *edge.Emitter
}

func newDiary(t *testing.T, options ...testenv.Option) *diary {
	t.Helper()
	d := &diary{Env: testenv.New(t, options...), t: t}
	d.CreateTenant("acme")
	d.CreateInstance("acme", "support-1")
	d.emitter = d.open("support-1")
	return d
}

func (d *diary) open(instance string) *edge.Emitter {
	d.t.Helper()
	emitter, err := edge.Open(d.t.Context(), edge.Config{
		Dir: d.Enrol("acme", instance).Dir, MaxBatchAge: time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = emitter.Close(context.Background()) })
	return emitter
}

// said is content about a person, in a run of its own.
func (d *diary) said(emitter *edge.Emitter, subject, what string) {
	d.t.Helper()
	d.saidIn("", emitter, subject, what)
}

func (d *diary) saidIn(run string, emitter *edge.Emitter, subject, what string) {
	d.t.Helper()
	ctx, task := emitter.Run(d.t.Context(), edge.RunOptions{ID: run, Principal: subject})
	edge.Input(ctx, "chat", what, edge.Untrusted, edge.Details{Subject: subject})
	if err := task.End(edge.OK); err != nil {
		d.t.Error(err)
	}
}

func (d *diary) flush() {
	d.t.Helper()
	if err := d.emitter.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	d.WaitCommitted()
}

func (d *diary) keeper() apiv1.RetentionServiceClient {
	return apiv1.NewRetentionServiceClient(d.Admin())
}

func (d *diary) erase(subject string) (*apiv1.EraseResponse, error) {
	return d.keeper().Erase(d.t.Context(), &apiv1.EraseRequest{Tenant: "acme", Subject: subject, Reason: "request of 4 May"})
}

func (d *diary) mustErase(subject string) *apiv1.EraseResponse {
	d.t.Helper()
	got, err := d.erase(subject)
	if err != nil || got.Index == nil {
		d.t.Fatalf("erase %s: %v, %v", subject, got, err)
	}
	return got
}

// read is what an analyst can open, and how many fields are in each state.
func (d *diary) read() (text string, states map[string]int) {
	d.t.Helper()
	stream, err := apiv1.NewQueryServiceClient(d.Admin()).Search(d.t.Context(), &apiv1.SearchRequest{Tenant: "acme", Action: "input_received", Open: true, Limit: 10_000})
	states = map[string]int{}
	for err == nil {
		var page *apiv1.SearchResponse
		page, err = stream.Recv()
		for _, row := range page.GetRows() {
			for _, o := range row.GetOpened() {
				states[o.GetState()]++
				text += string(o.GetValue()) + "\n"
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		d.t.Fatal(err)
	}
	return text, states
}

// verdict exports the tenant's log and verifies it with the policy.
func (d *diary) verdict() evidence.Verdict {
	d.t.Helper()
	client := apiv1.NewEvidenceServiceClient(d.Admin())
	exported, err := client.ExportPolicy(d.t.Context(), &apiv1.ExportPolicyRequest{Tenant: "acme"})
	if err != nil {
		d.t.Fatal(err)
	}
	policy, err := evidence.ParsePolicy(exported.GetPolicy())
	if err != nil {
		d.t.Fatal(err)
	}
	bundle := d.bundle(client)
	v, err := evidence.Verify(d.t.Context(), bundle, bundle.Size(), policy, evidence.VerifyOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range v.Checks {
		if c.Failures > 0 {
			d.t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
	return v
}

func (d *diary) bundle(client apiv1.EvidenceServiceClient) *bytes.Reader {
	d.t.Helper()
	stream, err := client.Export(d.t.Context(), &apiv1.ExportRequest{Tenant: "acme"})
	var bundle []byte
	for err == nil {
		var m *apiv1.ExportResponse
		m, err = stream.Recv()
		bundle = append(bundle, m.GetChunk()...)
	}
	if !errors.Is(err, io.EOF) {
		d.t.Fatal(err)
	}
	return bytes.NewReader(bundle)
}

// sound checks everything: the store against the events, and the store against the stream.
func (d *diary) sound() {
	d.t.Helper()
	d.WaitCommitted()
	if problems, _ := check(d.t, d.Env); len(problems) > 0 {
		d.t.Errorf("check: %v", problems)
	}
	if problems, _ := rebuild(d.t, d.Env, true); len(problems) > 0 {
		d.t.Errorf("rebuild --check: %v", problems)
	}
}

// TestErasedIsGoneEverywhere: nothing about the subject can be opened, in the store, in the stream, or in a backup of
// both; everything verifies, and what comes later is kept.
func TestErasedIsGoneEverywhere(t *testing.T) {
	d := newDiary(t)
	d.said(d.emitter, "alice", "her secret")
	d.said(d.emitter, "bob", "his secret")
	d.flush()
	d.Stop()
	backup := t.TempDir()
	for _, part := range []string{"stream", "store"} {
		copyFolder(t, filepath.Join(d.DataDir(), part), filepath.Join(backup, part))
	}
	d.Start()
	if text, _ := d.read(); !strings.Contains(text, "her secret") {
		t.Fatalf("before the erasure: %q", text)
	}
	index := d.mustErase("alice").GetIndex()
	text, states := d.read()
	if strings.Contains(text, "her secret") || !cmp.Equal(map[string]int{"disclosed": 1, "erased": 1}, states) {
		t.Errorf("after the erasure: %q, %v", text, states)
	}
	d.said(d.emitter, "alice", "what she said later")
	d.flush()
	d.sound()
	v := d.verdict()
	if v.Records.FieldsErased != 1 || v.Records.FieldsDisclosed != 2 || v.Integrity != evidence.Intact || v.Authenticity != evidence.Authentic {
		t.Errorf("%+v, %s, %s; tombstone @%d", v.Records, v.Integrity, v.Authenticity, index)
	}
	d.Stop()
	copyFolder(t, filepath.Join(d.DataDir(), "keys"), filepath.Join(backup, "keys"))
	copyFolder(t, filepath.Join(d.DataDir(), "people"), filepath.Join(backup, "people"))
	restored := &diary{Env: testenv.New(t, func(c *node.Config) { c.DataDir = backup }), t: t}
	text, states = restored.read()
	if strings.Contains(text, "her secret") || !strings.Contains(text, "his secret") || states["disclosed"] != 1 {
		t.Errorf("in a backup of stream and store: %q, %v", text, states)
	}
}

// TestOldKeysAreDestroyedAgain: keys restored from an old copy are destroyed when the server starts, because the log says so.
func TestOldKeysAreDestroyedAgain(t *testing.T) {
	d := newDiary(t)
	d.said(d.emitter, "alice", "her secret")
	d.flush()
	d.Stop()
	vault, old := filepath.Join(d.DataDir(), "keys", "vault"), t.TempDir()
	copyFolder(t, vault, filepath.Join(old, "vault"))
	d.Start()
	d.mustErase("alice")
	d.Stop()
	copyFolder(t, filepath.Join(old, "vault"), vault)
	d.Start()
	if text, states := d.read(); strings.Contains(text, "secret") || states["erased"] != 1 {
		t.Errorf("%q, %v", text, states)
	}
	if _, err := d.erase("alice"); status.Code(err) != codes.NotFound {
		t.Errorf("there is a key again: %v", err)
	}
	d.said(d.emitter, "alice", "a new secret")
	d.flush()
	if text, _ := d.read(); !strings.Contains(text, "a new secret") {
		t.Errorf("new content cannot be opened: %q", text)
	}
	d.sound()
}

// stuckKeys never destroy a key.
type stuckKeys struct{ ingest.Keys }

func (stuckKeys) DestroyThrough(string, string, uint32) error { return errors.New("the disk is full") }

// TestKilledBetweenTombstoneAndKey: from the tombstone on nothing is opened; the next start destroys the key.
func TestKilledBetweenTombstoneAndKey(t *testing.T) {
	stuck := true
	d := newDiary(t, func(c *node.Config) {
		c.TuneRetention = func(r *ingest.RetentionConfig) {
			if stuck {
				r.Keys = stuckKeys{r.Keys}
			}
		}
	})
	d.said(d.emitter, "alice", "her secret")
	d.flush()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := d.keeper().Erase(ctx, &apiv1.EraseRequest{Tenant: "acme", Subject: "alice", Reason: "r"}); err == nil {
		t.Fatal("erased with a stuck disk")
	}
	d.WaitCommitted()
	if text, states := d.read(); strings.Contains(text, "her secret") || states["erased"] != 1 {
		t.Errorf("behind the tombstone: %q, %v", text, states)
	}
	if v := d.verdict(); v.Records.FieldsErased != 1 || v.Records.FieldsDisclosed != 0 {
		t.Errorf("%+v", v.Records)
	}
	d.Kill()
	stuck = false
	d.Start()
	if _, err := d.erase("alice"); err != nil && status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	if text, states := d.read(); strings.Contains(text, "her secret") || states["erased"] != 1 {
		t.Errorf("after the next start: %q, %v", text, states)
	}
	d.sound()
}

// TestHoldOnWhatHasContent: a hold on an instance or a run refuses the erasure of whoever has content there, and of nobody
// else.
func TestHoldOnWhatHasContent(t *testing.T) {
	d := newDiary(t)
	d.CreateInstance("acme", "billing-1")
	billing := d.open("billing-1")
	d.saidIn("run-1", d.emitter, "alice", "her order")
	d.said(billing, "bob", "his bill")
	if err := billing.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.flush()
	for _, test := range []struct{ scope, subject, want string }{
		{"instance/billing-1", "bob", "instance/billing-1"},
		{"instance/support-1", "bob", ""},
		{"instance/support-1", "alice", "instance/support-1"},
		{"run/run-1", "alice", "run/run-1"},
		{"run/run-2", "alice", ""},
	} {
		placed, err := d.keeper().PlaceHold(t.Context(), &apiv1.PlaceHoldRequest{Tenant: "acme", Scope: test.scope, Reason: "case 12"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.erase(test.subject)
		if held := status.Code(err) == codes.FailedPrecondition; held != (test.want != "") || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s under a hold on %s: %v", test.subject, test.scope, err)
		}
		_, err = d.keeper().LiftHold(t.Context(), &apiv1.LiftHoldRequest{Tenant: "acme", Hold: placed.GetHold(), Reason: "closed"})
		if err != nil {
			t.Error(err)
		}
	}
	d.sound()
}

// TestErasureUnderLoad erases a subject again and again while agents record about it. No content under a generation that
// is gone stands behind its tombstone, and the rest can be opened.
func TestErasureUnderLoad(t *testing.T) {
	const rounds = 60
	d := newDiary(t)
	emitters := []*edge.Emitter{d.emitter, d.open("support-1")}
	for _, emitter := range emitters {
		d.said(emitter, "alice", "the first order")
	}
	d.flush()
	done := make(chan struct{})
	var agents sync.WaitGroup
	for _, emitter := range emitters {
		agents.Go(func() {
			for i := range rounds {
				d.said(emitter, []string{"alice", "bob"}[i%2], fmt.Sprintf("order %d", i))
			}
			if err := emitter.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	go func() { agents.Wait(); close(done) }()
	d.eraseUntil(done)
	d.said(d.emitter, "alice", "the last order")
	d.flush()
	d.sound()
	d.balance()
}

// eraseUntil erases alice until done is closed, and once more.
func (d *diary) eraseUntil(done <-chan struct{}) {
	d.t.Helper()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		if _, err := d.erase("alice"); err != nil {
			d.t.Fatal(err)
		}
	}
}

// balance holds what the store has about alice to the tombstones, and the bundle to both.
func (d *diary) balance() {
	d.t.Helper()
	state, err := d.Node().Ledger().Registry(d.t.Context(), "acme")
	if err != nil {
		d.t.Fatal(err)
	}
	stone := state.Erasure("alice")
	var erased, kept uint64
	for m, err := range d.Node().Store().Messages(d.t.Context(), "acme", 0) {
		if err != nil {
			d.t.Fatal(err)
		}
		for _, o := range m.Batch.GetOpenings() {
			switch index := m.FirstIndex + uint64(o.GetPosition()); {
			case o.GetSubject() != "alice" || o.GetGeneration() > stone.Generation:
				kept++
			case index > stone.Since:
				d.t.Errorf("leaf %d, generation %d, stands behind the tombstone @%d of generation %d", index, o.GetGeneration(), stone.Since, stone.Generation)
			default:
				erased++
			}
		}
	}
	v := d.verdict()
	if v.Records.FieldsErased != erased || v.Records.FieldsDisclosed != kept || erased == 0 || kept == 0 {
		d.t.Errorf("the store has %d erased and %d others: %+v", erased, kept, v.Records)
	}
}

// copyFolder replaces a folder by a copy of another, readable by the owner alone.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	source := os.DirFS(from)
	err := fs.WalkDir(source, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o700)
		case !d.Type().IsRegular(): // the engine's links to its own folders, which it makes again
			return nil
		}
		b, err := fs.ReadFile(source, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
