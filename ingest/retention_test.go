package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/stream"
)

// contentsAtTip knows that every subject has content in the instance support-1 and in the run run-1.
type contentsAtTip struct {
	mu      sync.Mutex
	err     error
	expired []time.Time
}

func (c *contentsAtTip) Settle(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *contentsAtTip) Seals(_ context.Context, _ event.TenantID, _, instance, run string) (bool, error) {
	return instance == "support-1" || run == "run-1", nil
}

func (c *contentsAtTip) Expire(_ context.Context, _ event.TenantID, before time.Time) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = append(c.expired, before)
	return 7, c.err
}

func (c *contentsAtTip) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (s *site) asKeeper() apiv1.RetentionServiceClient {
	return apiv1.NewRetentionServiceClient(s.dial(s.root))
}

func (s *site) erase(subject string) (*apiv1.EraseResponse, error) {
	return s.asKeeper().Erase(s.t.Context(), &apiv1.EraseRequest{Tenant: "acme", Subject: subject, Reason: "request of 4 May"})
}

func (s *site) mustErase(subject string, want uint32) {
	s.t.Helper()
	if got, err := s.erase(subject); err != nil || got.GetGeneration() != want {
		s.t.Fatalf("erased %v, %v; want generation %d", got, err, want)
	}
}

func (s *site) hold(scope, name string) {
	s.t.Helper()
	_, err := s.asKeeper().PlaceHold(s.t.Context(), &apiv1.PlaceHoldRequest{Tenant: "acme", Hold: name, Scope: scope, Reason: "case 12"})
	if err != nil {
		s.t.Fatal(err)
	}
}

// tell sends an event with content about a subject. occurred changes its time.
func (a *agent) tell(subject, value string, occurred time.Duration) {
	a.t.Helper()
	e, o := a.sealedEvent("read", subject, value)
	e.OccurredAt += int64(occurred)
	b := a.sign(a.raw(e), asIs)
	b.Openings = []*eventv1.Opening{o}
	a.accept(b)
}

// told is a site with content about alice and bob.
func told(t *testing.T, cfg siteConfig) (*site, *agent) {
	s := newSite(t, cfg)
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	a.tell("alice", "her order", 0)
	a.tell("bob", "his order", 0)
	return s, a
}

