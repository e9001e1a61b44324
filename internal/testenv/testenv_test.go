package testenv_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"go.uber.org/goleak"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAnAgentThroughStopsAndKills: an agent works while the system stops, is killed and comes back. Every
// event is there once, and a check of everything finds nothing.
func TestAnAgentThroughStopsAndKills(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	emitter, err := edge.Open(t.Context(), edge.Config{Dir: env.Enrol("acme", "support-1").Dir, MaxBackoff: 100_000_000})
	if err != nil {
		t.Fatal(err)
	}
	work := func(from, to int) {
		for i := from; i < to; i++ {
			ctx, run := emitter.Run(t.Context(), edge.RunOptions{Principal: "user-1", Goal: "answer the ticket"})
			edge.Input(ctx, "chat", fmt.Sprintf("question %d from bob@example.com", i), edge.Untrusted)
			if err := run.End(edge.OK); err != nil {
				t.Error(err)
			}
		}
	}
	work(0, 30)
	for i, interrupt := range []func(){env.Stop, env.Kill, env.Stop} {
		interrupt()
		work(30+20*i, 40+20*i)
		env.Start()
		work(40+20*i, 50+20*i)
	}
	if err := emitter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.WaitCommitted()
	if n := inputs(t, env); n != 90 {
		t.Errorf("%d inputs are in the log, want 90", n)
	}
	if sum := check(t, env); sum.GetProblems() != 0 || sum.GetEvents() < 270 {
		t.Errorf("check: %v", sum)
	}
}

// inputs counts the inputs that an analyst finds.
func inputs(t *testing.T, env *testenv.Env) (n int) {
	t.Helper()
	conn := env.Person("acme", "dana", eventv1.Role_ROLE_ANALYST)
	stream, err := apiv1.NewQueryServiceClient(conn).Search(t.Context(), &apiv1.SearchRequest{
		Tenant: "acme", Kind: "data", Action: "input_received", Limit: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page.GetRows() {
			if row.GetVerdict() != "accepted" {
				t.Errorf("leaf %d is %s", row.GetIndex(), row.GetVerdict())
			}
			n++
		}
	}
}

func check(t *testing.T, env *testenv.Env) (sum *apiv1.CheckResponse) {
	t.Helper()
	stream, err := apiv1.NewLedgerServiceClient(env.Admin()).Check(t.Context(), &apiv1.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return sum
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := m.GetProblem(); p != nil {
			t.Errorf("problem: %v", p)
		}
		sum = m
	}
}

// TestRevokedInTheMiddle: what was taken before the revocation stays accepted; what the agent still has is
// refused, and the refusal is a leaf.
func TestRevokedInTheMiddle(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	joined := env.Enrol("acme", "support-1")
	refused := make(chan error, 16)
	emitter, err := edge.Open(t.Context(), edge.Config{Dir: joined.Dir, CloseTimeout: 1, OnError: func(err error) {
		select {
		case refused <- err:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = emitter.Close(t.Context()) }() // what is refused stays in the spool
	record := func() {
		ctx, run := emitter.Run(t.Context(), edge.RunOptions{})
		edge.Input(ctx, "chat", "hello", edge.Trusted)
		_ = run.End(edge.OK)
	}
	record()
	if err := emitter.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = apiv1.NewAdminServiceClient(env.Admin()).RevokeKey(t.Context(), &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: joined.KeyID[:], Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	record()
	if err := <-refused; err == nil {
		t.Error("not refused")
	}
	env.WaitCommitted()
	keys, err := apiv1.NewAdminServiceClient(env.Admin()).ListKeys(t.Context(), &apiv1.ListKeysRequest{Tenant: "acme"})
	if err != nil || len(keys.GetKeys()) != 1 || !keys.GetKeys()[0].GetRevoked() || keys.GetKeys()[0].GetValidTo() <= keys.GetKeys()[0].GetValidFrom() {
		t.Errorf("keys are %v, %v", keys, err)
	}
	if n := inputs(t, env); n != 1 {
		t.Errorf("%d inputs are in the log", n)
	}
}
