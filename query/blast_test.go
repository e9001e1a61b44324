package query_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// narrow allows less than what the run does.
var narrow = []*eventv1.Permission{
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "look*", Consequence: eventv1.Consequence_CONSEQUENCE_LOW},
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_WRITE, Tool: "note", Consequence: eventv1.Consequence_CONSEQUENCE_MODERATE, Connector: "crm"},
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_SEND, Tool: "mail", Resource: "*.example", Connector: "smtp"},
}

// attack is what one instance did to another, and how far it came.
type attack struct {
	*scene
	client apiv1.BlastServiceClient
	since  int64
}

func newAttack(t *testing.T, s *scene) *attack {
	t.Helper()
	a := &attack{scene: &scene{Env: s.Env, auditor: s.auditor}, client: apiv1.NewBlastServiceClient(s.Person("acme", "ana", eventv1.Role_ROLE_ANALYST))}
	s.CreateInstance("acme", "mole", narrow...)
	s.CreateInstance("acme", "victim")
	mole, victim := s.emitterOf(t, "mole"), s.emitterOf(t, "victim")
	a.emitter = mole
	a.since = time.Now().UnixNano()
	bound := a.record(t, "r1", identity(eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_BOUND))
	a.record(t, "r1", &eventv1.Event{Body: &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_DELEGATED, Delegate: "victim",
	}}})
	written := a.record(t, "r1", memory(eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN))
	a.call(t, "c1", &eventv1.Execution{Tool: "look_up"}, eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED)
	a.call(t, "c2", &eventv1.Execution{Tool: "mail", Destination: "evil.example", Connector: "smtp"}, 0)
	a.call(t, "c3", &eventv1.Execution{Tool: "wipe", Consequence: eventv1.Consequence_CONSEQUENCE_HIGH}, eventv1.ExecutionAction_EXECUTION_ACTION_FAILED)
	a.settle(t)
	a.emitter = victim
	read := memory(eventv1.DataAction_DATA_ACTION_MEMORY_READ)
	read.Causes = []*eventv1.Cause{{Id: written[:], Relation: eventv1.Relation_RELATION_MEMORY, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED}}
	seen := a.record(t, "v1", read)
	later := call("v", "pay", eventv1.ExecutionAction_EXECUTION_ACTION_STARTED)
	later.Causes = []*eventv1.Cause{cause(seen)}
	a.record(t, "v1", later)
	shared := identity(eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_USED)
	shared.Causes = []*eventv1.Cause{cause(bound)}
	a.record(t, "v2", shared)
	a.settle(t)
	return a
}

func (s *scene) emitterOf(t *testing.T, instance string) *edge.Emitter {
	t.Helper()
	emitter, err := edge.Open(t.Context(), edge.Config{Dir: s.Enrol("acme", instance).Dir, MaxBatchAge: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = emitter.Close(context.Background()) })
	return emitter
}

func identity(action eventv1.IdentityAction) *eventv1.Event {
	return &eventv1.Event{Body: &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action: action, Credential: &eventv1.Credential{Fingerprint: []byte("mailkey"), Scopes: []string{"send"}, Connector: "smtp"},
	}}}
}

func memory(action eventv1.DataAction) *eventv1.Event {
	return &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{Action: action, MemoryKey: "notes", Bytes: 7}}}
}

func call(id, tool string, action eventv1.ExecutionAction) *eventv1.Event {
	return &eventv1.Event{Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Action: action, Call: id, Tool: tool}}}
}

// call records a call that was started, and how it ended if it did.
func (a *attack) call(t *testing.T, id string, x *eventv1.Execution, end eventv1.ExecutionAction) {
	t.Helper()
	begun := call(id, x.GetTool(), eventv1.ExecutionAction_EXECUTION_ACTION_STARTED)
	e := begun.GetExecution()
	e.Consequence, e.Destination, e.Connector = x.GetConsequence(), x.GetDestination(), x.GetConnector()
	a.record(t, "r1", begun)
	if end != 0 {
		a.record(t, "r1", call(id, x.GetTool(), end))
	}
}

// testBlast: what was done stands beside what could have been done, and what came of it elsewhere.
func testBlast(t *testing.T, s *scene) {
	a := newAttack(t, s)
	r, err := a.client.Blast(t.Context(), &apiv1.BlastRequest{Tenant: "acme", Instance: "mole", From: a.since})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("effects", func(t *testing.T) { checkEffects(t, r) })
	t.Run("reach", func(t *testing.T) { checkReach(t, r) })
	t.Run("descendants", func(t *testing.T) { checkDescendants(t, r) })
	t.Run("pages", func(t *testing.T) { a.checkPages(t, r) })
	t.Run("refused", func(t *testing.T) { a.checkRefused(t) })
}