// generations are those of the openings that the stream holds about a subject, in order.
func (s *site) generations(a *agent, subject string) (all []uint32) {
	s.t.Helper()
	for _, m := range s.messages(stream.EventSubject(a.tenant, a.key.ID())) {
		b, err := event.ParseStreamBatch(m.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range b.GetOpenings() {
			if o.GetSubject() == subject {
				all = append(all, o.GetGeneration())
			}
		}
	}
	return all
}

// gone reports whether the key of a generation is destroyed.
func (s *site) gone(subject string, generation uint32) bool {
	s.t.Helper()
	_, err := s.vault.Get("acme", content.SubjectKey(subject), generation)
	if err != nil && !errors.Is(err, vault.ErrErased) {
		s.t.Fatal(err)
	}
	return err != nil
}

// deeds are what Custody recorded in the log of acme, of the given kinds.
func (s *site) deeds(which ...string) (all []string) {
	s.t.Helper()
	for _, e := range s.systemEvents("acme") {
		if slices.Contains(which, event.Action(e)) {
			all = append(all, event.Action(e))
		}
	}
	return all
}

func TestErase(t *testing.T) {
	s, a := told(t, siteConfig{})
	s.mustErase("alice", 1)
	if !s.gone("alice", 1) || s.gone("bob", 1) {
		t.Error("alice's key is still there, or bob's is gone")
	}
	events := s.systemEvents("acme")
	x := events[len(events)-1].GetSystem()
	if got := x.GetErasure(); got.GetSubject() != "alice" || got.GetGeneration() != 1 || x.GetActor() != "root" || x.GetReason() != "request of 4 May" {
		t.Errorf("tombstone %v", x)
	}
	a.tell("alice", "a new order", time.Minute)
	a.tell("bob", "a new order too", time.Minute)
	if diff := cmp.Diff([]uint32{1, 2}, s.generations(a, "alice")); diff != "" {
		t.Error(diff)
	}
	s.restart()
	if !s.gone("alice", 1) || s.gone("alice", 2) {
		t.Error("after a restart another key is gone")
	}
	s.mustErase("alice", 2)
	if _, err := s.erase("alice"); err != nil { // the generation that began with the last erasure holds nothing
		t.Error(err)
	}
}

func TestEraseRefuses(t *testing.T) {
	s, _ := told(t, siteConfig{})
	before := len(s.systemEvents("acme"))
	for name, test := range map[string]struct {
		request *apiv1.EraseRequest
		code    codes.Code
		text    string
	}{
		"no reason":             {&apiv1.EraseRequest{Tenant: "acme", Subject: "alice"}, codes.InvalidArgument, "reason: must be given"},
		"no subject":            {&apiv1.EraseRequest{Tenant: "acme", Reason: "r"}, codes.InvalidArgument, "subject: must be"},
		"too long a subject":    {&apiv1.EraseRequest{Tenant: "acme", Subject: strings.Repeat("a", 257), Reason: "r"}, codes.InvalidArgument, "subject: must be"},
		"nobody":                {&apiv1.EraseRequest{Tenant: "acme", Subject: "carol", Reason: "r"}, codes.NotFound, "no content about it"},
		"no such tenant":        {&apiv1.EraseRequest{Tenant: "zeta", Subject: "alice", Reason: "r"}, codes.PermissionDenied, ""},
		"the operator's log":    {&apiv1.EraseRequest{Tenant: "operator", Subject: "alice", Reason: "r"}, codes.InvalidArgument, "reserved"},
		"a secret for ever":     {&apiv1.EraseRequest{Tenant: "acme", Subject: "alice", Reason: "AKIAIOSFODNN7EXAMPLE"}, codes.InvalidArgument, "reason: looks like a secret"},
		"a reason without end":  {&apiv1.EraseRequest{Tenant: "acme", Subject: "alice", Reason: strings.Repeat("r ", 1<<15)}, codes.InvalidArgument, "reason"},
		"a subject that is not": {&apiv1.EraseRequest{Tenant: "acme", Subject: "al\x00ice", Reason: "r"}, codes.NotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.asKeeper().Erase(t.Context(), test.request)
			if status.Code(err) != test.code || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("got %v", err)
			}
		})
	}
	if s.gone("alice", 1) || len(s.systemEvents("acme")) != before {
		t.Error("a refused erasure changed something")
	}
}

