package contain_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/connector"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// credential is a real one of a small world: a file that a program removes and that another looks for.
type credential struct{ dir string }

// newCredential writes the program. It counts each revocation; lies makes it do nothing and say yes.
func newCredential(t *testing.T, lies bool) *credential {
	t.Helper()
	c := &credential{dir: t.TempDir()}
	act := "rm -f " + c.path("token")
	if lies {
		act = "true"
	}
	text := fmt.Sprintf("#!/bin/sh\nif [ $1 = revoke ]; then echo x >>%s; %s; echo gone; exit 0; fi\nif [ -e %s ]; then echo it is there; exit 1; fi\necho the token is refused\n",
		c.path("calls"), act, c.path("token"))
	if err := errors.Join(os.WriteFile(c.path("program"), []byte(text), 0o700), os.WriteFile(c.path("token"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *credential) path(name string) string { return filepath.Join(c.dir, name) }

func (c *credential) calls() int {
	b, _ := os.ReadFile(c.path("calls"))
	return strings.Count(string(b), "x")
}

func (c *credential) alive() bool {
	_, err := os.Stat(c.path("token"))
	return err == nil
}

// connectors is the file's content for this credential.
func (c *credential) connectors(t *testing.T, idempotent bool) []contain.Connector {
	t.Helper()
	list, err := connector.Parse(fmt.Appendf(nil,
		"connectors: [{name: mail, kind: exec, idempotent: %v, covers: [connector/acme/support-1/mail], credential: 3f2a, command: [%s]}]", idempotent, c.path("program")))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// proofs are the steps' proofs by the connector.
func (s *site) proof() *apiv1.StepInfo {
	s.t.Helper()
	for _, c := range s.contained() {
		for _, step := range c.GetSteps() {
			if step.GetPath() == "connector/mail" {
				return step
			}
		}
	}
	return &apiv1.StepInfo{}
}

func glass(r *apiv1.ContainRequest) { r.BreakGlass = true }

func TestQuarantineRevokesAndAProbeProvesIt(t *testing.T) {
	token := newCredential(t, false)
	s := newSite(t, quick(func(c *contain.Config) { c.Connectors = token.connectors(t, true) }))
	if paused := s.contain(s.dana, "instance/acme/support-1", contain.Pause); len(paused.GetContainment().GetSteps()) != 0 || !token.alive() {
		t.Errorf("a pause revokes: %v", paused)
	}
	got := s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass).GetContainment()
	if !got.GetProven() || got.GetSteps()[0].GetProof() != "verified: the token is refused" || got.GetSteps()[0].GetObserver() != "probe" {
		t.Errorf("steps %v", got.GetSteps())
	}
	if token.alive() || token.calls() != 1 {
		t.Errorf("alive %v after %d calls", token.alive(), token.calls())
	}
	s.release(s.dana, "instance/acme/support-1")
	if s.contain(s.dana, "credential/acme/3f2a", contain.Pause).GetContainment().GetSteps()[0].GetPath() != "connector/mail" {
		t.Error("a credential's containment does not revoke")
	}
}

// TestALyingConnectorIsFound: it says yes, and the credential works on.
func TestALyingConnectorIsFound(t *testing.T) {
	token := newCredential(t, true)
	s := newSite(t, quick(func(c *contain.Config) { c.Connectors = token.connectors(t, false) }))
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass)
	eventually(t, "it is found", func() bool { return s.proof().GetEscalated() })
	if got := s.proof(); got.GetProof() != "NOT PROVEN (STILL ALIVE: it is there)" || s.contained()[0].GetProven() {
		t.Errorf("shown as %v", got)
	}
	if err := os.Remove(token.path("token")); err != nil { // somebody does it by hand
		t.Fatal(err)
	}
	eventually(t, "the probes go on and prove it", func() bool { return strings.HasPrefix(s.proof().GetProof(), "verified: ") })
	if token.calls() != 1 {
		t.Errorf("%d calls of what may not be repeated", token.calls())
	}
}

var errCrash = errors.New("crash of the test")

// TestCrashesAtEveryPointOfACall ends the server at each point of a connector's call and starts it again. What may not be
// repeated is not, what is proven is shown, and what is not known goes to a person.
func TestCrashesAtEveryPointOfACall(t *testing.T) {
	type crash struct {
		at         contain.Point
		idempotent bool
	}
	tests := map[crash]struct {
		calls int
		proof string
	}{
		{contain.PointIntended, true}:  {1, "verified: the token is refused"},
		{contain.PointCalled, true}:    {1, "verified: the token is refused"},
		{contain.PointIntended, false}: {0, "NOT PROVEN (unknown: needs a person"},
		{contain.PointCalled, false}:   {1, "verified: the token is refused"},
		{contain.PointClaimed, false}:  {1, "verified: the token is refused"},
		{contain.PointProbed, false}:   {1, "verified: the token is refused"},
	}
	for c, want := range tests {
		t.Run(fmt.Sprint(c.at, c.idempotent), func(t *testing.T) {
			token, reached := newCredential(t, false), make(chan struct{})
			var once sync.Once
			hook := func(p contain.Point) (err error) {
				if p == c.at {
					once.Do(func() { close(reached); err = errCrash })
				}
				return err
			}
			s := newSite(t, quick(func(cfg *contain.Config) { cfg.Connectors, cfg.Hook = token.connectors(t, c.idempotent), hook }))
			s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass, func(r *apiv1.ContainRequest) { r.Wait = 0 })
			select {
			case <-reached:
			case <-time.After(10 * time.Second):
				t.Fatal("the point was not reached")
			}
			s.Kill()
			s.Start()
			s.dana = s.Dial("dana")
			eventually(t, want.proof, func() bool { return strings.HasPrefix(s.proof().GetProof(), want.proof) })
			if token.calls() != want.calls {
				t.Errorf("%d calls, want %d", token.calls(), want.calls)
			}
		})
	}
}

// TestQuarantineHoldsRecords: and the hold outlives the release.
func TestQuarantineHoldsRecords(t *testing.T) {
	s := newSite(t)
	held := func() bool {
		s.WaitCommitted()
		state, err := s.Node().Ledger().Registry(t.Context(), "acme")
		return err == nil && state.Held("instance/support-1")
	}
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass)
	eventually(t, "its records are held", held)
	erin := s.Person("acme", "erin", eventv1.Role_ROLE_RESPONDER)
	s.release(s.dana, "instance/acme/support-1")
	if got := s.release(erin, "instance/acme/support-1").GetReleased()[0].GetState(); got != "released" || !held() {
		t.Errorf("released by two: %s, held %v", got, held())
	}
}
