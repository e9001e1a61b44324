package contain_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/connector"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// tokens is an authorization server with a token and one that was made from it. It revokes each by itself.
type tokens struct {
	*httptest.Server
	dir string

	mu    sync.Mutex
	alive map[string]bool
	lies  map[string]bool // says yes to a revocation, and does nothing
	calls map[string]int  // revocations
}

func newTokens(t *testing.T) *tokens {
	s := &tokens{dir: t.TempDir(), alive: map[string]bool{"parent": true, "child": true}, lies: make(map[string]bool), calls: make(map[string]int)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	for _, name := range []string{"parent", "child", "client"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *tokens) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := r.FormValue("token")
	if r.URL.Path == "/revoke" {
		s.calls[token]++
		s.alive[token] = s.alive[token] && s.lies[token]
		return
	}
	fmt.Fprintf(w, `{"active":%v}`, s.alive[token])
}

// revocations are how often each was asked for.
func (s *tokens) revocations() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// isAlive reports whether a token works, and revive makes it work again.
func (s *tokens) isAlive(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive[token]
}

func (s *tokens) revive(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive[token] = true
}

// connectors is the file's content for these tokens.
func (s *tokens) connectors(t *testing.T) []contain.Connector {
	t.Helper()
	list, err := connector.Parse(fmt.Appendf(nil,
		"connectors: [{name: api, kind: oauth, covers: [connector/acme/support-1/api], url: %[1]s/revoke, introspection: %[1]s/introspect, client: custody, "+
			"secret_file: %[2]s/client, token_file: %[2]s/parent, derived_files: [%[2]s/child]}]", s.URL, s.dir))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// proofs are the proofs of a site's steps by connectors, without the server's name, by path.
func (s *site) proofs() map[string]string {
	s.t.Helper()
	proofs := make(map[string]string)
	for _, c := range s.contained() {
		for _, step := range c.GetSteps() {
			if strings.HasPrefix(step.GetPath(), "connector/") {
				proof, _, _ := strings.Cut(step.GetProof(), ":")
				proofs[step.GetPath()] = proof
			}
		}
	}
	return proofs
}

var bothVerified = map[string]string{"connector/api": "verified", "connector/api/child": "verified"}

func withConnectors(list []contain.Connector) func(*contain.Config) {
	return func(c *contain.Config) { c.Connectors = list }
}

func now(r *apiv1.ContainRequest) { r.Wait = 0 }

// rehearsed is what a plan says of the only connector.
func (s *site) rehearsed() *apiv1.PlannedRevocation {
	s.t.Helper()
	p, err := apiv1.NewContainmentServiceClient(s.dana).PlanContainment(s.t.Context(), &apiv1.PlanContainmentRequest{
		Tenant: "acme", Target: "instance/acme/support-1", Level: string(contain.Quarantine),
	})
	if err != nil || len(p.GetRevocations()) != 1 {
		s.t.Fatal(p, err)
	}
	return p.GetRevocations()[0]
}

// TestDerivedTokensFollow: a plan says so and changes nothing; each is a step, and each is proven by itself.
func TestDerivedTokensFollow(t *testing.T) {
	server := newTokens(t)
	s := newSite(t, quick(withConnectors(server.connectors(t))))
	if r := s.rehearsed(); r.GetPath() != "connector/api" || len(r.GetWould()) != 2 || r.GetTrouble() != "" || len(server.revocations()) != 0 {
		t.Errorf("plan %v, revoked %v", r, server.revocations())
	}
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass)
	eventually(t, "both are dead", func() bool { return cmp.Equal(bothVerified, s.proofs()) })
	if diff := cmp.Diff(map[string]int{"parent": 1, "child": 1}, server.revocations()); diff != "" {
		t.Errorf("revocations (-want +got):\n%s", diff)
	}
	server.Close()
	if r := s.rehearsed(); r.GetTrouble() == "" {
		t.Errorf("nobody there: %v", r)
	}
}

// TestALiveDerivedTokenIsShown although its parent is dead.
func TestALiveDerivedTokenIsShown(t *testing.T) {
	server := newTokens(t)
	server.lies["child"] = true
	s := newSite(t, quick(withConnectors(server.connectors(t))))
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass)
	want := map[string]string{"connector/api": "verified", "connector/api/child": "NOT PROVEN (STILL ALIVE"}
	eventually(t, "it is shown", func() bool { return cmp.Equal(want, s.proofs()) })
	if s.contained()[0].GetProven() {
		t.Error("proven, while a derived token lives")
	}
}

// TestCrashesWithDelegates ends the server at points of the calls for a token and one derived from it, and starts it again. The other
// points are those of any call.
func TestCrashesWithDelegates(t *testing.T) {
	for _, at := range []contain.Point{contain.PointFollowed, contain.PointClaimed} {
		t.Run(string(at), func(t *testing.T) {
			server, reached := newTokens(t), make(chan struct{})
			var once sync.Once
			hook := func(p contain.Point) (err error) {
				if p == at {
					once.Do(func() { close(reached); err = errCrash })
				}
				return err
			}
			s := newSite(t, quick(func(c *contain.Config) { c.Connectors, c.Hook = server.connectors(t), hook }))
			s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass, now)
			<-reached
			s.Kill()
			s.Start()
			s.dana = s.Dial("dana")
			eventually(t, "both are dead", func() bool { return cmp.Equal(bothVerified, s.proofs()) })
		})
	}
}

