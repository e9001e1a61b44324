package contain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const shortLease = 300 * time.Millisecond

// quick makes leases and deadlines short enough for a test.
func quick(more ...func(*contain.Config)) testenv.Option {
	return func(c *node.Config) {
		c.TuneContainment = func(cfg *contain.Config) {
			cfg.LeaseTTL, cfg.LeaseMargin, cfg.UnprovenAfter = shortLease, 100*time.Millisecond, time.Second
			for _, tune := range more {
				tune(cfg)
			}
		}
	}
}

// site is a running system with one tenant, one instance and a responder.
type site struct {
	*testenv.Env
	t    *testing.T
	dana *grpc.ClientConn
}

func newSite(t *testing.T, options ...testenv.Option) *site {
	env := testenv.New(t, append([]testenv.Option{quick()}, options...)...)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	return &site{Env: env, t: t, dana: env.Person("acme", "dana", eventv1.Role_ROLE_RESPONDER)}
}

func (s *site) contain(conn *grpc.ClientConn, target string, level contain.Level, change ...func(*apiv1.ContainRequest)) *apiv1.ContainResponse {
	s.t.Helper()
	r := &apiv1.ContainRequest{Tenant: "acme", Target: target, Level: string(level), Reason: "test", Wait: int64(5 * time.Second)}
	for _, c := range change {
		c(r)
	}
	response, err := apiv1.NewContainmentServiceClient(conn).Contain(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return response
}

func (s *site) release(conn *grpc.ClientConn, target string) *apiv1.ReleaseResponse {
	s.t.Helper()
	response, err := apiv1.NewContainmentServiceClient(conn).Release(s.t.Context(), &apiv1.ReleaseRequest{Tenant: "acme", Target: target, Reason: "done"})
	if err != nil {
		s.t.Fatal(err)
	}
	return response
}

func (s *site) contained() []*apiv1.ContainmentInfo {
	s.t.Helper()
	response, err := apiv1.NewContainmentServiceClient(s.dana).ListContained(s.t.Context(), &apiv1.ListContainedRequest{Tenant: "acme", All: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return response.GetContainments()
}

// eventually waits for something to become true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !is(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// toolServer is a real tool: an HTTP server that counts what it has done.
type toolServer struct {
	*httptest.Server
	served  atomic.Int64
	slow    atomic.Bool // holds a call until its caller goes away
	waiting atomic.Int64
}

func newToolServer(t *testing.T) *toolServer {
	s := &toolServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see its client go
		if s.slow.Load() {
			s.waiting.Add(1)
			<-r.Context().Done()
			return
		}
		s.served.Add(1)
	}))
	t.Cleanup(s.Close)
	return s
}

// use is one call of the tool.
func (s *toolServer) use(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	response, err := s.Client().Do(r)
	if err != nil {
		return "", err
	}
	return response.Status, response.Body.Close()
}

// agent is an emitter with one run.
type agent struct {
	*edge.Emitter
	ctx context.Context
	run *edge.Run
}

func (s *site) agent(instance string, o edge.RunOptions) *agent {
	s.t.Helper()
	return s.agentIn(s.Enrol("acme", instance).Dir, o)
}

