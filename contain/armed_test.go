package contain_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// armed tries everything and says, by instance, what came of it: "proven by agent", "UNPROVEN: …".
func (s *site) armed(now bool) map[string]string {
	s.t.Helper()
	response, err := apiv1.NewArmedServiceClient(s.dana).ListArmed(s.t.Context(), &apiv1.ListArmedRequest{Tenant: "acme", Now: now})
	if err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, p := range response.GetPaths() {
		path, _, _ := strings.Cut(p.GetPath(), "/")
		all[p.GetInstance()+" "+path] = "UNPROVEN: " + p.GetEvidence()
		if p.GetProven() {
			all[p.GetInstance()+" "+path] = "proven by " + p.GetObserver()
		}
	}
	return all
}

// TestTheArmedBoard: what works is proven without stopping anything; what does not is red before anybody needs it.
func TestTheArmedBoard(t *testing.T) {
	token, tool := newCredential(t, false), newToolServer(t)
	s := newSite(t, quick(func(c *contain.Config) { c.Connectors = token.connectors(t, true) }))
	s.CreateInstance("acme", "bare-1")
	a := s.agent("support-1", edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	const bare = "UNPROVEN: no gate and no connector: nothing here can stop it"
	untried := map[string]string{"bare-1 ": bare, "support-1 gate": "UNPROVEN: not tried yet", "support-1 connector": "UNPROVEN: not tried yet"}
	if diff := cmp.Diff(untried, s.armed(false)); diff != "" {
		t.Errorf("before any try (-want +got):\n%s", diff)
	}
	want := map[string]string{"bare-1 ": bare, "support-1 gate": "proven by agent", "support-1 connector": "proven by probe"}
	if diff := cmp.Diff(want, s.armed(true)); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
	if err := a.works(tool.use, high); err != nil || !token.alive() || token.calls() != 0 {
		t.Errorf("an exercise does harm: %v, alive %v, %d revocations", err, token.alive(), token.calls())
	}
	s.Kill()
	s.Start()
	s.dana = s.Dial("dana")
	if diff := cmp.Diff(want, s.armed(false)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	_ = a.Close(t.Context())
	if err := os.Remove(token.path("token")); err != nil {
		t.Fatal(err)
	}
	want["support-1 gate"] = "UNPROVEN: no gate is connected"
	want["support-1 connector"] = "UNPROVEN: the credential is dead: nothing to revoke, and nothing to see"
	eventually(t, "it is red", func() bool { return cmp.Equal(want, s.armed(true)) })
}

// TestAProofGetsOld: what is not tried again is unproven.
func TestAProofGetsOld(t *testing.T) {
	token := newCredential(t, false)
	s := newSite(t, quick(func(c *contain.Config) {
		c.Connectors = token.connectors(t, true)
		now := c.Now
		c.Now = func() time.Time {
			if token.alive() {
				return now()
			}
			return now().Add(time.Hour) // the clock goes on, and nobody tries
		}
	}))
	if got := s.armed(true)["support-1 connector"]; got != "proven by probe" {
		t.Errorf("tried: %s", got)
	}
	if err := os.Remove(token.path("token")); err != nil {
		t.Fatal(err)
	}
	if got := s.armed(false)["support-1 connector"]; got != "UNPROVEN: not tried since" {
		t.Errorf("an hour later: %s", got)
	}
}

// canary makes an instance that is there for drills.
func (s *site) canary(instance string) {
	s.t.Helper()
	_, err := apiv1.NewAdminServiceClient(s.Admin()).CreateInstance(s.t.Context(), &apiv1.CreateInstanceRequest{
		Tenant: "acme", Instance: instance, Labels: &eventv1.Labels{Canary: true},
		Permissions: []*eventv1.Permission{{Verb: eventv1.PermissionVerb_PERMISSION_VERB_WRITE, Tool: "*", Consequence: eventv1.Consequence_CONSEQUENCE_LOW}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) drill(instance string, wait time.Duration) (*apiv1.DrillResponse, error) {
	return apiv1.NewArmedServiceClient(s.dana).Drill(s.t.Context(), &apiv1.DrillRequest{
		Tenant: "acme", Instance: instance, Level: "pause", Reason: "monday", Wait: int64(wait),
	})
}

func (s *site) systemKey() (key signer.PublicKey) {
	s.t.Helper()
	s.WaitCommitted()
	state, err := s.Node().Ledger().Registry(s.t.Context(), "acme")
	if err != nil {
		s.t.Fatal(err)
	}
	copy(key[:], state.Genesis().GetSystemKey())
	return key
}

// TestADrill stops a canary for real, through a gateway that sees it from outside, and leaves a report that others can verify.
func TestADrill(t *testing.T) {
	s := newSite(t)
	s.canary("canary-1")
	gateway := s.agentIn(s.EnrolFor("acme", "canary-1", eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY).Dir, edge.RunOptions{})
	ctx, stop := context.WithCancel(t.Context())
	refused := make(chan bool, 1)
	go func() { // the canary goes on calling
		was := false
		for ctx.Err() == nil {
			was = errors.Is(gateway.call(func(context.Context) (string, error) { return "", nil }, low), edge.ErrContained) || was
			time.Sleep(5 * time.Millisecond)
		}
		refused <- was
	}()
	response, err := s.drill("canary-1", 10*time.Second)
	stop()
	if err != nil || !response.GetProven() || !<-refused {
		t.Fatalf("drill: %v, %v", response, err)
	}
	r, err := contain.VerifyDrill(response.GetReport(), "acme", s.systemKey())
	if err != nil {
		t.Fatal(err)
	}
	step := r.Steps[0]
	if len(r.Steps) != 1 || r.Actor != "dana" || step.RequestedAt == 0 || step.DeliveredAt < step.RequestedAt || step.AcknowledgedAt < step.DeliveredAt ||
		step.VerifiedAt < step.AcknowledgedAt || r.ReleasedAt <= step.VerifiedAt {
		t.Errorf("report %+v", r)
	}
	if c := s.contained()[0]; c.GetState() != "released" || c.GetId() != r.Containment {
		t.Errorf("afterwards %v", c)
	}
}

// TestNoDrill: what is no canary, or is contained, is left alone; what nobody sees from outside is not proven.
func TestNoDrill(t *testing.T) {
	s := newSite(t)
	s.canary("canary-1")
	if _, err := s.drill("support-1", 0); err == nil || !strings.Contains(err.Error(), "not a canary") || len(s.contained()) != 0 {
		t.Errorf("no canary: %v", err)
	}
	s.agent("canary-1", edge.RunOptions{})
	response, err := s.drill("canary-1", 500*time.Millisecond)
	if err != nil || response.GetProven() {
		t.Errorf("by the agent's word: %v, %v", response, err)
	}
	s.contain(s.dana, "instance/acme/canary-1", contain.Pause)
	if _, err := s.drill("canary-1", 0); err == nil || !strings.Contains(err.Error(), "contained already") || s.contained()[1].GetState() != "in force" {
		t.Errorf("contained: %v", err)
	}
}

// TestAnIncidentDuringADrill: what a person stops while a drill has the canary stopped is a containment of its own, and outlives the drill.
func TestAnIncidentDuringADrill(t *testing.T) {
	s := newSite(t)
	s.canary("canary-1")
	s.agent("canary-1", edge.RunOptions{}) // nobody sees it from outside, so the drill waits for its whole time
	ended := make(chan error, 1)
	go func() {
		_, err := s.drill("canary-1", 3*time.Second)
		ended <- err
	}()
	eventually(t, "the drill has begun", func() bool { return len(s.contained()) == 1 })
	time.Sleep(50 * time.Millisecond) // until the drill waits
	mine := s.contain(s.dana, "instance/acme/canary-1", contain.Pause)
	if err := <-ended; err != nil || mine.GetAlready() {
		t.Fatalf("already %v, %v", mine.GetAlready(), err)
	}
	states := map[string]string{}
	for _, c := range s.contained() {
		states[c.GetId()] = c.GetState()
	}
	if len(states) != 2 || states[mine.GetContainment().GetId()] != "in force" {
		t.Errorf("afterwards %v", states)
	}
}

func TestForgedReports(t *testing.T) {
	s := newSite(t)
	s.canary("canary-1")
	response, err := s.drill("canary-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	genuine, key := string(response.GetReport()), s.systemKey()
	other, err := signer.Generate()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		file, tenant string
		key          signer.PublicKey
		good         bool
	}{
		"genuine":        {genuine, "acme", key, true},
		"another key":    {genuine, "acme", other.Public(), false},
		"another tenant": {genuine, "globex", key, false},
		"another type":   {strings.Replace(genuine, "drill", "other", 1), "acme", key, false},
		"changed":        {strings.Replace(genuine, `"payload":"e`, `"payload":"f`, 1), "acme", key, false},
		"no signature":   {`{"payloadType":"` + contain.DrillPayload + `","payload":"e30="}`, "acme", key, false},
		"nothing":        {"", "acme", key, false},
	}
	for name, test := range tests {
		if _, err := contain.VerifyDrill([]byte(test.file), test.tenant, test.key); (err == nil) != test.good || err != nil && !errors.Is(err, contain.ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerifyDrill(f *testing.F) {
	key := signer.FromSeed([32]byte{1})
	f.Add([]byte(`{"payloadType":"` + contain.DrillPayload + `","payload":"e30=","signatures":[{"keyid":"","sig":""}]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		if r, err := contain.VerifyDrill(file, "acme", key.Public()); (err == nil) != (r != nil) || err == nil {
			t.Errorf("accepted %+v, %v", r, err)
		}
	})
}

// TestLeasesLastOverAPlannedRestart: a gate acts on while the server is away, and no longer than it was let; a contained one does not.
func TestLeasesLastOverAPlannedRestart(t *testing.T) {
	s, tool := newSite(t, quick(func(c *contain.Config) { c.Moderate = true })), newToolServer(t)
	s.CreateInstance("acme", "stopped-1")
	a, stopped := s.agent("support-1", edge.RunOptions{}), s.agent("stopped-1", edge.RunOptions{})
	if err := errors.Join(a.works(tool.use, high), stopped.works(tool.use, high)); err != nil {
		t.Fatal(err)
	}
	s.contain(s.dana, "instance/acme/stopped-1", contain.Pause)
	extend := func(lasts time.Duration) (*apiv1.ExtendLeasesResponse, error) {
		return apiv1.NewArmedServiceClient(s.Admin()).ExtendLeases(t.Context(), &apiv1.ExtendLeasesRequest{
			Tenant: "acme", Lasts: int64(lasts), Reason: "upgrade", Wait: int64(5 * time.Second),
		})
	}
	if _, err := extend(event.MaxLeaseExtension + 1); err == nil {
		t.Error("more than five minutes")
	}
	got, err := extend(3 * time.Minute)
	if err != nil || got.GetExtended() != 1 || got.GetConnected() != 1 {
		t.Fatalf("extended %v, %v", got, err)
	}
	s.Kill()
	time.Sleep(3 * shortLease)
	if err := a.call(tool.use, edge.CallOptions{Consequence: edge.Moderate}); err != nil {
		t.Errorf("while the server is away: %v", err)
	}
	if err := stopped.call(tool.use, low); !errors.Is(err, edge.ErrContained) {
		t.Errorf("what is contained: %v", err)
	}
	s.Start()
	s.dana = s.Dial("dana")
	s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	eventually(t, "it hears of a pause after the restart", func() bool { return errors.Is(a.call(tool.use, low), edge.ErrContained) })
}

// TestWhatIsLentOverARestartIsNotForgotten: the next process does not say of a silent gate that its lease is over.
func TestWhatIsLentOverARestartIsNotForgotten(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	a := s.agent("support-1", edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	if _, err := apiv1.NewArmedServiceClient(s.Admin()).ExtendLeases(t.Context(), &apiv1.ExtendLeasesRequest{
		Tenant: "acme", Lasts: int64(2 * time.Minute), Reason: "upgrade", Wait: int64(5 * time.Second),
	}); err != nil {
		t.Fatal(err)
	}
	_ = a.Close(t.Context())
	s.Kill()
	s.Start()
	s.dana = s.Dial("dana")
	time.Sleep(2 * shortLease)
	got := s.contain(s.dana, "instance/acme/support-1", contain.Pause).GetContainment().GetSteps()[0].GetProof()
	if !strings.HasPrefix(got, "NOT PROVEN (may act until") {
		t.Errorf("of a gate that has two minutes: %s", got)
	}
	if at := s.Node().Containment().Standing("acme", "support-1"); at.Level != contain.Pause || at.Proven || !strings.HasPrefix(at.Lease, "may act until ") {
		t.Errorf("standing %+v", at)
	}
}

// TestWhereGatesStand: none of it reads as contained.
func TestWhereGatesStand(t *testing.T) {
	s, tool := newSite(t), newToolServer(t)
	lease := func() string { return s.Node().Containment().Standing("acme", "support-1").Lease }
	if got := lease(); got != "no gate" {
		t.Errorf("no key: %s", got)
	}
	a := s.agent("support-1", edge.RunOptions{})
	if err := a.works(tool.use, high); err != nil {
		t.Fatal(err)
	}
	eventually(t, "lent", func() bool { return lease() == "lent" })
	s.contain(s.dana, "run/acme/other", contain.Pause)
	if at := s.Node().Containment().Standing("acme", "support-1"); !at.Part || at.Level != "" {
		t.Errorf("a part: %+v", at)
	}
	s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	eventually(t, "not lent", func() bool { return lease() == "not lent" })
	s.release(s.dana, "instance/acme/support-1")
	eventually(t, "lent again", func() bool { return lease() == "lent" })
	_ = a.Close(t.Context())
	eventually(t, "cut off", func() bool { return lease() == "blocked: server unreachable" })
}