// TestDescendantsOfAConnector: what says that it is derived is called with its parent, however far up that is.
func TestDescendantsOfAConnector(t *testing.T) {
	family := []*credential{newCredential(t, false), newCredential(t, false), newCredential(t, false), newCredential(t, false)}
	list, err := connector.Parse(fmt.Appendf(nil, `connectors:
- {name: mail, kind: exec, covers: [connector/acme/support-1/mail], credential: 3f2a, command: [%s]}
- {name: grandchild, kind: exec, covers: [connector/acme/other/mail], derived_from: child, command: [%s]}
- {name: child, kind: exec, covers: [connector/acme/other/mail], derived_from: mail, command: [%s]}
- {name: stranger, kind: exec, covers: [connector/acme/other/mail], command: [%s]}
`, family[0].path("program"), family[1].path("program"), family[2].path("program"), family[3].path("program")))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, quick(withConnectors(list)))
	s.contain(s.dana, "credential/acme/3f2a", contain.Pause)
	want := map[string]string{"connector/mail": "verified", "connector/child": "verified", "connector/grandchild": "verified"}
	eventually(t, "the family is dead", func() bool { return cmp.Equal(want, s.proofs()) })
	if !family[3].alive() {
		t.Error("a credential of nobody in the family is revoked")
	}
}

// unsteady is a credential whose first revocation goes wrong in a way, and later ones do not.
func unsteady(t *testing.T, first string) *credential {
	t.Helper()
	c := newCredential(t, false)
	program := fmt.Sprintf("#!/bin/sh\ncd %s\nif [ $1 = revoke ]; then echo x >>calls; if ! [ -e again ]; then touch again; %s; exit 1; fi; rm -f token; exit 0; fi\n"+
		"if [ -e token ]; then echo it is there; exit 1; fi\necho the token is refused\n", c.dir, first)
	if err := os.WriteFile(c.path("program"), []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestServersThatAreDownOrSlow: a connector goes on until it is proven, and repeats only what may be repeated.
func TestServersThatAreDownOrSlow(t *testing.T) {
	tests := map[string]struct {
		first      string // what the first call does
		idempotent bool
		calls      int
		proof      string
	}{
		"down":     {"exit 75", false, 2, "verified"},
		"slow":     {"sleep 5", true, 2, "verified"},
		"unknown":  {"sleep 5", false, 1, "NOT PROVEN (unknown"},
		"slow-did": {"rm -f token; sleep 5", false, 1, "verified"},
	}
	credentials, want := make(map[string]*credential), make(map[string]string)
	text := "connectors:\n"
	for name, test := range tests {
		credentials[name], want["connector/"+name] = unsteady(t, test.first), test.proof
		text += fmt.Sprintf("- {name: %s, kind: exec, covers: [connector/acme/support-1/mail], timeout: 1s, idempotent: %v, command: [%s]}\n",
			name, test.idempotent, credentials[name].path("program"))
	}
	list, err := connector.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, quick(withConnectors(list), func(c *contain.Config) { c.UnprovenAfter = time.Minute }))
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass, now)
	eventually(t, "each is where it belongs", func() bool { return cmp.Equal(want, s.proofs()) })
	for name, test := range tests {
		if got := credentials[name].calls(); got != test.calls {
			t.Errorf("%s: %d calls, want %d", name, got, test.calls)
		}
	}
}

// TestARevocationThatIsUndone while the containment is in force: it is shown, and done again.
func TestARevocationThatIsUndone(t *testing.T) {
	server := newTokens(t)
	s := newSite(t, quick(withConnectors(server.connectors(t)), func(c *contain.Config) { c.Recheck = 100 * time.Millisecond }))
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass)
	eventually(t, "both are dead", func() bool { return cmp.Equal(bothVerified, s.proofs()) })
	server.revive("parent")
	eventually(t, "it is dead again", func() bool { return !server.isAlive("parent") })
	eventually(t, "it is proven again", func() bool { return cmp.Equal(bothVerified, s.proofs()) })
	if diff := cmp.Diff(map[string]int{"parent": 2, "child": 1}, server.revocations()); diff != "" {
		t.Errorf("revocations (-want +got):\n%s", diff)
	}
}

// deaf is a recorder that makes no intent durable while it is cut off.
type deaf struct {
	contain.Recorder
	off     atomic.Bool
	refused chan struct{}
}

var errCutOff = errors.New("cut off by the test")

func (d *deaf) Record(ctx context.Context, tenant event.TenantID, events ...*eventv1.Event) (uint64, error) {
	intent := func(x *eventv1.Event) bool {
		return x.GetSystem().GetContainment().GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_INTENDED
	}
	if d.off.Load() && slices.ContainsFunc(events, intent) {
		select {
		case d.refused <- struct{}{}:
		default:
		}
		return 0, errCutOff
	}
	return d.Recorder.Record(ctx, tenant, events...)
}

// TestNoCallWithoutADurableIntent: while the log cannot be written, nothing is called; afterwards it is.
func TestNoCallWithoutADurableIntent(t *testing.T) {
	server, recorder := newTokens(t), &deaf{refused: make(chan struct{}, 1)}
	recorder.off.Store(true)
	s := newSite(t, quick(func(c *contain.Config) {
		recorder.Recorder, c.Recorder, c.Connectors = c.Recorder, recorder, server.connectors(t)
	}))
	s.contain(s.dana, "instance/acme/support-1", contain.Quarantine, glass, now)
	<-recorder.refused
	<-recorder.refused
	if called := server.revocations(); len(called) != 0 {
		t.Errorf("called without an intent: %v", called)
	}
	recorder.off.Store(false)
	eventually(t, "both are dead", func() bool { return cmp.Equal(bothVerified, s.proofs()) })
}
