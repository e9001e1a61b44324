package contain_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/edge"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The environment of a liar.
const (
	liarFolder = "CUSTODY_TEST_LIAR_FOLDER"
	liarTool   = "CUSTODY_TEST_LIAR_TOOL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(liarFolder); dir != "" {
		lie(dir, os.Getenv(liarTool))
		return
	}
	os.Exit(m.Run())
}

// lie is an agent in a process of its own. It has a gate that acknowledges, and calls its tool beside the gate until it is killed.
// A line on its standard input makes the gate fall silent.
func lie(dir, tool string) {
	ctx := context.Background()
	e, err := edge.Open(ctx, edge.Config{Dir: dir, CloseTimeout: time.Second})
	if err != nil {
		panic(err)
	}
	e.Run(ctx, edge.RunOptions{})
	go func() {
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err == nil {
			_ = e.Close(ctx)
		}
	}()
	for {
		response, err := http.Post(tool, "application/json", strings.NewReader("{}")) //nolint:gosec,noctx // the test's own server
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		time.Sleep(time.Millisecond)
	}
}

// startLiar runs a liar until the test ends; hush makes its gate fall silent.
func startLiar(t *testing.T, dir, tool string) (hush func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test
	cmd.Env, cmd.Stderr = append(os.Environ(), liarFolder+"="+dir, liarTool+"="+tool), os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return func() {
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Error(err)
		}
	}
}

// TestALiarIsNeverShownVerified is the promise of the four states. An agent in a process of its own acknowledges, goes silent, and
// keeps calling a real tool server beside its gate. The server's counter is the oracle: at every look it has risen, and
// whatever Custody shows, it does not claim that the agent has stopped.
func TestALiarIsNeverShownVerified(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	hush := startLiar(t, s.Enrol("acme", "support-1").Dir, tool.URL)
	eventually(t, "it works", func() bool { return tool.served.Load() > 0 })
	look := func() *apiv1.StepInfo {
		t.Helper()
		before := tool.served.Load()
		eventually(t, "the tool is called", func() bool { return tool.served.Load() > before })
		c := s.contained()[0]
		step := c.GetSteps()[0]
		if c.GetProven() || step.GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED || strings.HasPrefix(step.GetProof(), "verified") {
			t.Fatalf("shown as %v, and the tool has served %d calls", c, tool.served.Load())
		}
		return step
	}
	s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	eventually(t, "it acknowledges", func() bool { return look().GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_ACKNOWLEDGED })
	hush()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if step := look(); step.GetProof() != "NOT PROVEN (agent's word only)" {
			t.Errorf("shown as %v", step)
		}
	}
	eventually(t, "it is passed on to a person", func() bool { return look().GetEscalated() })
}

// busy lets an agent call a thousand times a second, every tenth call with high consequence, until the test ends.
func (s *site) busy(instance string) (served *atomic.Int64) {
	s.t.Helper()
	a, served := s.agent(instance, edge.RunOptions{}), new(atomic.Int64)
	act := func(context.Context) (string, error) { served.Add(1); return "", nil }
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			<-tick.C
			o := low
			if n%10 == 0 {
				o = high
			}
			go func() { _ = a.call(act, o) }()
		}
	}()
	s.t.Cleanup(func() { stop(); <-done })
	eventually(s.t, "it works", func() bool { return served.Load() > 300 })
	return served
}

// TestAThousandCallsASecond: pause, and a plan and what applies it, work against an agent that does not rest. What calls meanwhile is
// no reason to refuse the plan, and nothing is called after the acknowledgement.
func TestAThousandCallsASecond(t *testing.T) {
	tests := map[string]func(s *site) *apiv1.ContainResponse{
		"pause": func(s *site) *apiv1.ContainResponse {
			return s.contain(s.dana, "instance/acme/support-1", contain.Pause)
		},
		"plan and apply": func(s *site) *apiv1.ContainResponse {
			plan, err := apiv1.NewContainmentServiceClient(s.dana).PlanContainment(s.t.Context(),
				&apiv1.PlanContainmentRequest{Tenant: "acme", Target: "instance/acme/support-1", Level: "pause"})
			if err != nil || len(plan.GetGates()) != 1 || len(plan.GetUnknown()) != 0 {
				s.t.Fatalf("plan %v, %v", plan, err)
			}
			return s.contain(s.dana, "", contain.Pause, func(r *apiv1.ContainRequest) { r.Plan, r.Level = plan.GetPlan(), "" })
		},
	}
	for name, stop := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			served := s.busy("support-1")
			got := stop(s).GetContainment()
			after := served.Load()
			if got.GetSteps()[0].GetState() != eventv1.ContainmentState_CONTAINMENT_STATE_ACKNOWLEDGED {
				t.Errorf("not acknowledged: %v", got.GetSteps())
			}
			time.Sleep(200 * time.Millisecond)
			if more := served.Load() - after; more != 0 {
				t.Errorf("%d calls after the acknowledgement", more)
			}
		})
	}
}
