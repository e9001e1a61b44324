package live_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rulesFile is what the tests run beside the rules that come with Custody: one that pauses, one that quarantines.
const rulesFile = `rules:
- {rule: test-bad-word, version: 1, description: a bad word in a proposal, severity: high, on: [execution.proposed], when: tool == "bad_tool", action: pause}
- {rule: test-worse-word, version: 1, description: a worse word, severity: critical, on: [execution.proposed], when: tool == "worse_tool", action: quarantine}
- {rule: test-any-start, version: 1, description: any start, severity: low, on: [execution.started], when: tool == "some_tool", action: restrict, reach: instance}
`

// judgeWait is the longest that a gate waits for the rules: what a rule stops in time is not a question of how fast the test's machine is.
const judgeWait = 5 * time.Second

// site is a running system with a tenant, and the test's rules.
type site struct {
	*testenv.Env
	t    *testing.T
	dana *grpc.ClientConn
}

func newSite(t *testing.T, options ...testenv.Option) *site {
	t.Helper()
	write := func(c *node.Config) {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		c.TuneContainment = func(b *contain.Config) { b.JudgeWait = judgeWait }
		if err := os.WriteFile(filepath.Join(c.DataDir, "rules.yaml"), []byte(rulesFile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := testenv.New(t, append([]testenv.Option{write}, options...)...)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	return &site{Env: env, t: t, dana: env.Person("acme", "dana", eventv1.Role_ROLE_RESPONDER)}
}

func (s *site) promote(rule, mode string) {
	s.t.Helper()
	_, err := apiv1.NewFiringServiceClient(s.dana).SetRuleMode(s.t.Context(), &apiv1.SetRuleModeRequest{Tenant: "acme", Rule: rule, Mode: mode, Reason: "tested"})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) firings(rule string) []*apiv1.FiringInfo {
	s.t.Helper()
	r, err := apiv1.NewFiringServiceClient(s.dana).ListFirings(s.t.Context(), &apiv1.ListFiringsRequest{Tenant: "acme", All: true, Rule: rule})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.GetFirings()
}

// waiting is what the list of instances says of the firings of the only one.
func (s *site) waiting() string {
	s.t.Helper()
	s.WaitCommitted() // instances are listed as the ledger has them
	r, err := apiv1.NewQueryServiceClient(s.Admin()).ListInstances(s.t.Context(), &apiv1.ListInstancesRequest{Tenant: "acme"})
	if err != nil || len(r.GetInstances()) != 1 || r.GetInstances()[0].GetUnwatched() {
		s.t.Fatalf("instances %v, %v", r, err)
	}
	return fmt.Sprintf("%d %s", r.GetInstances()[0].GetFirings(), r.GetInstances()[0].GetSeverity())
}

func (s *site) contained() []*apiv1.ContainmentInfo {
	s.t.Helper()
	r, err := apiv1.NewContainmentServiceClient(s.dana).ListContained(s.t.Context(), &apiv1.ListContainedRequest{Tenant: "acme", All: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.GetContainments()
}

// agent is an emitter with one run.
type agent struct {
	*edge.Emitter
	ctx context.Context
	ran atomic.Int64
}

func (s *site) agent(instance, run string) *agent {
	s.t.Helper()
	e, err := edge.Open(s.t.Context(), edge.Config{Dir: s.Enrol("acme", instance).Dir, CloseTimeout: time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	a := &agent{Emitter: e}
	a.ctx, _ = e.Run(s.t.Context(), edge.RunOptions{ID: run})
	s.t.Cleanup(func() { _ = e.Close(context.Background()) })
	return a
}

// call makes one call of a tool of a consequence, and counts what was really done.
func (a *agent) call(tool string, c edge.Consequence) error {
	_, err := edge.Call(a.ctx, tool, map[string]string{"to": "somebody"}, func(context.Context) (string, error) {
		a.ran.Add(1)
		return "done", nil
	}, edge.CallOptions{Consequence: c})
	return err
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestALiveRuleStopsTheCallThatItFiresOn: in shadow the same call goes through; live, its own act does not begin, nothing of the run does any
// more, and other runs go on.
func TestALiveRuleStopsTheCallThatItFiresOn(t *testing.T) {
	s := newSite(t)
	a := s.agent("support-1", "run-1")
	if err := a.call("bad_tool", edge.High); err != nil {
		t.Fatalf("in shadow: %v", err)
	}
	if got := s.firings("test-bad-word"); len(got) != 1 || got[0].GetSilent() != "shadow" || got[0].GetTarget() != "" {
		t.Fatalf("in shadow: %v", got)
	}
	s.promote("test-bad-word", "live")
	before := a.ran.Load()
	if err := a.call("bad_tool", edge.High); !errors.Is(err, edge.ErrContained) {
		t.Fatalf("live: %v", err)
	}
	if a.ran.Load() != before {
		t.Error("the act was done")
	}
	if err := a.call("good_tool", edge.Low); !errors.Is(err, edge.ErrContained) {
		t.Errorf("the run goes on: %v", err)
	}
	other := s.agent("support-1", "run-2")
	if err := other.call("good_tool", edge.High); err != nil {
		t.Errorf("another run: %v", err)
	}
	got := s.firings("test-bad-word")
	if len(got) != 2 || got[0].GetTarget() != "run/acme/run-1" || got[0].GetContainment() == "" || got[0].GetNeedsPerson() != "" {
		t.Fatalf("firings %v", got)
	}
	contained := s.contained()
	if len(contained) != 1 || contained[0].GetId() != got[0].GetContainment() || contained[0].GetActor() != "" || contained[0].GetLevel() != "pause" {
		t.Errorf("contained %v", contained)
	}
}

// TestAQuarantineIsProposed: the instance is paused at once, and a person confirms the quarantine.
func TestAQuarantineIsProposed(t *testing.T) {
	s := newSite(t)
	s.promote("test-worse-word", "live")
	a := s.agent("support-1", "run-1")
	if err := a.call("worse_tool", edge.High); !errors.Is(err, edge.ErrContained) {
		t.Fatalf("got %v", err)
	}
	levels := map[string]string{}
	for _, c := range s.contained() {
		levels[c.GetLevel()] = c.GetState()
	}
	if levels["pause"] != "in force" || levels["quarantine"] != "proposed" {
		t.Fatalf("got %v", levels)
	}
	if _, err := apiv1.NewContainmentServiceClient(s.dana).Contain(t.Context(), &apiv1.ContainRequest{
		Tenant: "acme", Target: "instance/acme/support-1", Level: "quarantine", Reason: "confirmed",
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.contained() {
		if c.GetLevel() == "quarantine" && (c.GetState() != "in force" || c.GetSecond() != "dana") {
			t.Errorf("got %v", c)
		}
	}
}

// TestWhatPeopleMakeOfAFiring: acknowledged and false positive are leaves of the log, and a false one that fires again stops nothing.
func TestWhatPeopleMakeOfAFiring(t *testing.T) {
	s := newSite(t)
	s.promote("test-bad-word", "live")
	a := s.agent("support-1", "run-1")
	_ = a.call("bad_tool", edge.High)
	firing := s.firings("test-bad-word")[0]
	if got := s.waiting(); got != "1 high" {
		t.Errorf("instances wait with %q", got)
	}
	client := apiv1.NewFiringServiceClient(s.dana)
	for _, state := range []string{"acknowledged", "false_positive"} {
		r, err := client.ChangeFiring(t.Context(), &apiv1.ChangeFiringRequest{Tenant: "acme", Firing: firing.GetId(), State: state, Reason: "looked"})
		if err != nil || r.GetFiring().GetState() != state || r.GetFiring().GetActor() != "dana" {
			t.Fatalf("%s: %v, %v", state, r, err)
		}
	}
	if _, err := apiv1.NewContainmentServiceClient(s.dana).Release(t.Context(), &apiv1.ReleaseRequest{Tenant: "acme", Target: "run/acme/run-1", Reason: "false"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the run works again", func() bool { return a.call("bad_tool", edge.High) == nil })
	if got := s.firings("test-bad-word"); len(got) != 1 || got[0].GetRepeats() == 0 {
		t.Errorf("got %v", got)
	}
	if got := s.waiting(); got != "0 " {
		t.Errorf("instances wait with %q, and somebody has looked", got)
	}
	if open, err := client.ListFirings(t.Context(), &apiv1.ListFiringsRequest{}); err != nil || len(open.GetFirings()) != 0 {
		t.Errorf("open: %v, %v", open, err)
	}
}

// TestRefusedWords: what a person says of rules and firings is held to what there is.
func TestRefusedWords(t *testing.T) {
	s := newSite(t)
	client := apiv1.NewFiringServiceClient(s.dana)
	for name, call := range map[string]func() error{
		"no such rule": func() error {
			_, err := client.SetRuleMode(t.Context(), &apiv1.SetRuleModeRequest{Tenant: "acme", Rule: "nope", Mode: "live"})
			return err
		},
		"no such mode": func() error {
			_, err := client.SetRuleMode(t.Context(), &apiv1.SetRuleModeRequest{Tenant: "acme", Rule: "test-bad-word", Mode: "loud"})
			return err
		},
		"no such firing": func() error {
			_, err := client.GetFiring(t.Context(), &apiv1.GetFiringRequest{Tenant: "acme", Firing: "00000000-0000-8000-8000-000000000001"})
			return err
		},
		"no id": func() error {
			_, err := client.GetFiring(t.Context(), &apiv1.GetFiringRequest{Tenant: "acme", Firing: "\x1b[2J"})
			return err
		},
		"a secret": func() error {
			_, err := client.SetRuleMode(t.Context(), &apiv1.SetRuleModeRequest{
				Tenant: "acme", Rule: "test-bad-word", Mode: "live", Reason: "key AKIA" + "IOSFODNN7EXAMPLQ",
			})
			return err
		},
	} {
		if call() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestKilledBetweenFiringAndAction: whatever moment the engine is ended at, after the next start the containment is there, once.
func TestKilledBetweenFiringAndAction(t *testing.T) {
	for _, point := range []live.Point{live.PointFired, live.PointAsked} {
		t.Run(string(point), func(t *testing.T) {
			var killed atomic.Bool
			s := newSite(t, func(c *node.Config) {
				c.TuneRules = func(cfg *live.Config) {
					cfg.Hook = func(p live.Point) error {
						if p == point && !killed.Swap(true) {
							return fmt.Errorf("killed at %s", p)
						}
						return nil
					}
				}
			})
			s.promote("test-bad-word", "live")
			a := s.agent("support-1", "run-1")
			_ = a.call("bad_tool", edge.Low)
			if err := a.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is killed", killed.Load)
			for range 2 {
				s.Kill()
				s.Start()
				s.dana = s.Dial("dana")
				eventually(t, "it is contained", func() bool { return len(s.contained()) == 1 })
			}
			if got := s.firings("test-bad-word"); len(got) != 1 || s.contained()[0].GetId() != got[0].GetContainment() {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestImportedHistoryStopsNothing: what an importer brings in fires and asks for nothing.
func TestImportedHistoryStopsNothing(t *testing.T) {
	s := newSite(t)
	s.promote("test-bad-word", "live")
	dir := s.EnrolFor("acme", "support-1", eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER).Dir
	e, err := edge.Open(t.Context(), edge.Config{Dir: dir, CloseTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	a := &agent{Emitter: e}
	a.ctx, _ = e.Run(t.Context(), edge.RunOptions{ID: "run-1"})
	_ = a.call("bad_tool", edge.Low)
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it fires", func() bool { return len(s.firings("test-bad-word")) == 1 })
	if got := s.firings("test-bad-word"); got[0].GetSilent() != "imported" || len(s.contained()) != 0 {
		t.Errorf("got %v, contained %v", got, s.contained())
	}
}