func checkEffects(t *testing.T, r *apiv1.BlastResponse) {
	type effect struct {
		Tool, Basis, Ended    string
		Irreversible, Allowed bool
	}
	var got []effect
	for _, e := range r.GetEffects() {
		got = append(got, effect{e.GetTool(), e.GetClassBasis(), e.GetEnded(), e.GetIrreversible(), e.GetAllowed()})
	}
	want := []effect{ // a permission without a class leaves the call unclassified, which counts as high
		{"mail", "none", "open", true, true},
		{"wipe", "event", "failed", true, false},
		{"look_up", "manifest", "finished", false, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if r.GetEffectsTotal() != 3 || r.GetIrreversibleTotal() != 2 || r.GetCut() || r.GetMore() {
		t.Errorf("totals %d, %d, cut %v, more %v", r.GetEffectsTotal(), r.GetIrreversibleTotal(), r.GetCut(), r.GetMore())
	}
	if d := r.GetData(); len(d) != 1 || d[0].GetAction() != "memory_written" || d[0].GetResource() != "notes" || d[0].GetBytes() != 7 {
		t.Errorf("data %v", d)
	}
}

func checkReach(t *testing.T, r *apiv1.BlastResponse) {
	var used []uint32
	for _, p := range r.GetPermissions() {
		used = append(used, p.GetUsed())
	}
	if diff := cmp.Diff([]uint32{1, 0, 1}, used); diff != "" || len(r.GetManifests()) != 1 {
		t.Errorf("%d manifests, permissions used (-want +got):\n%s", len(r.GetManifests()), diff)
	}
	if diff := cmp.Diff([]string{"crm", "smtp"}, r.GetConnectors()); diff != "" {
		t.Errorf("connectors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"victim"}, r.GetDelegates()); diff != "" {
		t.Errorf("delegates (-want +got):\n%s", diff)
	}
	if c := r.GetCredentials(); len(c) != 1 || c[0].GetConnector() != "smtp" || c[0].GetReleased() || !cmp.Equal(c[0].GetOthers(), []string{"victim"}) {
		t.Errorf("credentials %v", c)
	}
	if m := r.GetMemories(); len(m) != 1 || m[0].GetWritten() != 1 || m[0].GetReadsAfter() != 1 || !cmp.Equal(m[0].GetReaders(), []string{"victim"}) {
		t.Errorf("memories %v", m)
	}
}

func checkDescendants(t *testing.T, r *apiv1.BlastResponse) {
	type descendant struct {
		Instance, Run, By string
		Count, Acts       uint32
	}
	var got []descendant
	for _, d := range r.GetDescendants() {
		got = append(got, descendant{d.GetInstance(), d.GetRun(), d.GetBy(), d.GetCount(), d.GetActs()})
	}
	want := []descendant{{"victim", "v1", "memory", 2, 1}, {"victim", "v2", "input", 1, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("descendants (-want +got):\n%s", diff)
	}
}

// checkPages: pages give the same effects as one answer, and a time or a run narrows them.
func (a *attack) checkPages(t *testing.T, whole *apiv1.BlastResponse) {
	var tools []string
	req := &apiv1.BlastRequest{Tenant: "acme", Instance: "mole", From: a.since, Limit: 1}
	for more := true; more; req.After++ {
		r, err := a.client.Blast(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.GetEffects() {
			tools = append(tools, e.GetTool())
		}
		more = r.GetMore()
	}
	if diff := cmp.Diff([]string{"mail", "wipe", "look_up"}, tools); diff != "" {
		t.Errorf("in pages (-want +got):\n%s", diff)
	}
	last := whole.GetEffects()[1].GetReceivedAt()
	for name, narrowed := range map[string]*apiv1.BlastRequest{"later": {From: last + 1e12}, "another run": {Run: "r2"}} {
		narrowed.Tenant, narrowed.Instance = "acme", "mole"
		r, err := a.client.Blast(t.Context(), narrowed)
		if err != nil || r.GetEffectsTotal() != 0 || len(r.GetPermissions()) != len(narrow) {
			t.Errorf("%s: %d effects, %d permissions, %v", name, r.GetEffectsTotal(), len(r.GetPermissions()), err)
		}
	}
}

func (a *attack) checkRefused(t *testing.T) {
	for field, req := range map[string]*apiv1.BlastRequest{
		"no instance": {Instance: "nobody"}, "limit": {Instance: "mole", Limit: 1001}, "from": {Instance: "mole", From: -1},
	} {
		req.Tenant = "acme"
		_, err := a.client.Blast(t.Context(), req)
		code := codes.InvalidArgument
		if field == "no instance" {
			code = codes.NotFound
		}
		wantCode(t, err, code, field)
	}
	rows, _ := a.search(t, &apiv1.SearchRequest{Action: "system.access", Principal: "ana", Limit: 1})
	if len(rows) != 1 || event.Action(parse(t, rows[0])) != "system.access" {
		t.Error("the read is not recorded")
	}
}