func TestHoldsRefuseErasure(t *testing.T) {
	for scope, refuses := range map[string]bool{
		"tenant": true, "subject/alice": true, "instance/support-1": true, "run/run-1": true,
		"subject/bob": false, "instance/support-2": false, "run/run-2": false,
	} {
		t.Run(scope, func(t *testing.T) {
			s, _ := told(t, siteConfig{})
			s.instance("acme", "support-2")
			s.hold(scope, "case-12")
			_, err := s.erase("alice")
			if !refuses {
				if err != nil || !s.gone("alice", 1) {
					t.Errorf("got %v", err)
				}
				return
			}
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), fmt.Sprintf("hold %q on %s is in force", "case-12", scope)) {
				t.Errorf("got %v", err)
			}
			if s.gone("alice", 1) || len(s.deeds("system.erasure")) > 0 {
				t.Error("a held key is gone")
			}
			s.restart()
			if _, err := s.erase("alice"); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("after a restart: %v", err)
			}
			lift := &apiv1.LiftHoldRequest{Tenant: "acme", Hold: "case-12", Reason: "closed"}
			if got, err := s.asKeeper().LiftHold(t.Context(), lift); err != nil || got.GetScope() != scope {
				t.Fatalf("%v, %v", got, err)
			}
			if _, err := s.erase("alice"); err != nil || !s.gone("alice", 1) {
				t.Errorf("after the hold: %v", err)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	s, _ := told(t, siteConfig{})
	k := s.asKeeper()
	s.hold("tenant", "all")
	named, err := k.PlaceHold(t.Context(), &apiv1.PlaceHoldRequest{Tenant: "acme", Scope: "run/run-7", Reason: "case 13"})
	if err != nil || named.GetHold() == "" {
		t.Fatalf("%v, %v", named, err)
	}
	list, err := k.ListHolds(t.Context(), &apiv1.ListHoldsRequest{Tenant: "acme"})
	if err != nil || len(list.GetHolds()) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for name, test := range map[string]struct {
		request *apiv1.PlaceHoldRequest
		code    codes.Code
	}{
		"twice":             {&apiv1.PlaceHoldRequest{Tenant: "acme", Hold: "all", Scope: "tenant", Reason: "r"}, codes.AlreadyExists},
		"no scope":          {&apiv1.PlaceHoldRequest{Tenant: "acme", Reason: "r"}, codes.InvalidArgument},
		"another scope":     {&apiv1.PlaceHoldRequest{Tenant: "acme", Scope: "planet/9", Reason: "r"}, codes.InvalidArgument},
		"no reason":         {&apiv1.PlaceHoldRequest{Tenant: "acme", Scope: "tenant"}, codes.InvalidArgument},
		"no such instance":  {&apiv1.PlaceHoldRequest{Tenant: "acme", Scope: "instance/support-9", Reason: "r"}, codes.NotFound},
		"somebody's tenant": {&apiv1.PlaceHoldRequest{Tenant: "zeta", Scope: "tenant", Reason: "r"}, codes.PermissionDenied},
	} {
		if _, err := k.PlaceHold(t.Context(), test.request); status.Code(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	lift := &apiv1.LiftHoldRequest{Tenant: "acme", Hold: "all", Reason: "closed"}
	if _, err := k.LiftHold(t.Context(), lift); err != nil {
		t.Fatal(err)
	}
	if _, err := k.LiftHold(t.Context(), lift); status.Code(err) != codes.NotFound {
		t.Errorf("lifted twice: %v", err)
	}
	if diff := cmp.Diff([]string{"system.hold", "system.hold", "system.hold"}, s.deeds("system.hold")); diff != "" {
		t.Error(diff)
	}
}

// TestLateOpeningsAreDropped: what an agent still had in its spool when its subject was erased does not come back.
func TestLateOpeningsAreDropped(t *testing.T) {
	s, a := told(t, siteConfig{})
	s.mustErase("alice", 1)
	before := a.seq
	a.tell("alice", "said an hour ago", -time.Hour)
	a.tell("bob", "said an hour ago too", -time.Hour)
	a.tell("alice", "said later", time.Minute)
	if diff := cmp.Diff([]uint32{1, 2}, s.generations(a, "alice")); diff != "" {
		t.Errorf("alice: %s", diff)
	}
	if diff := cmp.Diff([]uint32{1, 1}, s.generations(a, "bob")); diff != "" {
		t.Errorf("bob: %s", diff)
	}
	if a.seq != before+3 {
		t.Error("an event was dropped with its opening")
	}
}

// faultyKeys fails at a step as often as it is told to.
type faultyKeys struct {
	Keys
	mu              sync.Mutex
	retire, destroy error
	seen            func() // called before a key is destroyed
}

func (k *faultyKeys) set(retire, destroy error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retire, k.destroy = retire, destroy
}

func (k *faultyKeys) Retire(tenant, name string) (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retire != nil {
		return 0, k.retire
	}
	return k.Keys.Retire(tenant, name)
}

func (k *faultyKeys) DestroyThrough(tenant, name string, generation uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen != nil {
		k.seen()
	}
	if k.destroy != nil {
		return k.destroy
	}
	return k.Keys.DestroyThrough(tenant, name, generation)
}

var errDisk = errors.New("no space left on device")

// TestEraseIsFinishedAfterACrash: wherever an erasure ends, the key is there and the log says nothing, or the log has the
// tombstone and the next start destroys the key.
func TestEraseIsFinishedAfterACrash(t *testing.T) {
	for name, test := range map[string]struct {
		fault  func(*site, *faultyKeys)
		buried bool
	}{
		"before the new generation": {func(_ *site, k *faultyKeys) { k.set(errDisk, nil) }, false},
		"before the tombstone": {func(s *site, _ *faultyKeys) {
			s.hold("run/another", "h") // so that the ledger is asked
			s.contents.fail(errDisk)
		}, false},
		"between tombstone and key": {func(_ *site, k *faultyKeys) { k.set(nil, errDisk) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			keys := new(faultyKeys)
			s, a := told(t, siteConfig{keys: func(k Keys) Keys { keys.Keys = k; return keys }})
			test.fault(s, keys)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := s.asKeeper().Erase(ctx, &apiv1.EraseRequest{Tenant: "acme", Subject: "alice", Reason: "r"}); err == nil {
				t.Fatal("erased in spite of the fault")
			}
			if s.gone("alice", 1) {
				t.Error("the key is gone before its time")
			}
			if got := len(s.deeds("system.erasure")) == 1; got != test.buried {
				t.Errorf("tombstone in the log: %v", got)
			}
			keys.set(nil, nil)
			s.restart()
			if got := s.gone("alice", 1); got != test.buried {
				t.Errorf("after the next start the key is gone: %v", got)
			}
			if _, err := s.erase("alice"); err != nil || !s.gone("alice", 1) {
				t.Errorf("erased again: %v", err)
			}
			again := a.connect()
			again.tell("alice", "a new order", time.Minute)
			if all := s.generations(again, "alice"); all[len(all)-1] < 2 {
				t.Errorf("new content is under %v", all)
			}
		})
	}
}

// TestTombstoneIsFirst: when a key is destroyed, its tombstone is in the stream.
func TestTombstoneIsFirst(t *testing.T) {
	keys := new(faultyKeys)
	s, _ := told(t, siteConfig{keys: func(k Keys) Keys { keys.Keys = k; return keys }})
	var before []int
	keys.seen = func() { before = append(before, len(s.deeds("system.erasure"))) }
	s.mustErase("alice", 1)
	s.mustErase("bob", 1)
	if diff := cmp.Diff([]int{1, 2}, before); diff != "" {
		t.Error(diff)
	}
}

// TestEraseAgainstHold: of a hold and an erasure at the same time, the log says which was first, and the key agrees.
func TestEraseAgainstHold(t *testing.T) {
	s, a := told(t, siteConfig{})
	for i := range 8 {
		subject := fmt.Sprintf("person-%d", i)
		a.tell(subject, "an order", 0)
		var erased error
		var work sync.WaitGroup
		work.Go(func() { _, erased = s.erase(subject) })
		work.Go(func() { s.hold("subject/"+subject, subject) })
		work.Wait()
		want := []string{"system.erasure", "system.hold"}
		if erased != nil {
			want = want[1:]
		}
		if diff := cmp.Diff(want, s.about(subject)); diff != "" || s.gone(subject, 1) != (erased == nil) {
			t.Errorf("erasure: %v; the key is gone: %v; %s", erased, s.gone(subject, 1), diff)
		}
	}
}

// about are the erasures and holds of a subject, in order.
func (s *site) about(subject string) (all []string) {
	for _, e := range s.systemEvents("acme") {
		x := e.GetSystem()
		if x.GetErasure().GetSubject() == subject || x.GetHold().GetScope() == "subject/"+subject {
			all = append(all, event.Action(e))
		}
	}
	return all
}

func TestFlight(t *testing.T) {
	f := newFlight()
	land := f.board()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a batch is on its way: %v", err)
	}
	later := f.board()
	defer later()
	land()
	f.current = new(sync.WaitGroup) // what boards from here on is not waited for
	land = f.board()
	done := make(chan error)
	go func() { done <- f.wait(t.Context()) }()
	land()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := f.wait(t.Context()); err != nil {
		t.Errorf("nothing is on its way: %v", err)
	}
}