func (s *site) agentIn(dir string, o edge.RunOptions) *agent {
	s.t.Helper()
	e, err := edge.Open(s.t.Context(), edge.Config{Dir: dir, CloseTimeout: time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	a := &agent{Emitter: e}
	a.ctx, a.run = e.Run(s.t.Context(), o)
	s.t.Cleanup(func() { _ = e.Close(context.Background()) })
	return a
}

func (a *agent) call(do func(context.Context) (string, error), o ...edge.CallOptions) error {
	_, err := edge.Call(a.ctx, "tool", "x", do, o...)
	return err
}

// works makes a call that nothing stands against. A short lease may have run out where processors are few: then it is made again.
func (a *agent) works(do func(context.Context) (string, error), o ...edge.CallOptions) (err error) {
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		if err = a.call(do, o...); !errors.Is(err, edge.ErrBlocked) || time.Now().After(end) {
			return err
		}
	}
}

var low, high = edge.CallOptions{Consequence: edge.Low}, edge.CallOptions{Consequence: edge.High}

func TestPauseStopsWhatRunsAndReleaseLetsItGoOn(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	a := s.agent("support-1", edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	tool.slow.Store(true)
	ended := make(chan error, 1)
	go func() { ended <- a.call(tool.use, low) }()
	eventually(t, "the call runs", func() bool { return tool.waiting.Load() > 0 })
	got := s.contain(s.dana, "instance/acme/support-1", contain.Pause).GetContainment()
	if err := <-ended; !errors.Is(err, edge.ErrContained) {
		t.Errorf("work in flight ended with %v", err)
	}
	if len(got.GetSteps()) != 1 || got.GetSteps()[0].GetProof() != "NOT PROVEN (agent's word only)" || got.GetProven() {
		t.Errorf("steps %v", got.GetSteps())
	}
	tool.slow.Store(false)
	before := tool.served.Load()
	for _, o := range []edge.CallOptions{low, high} {
		if err := a.call(tool.use, o); !errors.Is(err, edge.ErrContained) {
			t.Errorf("a contained instance called: %v", err)
		}
	}
	if served := tool.served.Load(); served != before {
		t.Errorf("the tool served %d calls of a contained instance", served-before)
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Errorf("a contained instance cannot emit evidence: %v", err)
	}
	if got := s.release(s.dana, "instance/acme/support-1"); len(got.GetReleased()) != 1 || len(got.GetRemaining()) != 0 {
		t.Errorf("released %v", got)
	}
	eventually(t, "it works again", func() bool { return a.call(tool.use, high) == nil })
}

func TestPauseIsIdempotent(t *testing.T) {
	s := newSite(t)
	first := s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	second := s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	milder := s.contain(s.dana, "instance/acme/support-1", contain.Restrict)
	if first.GetAlready() || !second.GetAlready() || !milder.GetAlready() {
		t.Errorf("already: %v, %v, %v", first.GetAlready(), second.GetAlready(), milder.GetAlready())
	}
	if id := first.GetContainment().GetId(); second.GetContainment().GetId() != id || milder.GetContainment().GetId() != id || len(s.contained()) != 1 {
		t.Errorf("containments %v", s.contained())
	}
}

func TestTargets(t *testing.T) {
	tests := map[string]struct {
		run, connector string
		stopped        bool
	}{
		"run/acme/r1":                   {run: "r1", stopped: true},
		"run/acme/r2":                   {run: "r1"},
		"principal/acme/user-1":         {stopped: true},
		"principal/acme/user-2":         {},
		"connector/acme/support-1/mail": {connector: "mail", stopped: true},
		"connector/acme/*/mail":         {connector: "mail", stopped: true},
		"connector/acme/support-1/crm":  {connector: "mail"},
	}
	s := newSite(t)
	emitter := s.agent("support-1", edge.RunOptions{}).Emitter
	for target, test := range tests {
		ctx, _ := emitter.Run(t.Context(), edge.RunOptions{ID: test.run, Principal: "user-1"})
		s.contain(s.dana, target, contain.Pause)
		err := (&agent{ctx: ctx}).call(func(context.Context) (string, error) { return "", nil }, edge.CallOptions{Consequence: edge.Low, Connector: test.connector})
		if errors.Is(err, edge.ErrContained) != test.stopped {
			t.Errorf("%s: %v", target, err)
		}
		s.release(s.dana, target)
	}
}

func TestRestrictWantsApproval(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	erin := s.approver("erin")
	a := s.agent("support-1", edge.RunOptions{Approve: func(context.Context, *edge.Proposal) (edge.Consent, error) {
		return edge.Consent{Approved: true, Approver: "the agent's own", Shown: "do it?"}, nil
	}})
	s.contain(s.dana, "instance/acme/support-1", contain.Restrict)
	ended := a.begin(tool.use, high)
	if err := a.call(tool.use, low); err != nil || tool.served.Load() != 1 {
		t.Errorf("low consequence: %v, served %d", err, tool.served.Load())
	}
	erin.decide(erin.next(), approved)
	if err := <-ended; err != nil || tool.served.Load() != 2 {
		t.Errorf("approved: %v, served %d", err, tool.served.Load())
	}
}

// TestTwoPeople: what needs a second person stops nothing before somebody else agrees.
func TestTwoPeople(t *testing.T) {
	s := newSite(t)
	erin := s.Person("acme", "erin", eventv1.Role_ROLE_RESPONDER)
	state := func(r *apiv1.ContainResponse) string { return r.GetContainment().GetState() }
	if got := state(s.contain(s.dana, "tenant/acme", contain.Pause)); got != "proposed" {
		t.Errorf("one person: %s", got)
	}
	if got := state(s.contain(s.dana, "tenant/acme", contain.Pause)); got != "proposed" {
		t.Errorf("the same person twice: %s", got)
	}
	confirmed := s.contain(erin, "tenant/acme", contain.Pause).GetContainment()
	if confirmed.GetState() != "in force" || confirmed.GetActor() != "dana" || confirmed.GetSecond() != "erin" {
		t.Errorf("two people: %v", confirmed)
	}
	if got := s.release(erin, "tenant/acme").GetReleased()[0].GetState(); got != "release proposed" {
		t.Errorf("release by one: %s", got)
	}
	if got := s.release(erin, "tenant/acme").GetReleased()[0].GetState(); got != "release proposed" {
		t.Errorf("release by the same one: %s", got)
	}
	if got := s.release(s.dana, "tenant/acme").GetReleased()[0].GetState(); got != "released" {
		t.Errorf("release by two: %s", got)
	}
	broken := s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, func(r *apiv1.ContainRequest) { r.BreakGlass = true }).GetContainment()
	if broken.GetState() != "in force" || !broken.GetBreakGlass() {
		t.Errorf("broken glass: %v", broken)
	}
}

// TestAnOldReleaseIsNoSecondPerson: a release that was proposed long ago, in another shift, is not confirmed by whoever asks for one now.
func TestAnOldReleaseIsNoSecondPerson(t *testing.T) {
	var later atomic.Int64
	s := newSite(t, quick(func(c *contain.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}))
	erin := s.Person("acme", "erin", eventv1.Role_ROLE_RESPONDER)
	s.contain(s.dana, "tenant/acme", contain.Pause, func(r *apiv1.ContainRequest) { r.BreakGlass = true })
	s.release(s.dana, "tenant/acme")
	later.Store(int64(contain.ProposalTTL + time.Minute))
	if got := s.release(erin, "tenant/acme").GetReleased()[0].GetState(); got != "release proposed" {
		t.Errorf("an hour later one person makes it %s", got)
	}
}

// TestARuleStopsTheRunOfOneInstance: its gate is the only step, over many rounds; another instance that works under the name of the run
// is stopped as well, and becomes a step when it has something to stop.
func TestARuleStopsTheRunOfOneInstance(t *testing.T) {
	s := newSite(t)
	s.CreateInstance("acme", "other-1")
	mine, other := s.agent("support-1", edge.RunOptions{ID: "r"}), s.agent("other-1", edge.RunOptions{ID: "r"})
	nothing := func(context.Context) (string, error) { return "", nil }
	for _, a := range []*agent{mine, other} {
		if err := a.works(nothing, low); err != nil {
			t.Fatal(err)
		}
	}
	run := event.Target{Kind: event.TargetRun, Tenant: "acme", Name: "r"}
	order := contain.AutomaticOrder{ID: "f-1", Target: run, Level: contain.Pause, Instance: "support-1", Reason: "a rule"}
	if err := s.Node().Containment().Automatic(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	steps := func() (list []string) {
		for _, step := range s.contained()[0].GetSteps() {
			list = append(list, step.GetInstance()+" "+event.ContainmentStates.Name(step.GetState()))
		}
		return list
	}
	eventually(t, "it acknowledges", func() bool { return cmp.Equal(steps(), []string{"support-1 acknowledged"}) })
	time.Sleep(300 * time.Millisecond) // rounds of the patrol, and renewals of the other gate
	if got := steps(); len(got) != 1 {
		t.Errorf("steps %v", got)
	}
	if at := s.Node().Containment().Standing("acme", "other-1"); at.Part {
		t.Error("an instance that has nothing of the run is shown as contained in part")
	}
	for _, a := range []*agent{mine, other} {
		if err := a.call(nothing, low); !errors.Is(err, edge.ErrContained) {
			t.Errorf("it goes on: %v", err)
		}
	}
	eventually(t, "the other is a step", func() bool { return cmp.Equal(steps(), []string{"support-1 acknowledged", "other-1 acknowledged"}) })
}

// unsure is a recorder whose first word about an order for a rule is lost, after the log has it.
type unsure struct {
	contain.Recorder
	requests atomic.Int64
}

func (u *unsure) Record(ctx context.Context, tenant event.TenantID, events ...*eventv1.Event) (uint64, error) {
	seq, err := u.Recorder.Record(ctx, tenant, events...)
	asked := events[0].GetSystem().GetContainment()
	if asked.GetPlan() == "f-1" && asked.GetPath() == "" && u.requests.Add(1) == 1 {
		return 0, errCutOff
	}
	return seq, err
}

// TestAnOrderIsRecordedOnce: also when nobody heard that it was, and when it comes again.
func TestAnOrderIsRecordedOnce(t *testing.T) {
	recorder := &unsure{}
	s := newSite(t, quick(func(c *contain.Config) { recorder.Recorder, c.Recorder = c.Recorder, recorder }))
	order := contain.AutomaticOrder{
		ID: "f-1", Target: event.Target{Kind: event.TargetInstance, Tenant: "acme", Instance: "support-1"}, Level: contain.Pause, Reason: "a rule",
	}
	if err := s.Node().Containment().Automatic(t.Context(), order); !errors.Is(err, errCutOff) {
		t.Fatalf("the first time: %v", err)
	}
	for range 2 {
		if err := s.Node().Containment().Automatic(t.Context(), order); err != nil {
			t.Fatal(err)
		}
	}
	if got := recorder.requests.Load(); got != 1 || len(s.contained()) != 1 {
		t.Errorf("recorded %d times, %d containments", got, len(s.contained()))
	}
}

// TestAPauseDoesNotWaitForAPlan: whoever applies a plan waits for the records, and nobody else does.
func TestAPauseDoesNotWaitForAPlan(t *testing.T) {
	var slow atomic.Bool
	asked, answer := make(chan struct{}), make(chan struct{})
	s := newSite(t, quick(func(c *contain.Config) {
		c.Reach = func(context.Context, event.Target, []event.InstanceID) (contain.Reach, error) {
			if slow.Load() {
				close(asked)
				<-answer
			}
			return contain.Reach{}, nil
		}
	}))
	s.CreateInstance("acme", "other-1")
	plan := s.plan("instance/acme/support-1", "pause")
	slow.Store(true)
	applied := make(chan error, 1)
	go func() {
		_, err := apiv1.NewContainmentServiceClient(s.dana).Contain(t.Context(), &apiv1.ContainRequest{Tenant: "acme", Plan: plan.GetPlan(), Reason: "x"})
		applied <- err
	}()
	<-asked
	if c := s.contain(s.dana, "instance/acme/other-1", contain.Pause).GetContainment(); c.GetState() != "in force" {
		t.Errorf("meanwhile %v", c)
	}
	close(answer)
	if err := <-applied; err != nil {
		t.Error(err)
	}
}

// TestRestartsReleaseNothing: neither of the server nor of the agent.
func TestRestartsReleaseNothing(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	dir := s.Enrol("acme", "support-1").Dir
	a := s.agentIn(dir, edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	before := s.contain(s.dana, "instance/acme/support-1", contain.Pause).GetContainment()
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	a = s.agentIn(dir, edge.RunOptions{}) // while the server is away
	if err := a.call(tool.use, low); !errors.Is(err, edge.ErrContained) || tool.served.Load() != 1 {
		t.Errorf("after the agent's restart: %v", err)
	}
	s.Start()
	s.dana = s.Dial("dana")
	after := s.contained()
	if len(after) != 1 || after[0].GetId() != before.GetId() || after[0].GetState() != "in force" {
		t.Errorf("after the server's restart: %v", after)
	}
	if got := s.contain(s.dana, "instance/acme/support-1", contain.Pause); !got.GetAlready() {
		t.Errorf("paused again: %v", got)
	}
}

// TestSilenceEndsTheLeaseAndProvesNothing: a gate that is cut off does nothing of high consequence once its lease is over.
func TestSilenceEndsTheLeaseAndProvesNothing(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	a := s.agent("support-1", edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	_ = a.Close(t.Context())
	got := s.contain(s.dana, "instance/acme/support-1", contain.Pause).GetContainment().GetSteps()[0]
	if !strings.HasPrefix(got.GetProof(), "NOT PROVEN (may act until") && got.GetProof() != "lease-expired (cooperative)" {
		t.Errorf("at first: %s", got.GetProof())
	}
	eventually(t, "the lease ends", func() bool { return s.contained()[0].GetSteps()[0].GetProof() == "lease-expired (cooperative)" })
	if c := s.contained()[0]; c.GetProven() {
		t.Errorf("proven by silence: %v", c)
	}
}

func TestWithoutALeaseNothingOfHighConsequence(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	a := s.agent("support-1", edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	time.Sleep(shortLease)
	ctx, cancel := context.WithTimeout(a.ctx, time.Second)
	defer cancel()
	before := tool.served.Load()
	if err := (&agent{ctx: ctx}).call(tool.use, high); !errors.Is(err, edge.ErrBlocked) || tool.served.Load() != before {
		t.Errorf("without a lease: %v", err)
	}
	if err := a.call(tool.use, low); err != nil {
		t.Errorf("low consequence: %v", err)
	}
	s.Start()
}

// TestAPlanThatHasGrownIsRefused: a new key is new reach; one that is gone is not.
func TestAPlanThatHasGrownIsRefused(t *testing.T) {
	s := newSite(t)
	s.Enrol("acme", "support-1")
	client := apiv1.NewContainmentServiceClient(s.dana)
	plan, err := client.PlanContainment(t.Context(), &apiv1.PlanContainmentRequest{Tenant: "acme", Target: "instance/acme/support-1", Level: "pause"})
	if err != nil {
		t.Fatal(err)
	}
	s.Enrol("acme", "support-1")
	_, err = client.Contain(t.Context(), &apiv1.ContainRequest{Tenant: "acme", Plan: plan.GetPlan(), Reason: "x"})
	if err == nil || !strings.Contains(err.Error(), "the reach has grown since the plan was made: gate/") {
		t.Errorf("applied: %v", err)
	}
}

// TestAGatewayVerifies: it stands outside the agent, so that what it refused is proof. The agent's own step stays a claim.
func TestAGatewayVerifies(t *testing.T) {
	s := newSite(t)
	gateway := s.agentIn(s.EnrolFor("acme", "support-1", eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY).Dir, edge.RunOptions{})
	s.agent("support-1", edge.RunOptions{})
	s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	if err := gateway.call(func(context.Context) (string, error) { return "", nil }, low); !errors.Is(err, edge.ErrContained) {
		t.Fatalf("the gateway let it through: %v", err)
	}
	proofs := func() string {
		var all []string
		for _, step := range s.contained()[0].GetSteps() {
			all = append(all, step.GetProof()[:min(22, len(step.GetProof()))])
		}
		return fmt.Sprint(len(all), strings.Contains(strings.Join(all, "|"), "verified: the gateway "), strings.Contains(strings.Join(all, "|"), "NOT PROVEN (agent's wo"))
	}
	eventually(t, "one verified, one claimed", func() bool { return proofs() == "2truetrue" || proofs() == "2 true true" })
	if s.contained()[0].GetProven() {
		t.Error("proven as a whole")
	}
}
