package node_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// lines reads a verification to its end: the problems and the sum.
func lines[M interface {
	GetProblem() *apiv1.Problem
	GetDone() bool
}](t *testing.T, recv func() (M, error)) (problems []*apiv1.Problem, sum M) {
	t.Helper()
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return problems, sum
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := m.GetProblem(); p != nil {
			problems = append(problems, p)
		}
		if sum = m; !m.GetDone() {
			continue
		}
	}
}

func check(t *testing.T, env *testenv.Env) ([]*apiv1.Problem, *apiv1.CheckResponse) {
	t.Helper()
	stream, err := apiv1.NewLedgerServiceClient(env.Admin()).Check(t.Context(), &apiv1.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return lines(t, stream.Recv)
}

func rebuild(t *testing.T, env *testenv.Env, check bool) ([]*apiv1.Problem, *apiv1.RebuildResponse) {
	t.Helper()
	stream, err := apiv1.NewLedgerServiceClient(env.Admin()).Rebuild(t.Context(), &apiv1.RebuildRequest{Check: check})
	if err != nil {
		t.Fatal(err)
	}
	return lines(t, stream.Recv)
}

func TestCheckFindsWhatWasChanged(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	env.WaitCommitted()
	if problems, sum := check(t, env); len(problems) != 0 || !sum.GetDone() || sum.GetEvents() == 0 {
		t.Fatalf("a sound store has %v, %v", problems, sum)
	}
	if problems, sum := rebuild(t, env, true); len(problems) != 0 || !sum.GetDone() || sum.GetMessages() == 0 {
		t.Fatalf("a sound stream has %v, %v", problems, sum)
	}
	store := env.Node().Store()
	change := "ALTER TABLE " + store.Database() + ".events UPDATE action = 'system.access' WHERE tenant = 'acme' AND idx = 3 SETTINGS mutations_sync = 1"
	if err := store.Conn().Exec(context.Background(), change); err != nil {
		t.Fatal(err)
	}
	problems, sum := check(t, env)
	if len(problems) == 0 || sum.GetProblems() == 0 || problems[0].GetTenant() != "acme" || problems[0].GetColumn() != "action" {
		t.Errorf("the change was not found: %v, %v", problems, sum)
	}
}

// TestRebuildOfALostStore loses the store: the next start says so, and a rebuild gives the same log.
func TestRebuildOfALostStore(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	env.WaitCommitted()
	before, _ := env.Node().Ledger().Head("acme")
	env.Stop()
	if err := os.RemoveAll(filepath.Join(env.DataDir(), "store")); err != nil {
		t.Fatal(err)
	}
	env.Start()
	got, err := apiv1.NewLedgerServiceClient(env.Admin()).Status(t.Context(), &apiv1.StatusRequest{})
	if err != nil || got.GetLedgerError() == "" {
		t.Fatalf("status of a node with an empty store: %v, %v", got, err)
	}
	if problems, sum := rebuild(t, env, false); len(problems) != 0 || !sum.GetDone() {
		t.Fatalf("rebuild: %v, %v", problems, sum)
	}
	env.WaitCommitted()
	if after, _ := env.Node().Ledger().Head("acme"); after.Size < before.Size || after.Root == [32]byte{} {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if problems, _ := check(t, env); len(problems) != 0 {
		t.Errorf("the rebuilt store has %v", problems)
	}
	env.CreateInstance("acme", "support-2")
	env.WaitCommitted()
}

// TestWhatHasExpiredStaysExpired: the stream has the content still, and a rebuilt store has it no more.
func TestWhatHasExpiredStaysExpired(t *testing.T) {
	var later atomic.Int64 // of the clock
	env := testenv.New(t, func(c *node.Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) } })
	afterTheFloor := func(do func()) {
		later.Store(int64(store.MinRetention + 24*time.Hour))
		defer later.Store(0)
		do()
	}
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	env.WaitCommitted()
	afterTheFloor(func() {
		_, err := apiv1.NewRetentionServiceClient(env.Admin()).Expire(t.Context(), &apiv1.ExpireRequest{Tenant: "acme", Before: time.Now().Add(time.Hour).UnixNano(), Reason: "policy"})
		if err != nil {
			t.Fatal(err)
		}
	})
	expired := func() uint64 {
		all, err := env.Node().Store().Expired(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all["acme"]
	}
	before := expired()
	env.WaitCommitted()
	env.Stop()
	if err := os.RemoveAll(filepath.Join(env.DataDir(), "store")); err != nil {
		t.Fatal(err)
	}
	env.Start()
	afterTheFloor(func() { rebuild(t, env, false) })
	if after := expired(); before == 0 || after < before {
		t.Errorf("content is kept from leaf %d on, before the rebuild from %d on", after, before)
	}
	if problems, _ := check(t, env); len(problems) != 0 {
		t.Errorf("the rebuilt store has %v", problems)
	}
}

func TestRebuildIsRefusedOverData(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.WaitCommitted()
	stream, err := apiv1.NewLedgerServiceClient(env.Admin()).Rebuild(t.Context(), &apiv1.RebuildRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("got %v", err)
	}
	env.CreateTenant("beta") // the ledger runs again
	env.WaitCommitted()
}

// TestCheckOfOneTenant reports that tenant's problems alone.
func TestCheckOfOneTenant(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateTenant("zeta")
	dana := env.Person("zeta", "dana", eventv1.Role_ROLE_AUDITOR)
	env.WaitCommitted()
	store := env.Node().Store()
	change := "ALTER TABLE " + store.Database() + ".events UPDATE action = 'x' WHERE tenant = 'acme' AND idx = 3 SETTINGS mutations_sync = 1"
	if err := store.Conn().Exec(context.Background(), change); err != nil {
		t.Fatal(err)
	}
	stream, err := apiv1.NewLedgerServiceClient(dana).Check(t.Context(), &apiv1.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	own, _ := env.Node().Ledger().Head("zeta")
	problems, sum := lines(t, stream.Recv)
	if len(problems) != 0 || sum.GetProblems() != 0 || sum.GetTotal() != own.Size || sum.GetEvents() != own.Size || sum.GetTenants() != 1 {
		t.Errorf("zeta's auditor learns of acme: %v, %v", problems, sum)
	}
}
