package node_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// neighbours is a system of three tenants: acme and zeta share what can be shared, and initech nothing.
type neighbours struct {
	*testenv.Env
	emitters map[string]*edge.Emitter
	auditor  *grpc.ClientConn // over all tenants
}

func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	n := &neighbours{Env: testenv.New(t), emitters: map[string]*edge.Emitter{}}
	for _, tenant := range []string{"acme", "zeta", "initech"} {
		n.CreateTenant(tenant)
		n.CreateInstance(tenant, "support-1")
		e, err := edge.Open(t.Context(), edge.Config{Dir: n.Enrol(tenant, "support-1").Dir, MaxBatchAge: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(context.Background()) })
		n.emitters[tenant] = e
	}
	n.auditor = n.Person("", "olga", eventv1.Role_ROLE_AUDITOR)
	return n
}

// record records an event of a tenant and returns its id.
func (n *neighbours) record(t *testing.T, tenant string, e *eventv1.Event) event.ID {
	t.Helper()
	e.Run = "run-1"
	id, err := n.emitters[tenant].Record(t.Context(), &edge.Event{Plain: e})
	if err == nil {
		err = n.emitters[tenant].Flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func credential(fingerprint byte, connector string) *eventv1.Event {
	return &eventv1.Event{Body: &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action:     eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_USED,
		Credential: &eventv1.Credential{Fingerprint: bytes.Repeat([]byte{fingerprint}, 8), Connector: connector},
	}}}
}

func memory(key string, digest byte, causes ...event.ID) *eventv1.Event {
	e := &eventv1.Event{Trust: eventv1.Trust_TRUST_TRUSTED, Body: &eventv1.Event_Data{Data: &eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN, MemoryKey: key, ContentDigest: bytes.Repeat([]byte{digest}, 32),
	}}}
	for _, id := range causes {
		e.Causes = append(e.Causes, &eventv1.Cause{
			Id: id[:], Relation: eventv1.Relation_RELATION_MEMORY, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED,
		})
	}
	return e
}

func (n *neighbours) statement(t *testing.T, tenant string) []byte {
	t.Helper()
	n.WaitCommitted()
	resp, err := apiv1.NewEvidenceServiceClient(n.auditor).Isolation(t.Context(), &apiv1.IsolationRequest{Tenant: tenant, Purpose: "for the client"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetStatement()
}

func (n *neighbours) verify(t *testing.T, tenant string, statement []byte) evidence.IsolationVerdict {
	t.Helper()
	conn := n.auditor
	answer, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(t.Context(), &apiv1.ExportPolicyRequest{Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := evidence.ParsePolicy(answer.GetPolicy())
	if err != nil {
		t.Fatal(err)
	}
	v, err := evidence.VerifyIsolation(t.Context(), statement, policy, nil, evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scope := v.Statement.Scope
	bundle := n.bundle(t, &apiv1.ExportRequest{Tenant: tenant, From: int64(scope.From), To: int64(scope.To)})
	v, err = evidence.VerifyIsolation(t.Context(), statement, policy, &evidence.Beside{Bundle: bytes.NewReader(bundle), Size: int64(len(bundle))}, evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v.Exit != evidence.ExitVerified {
		t.Errorf("exit %d\n%s", v.Exit, v.Text())
	}
	return v
}

func (n *neighbours) bundle(t *testing.T, req *apiv1.ExportRequest) []byte {
	t.Helper()
	stream, err := apiv1.NewEvidenceServiceClient(n.auditor).Export(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return b.Bytes()
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Write(m.GetChunk())
	}
}

func TestIsolation(t *testing.T) {
	n := newNeighbours(t)
	n.record(t, "initech", memory("notes-of-initech", 1))
	first := n.record(t, "acme", memory("notes", 7))
	n.record(t, "acme", memory("own", 8, first))
	n.record(t, "zeta", memory("notes-of-zeta", 9))
	for tenant, want := range map[string]string{"acme": "No recorded sharing: ", "initech": "No recorded sharing: "} {
		statement := n.statement(t, tenant)
		if v := n.verify(t, tenant, statement); !strings.HasPrefix(v.Text(), want) || !bytes.HasPrefix(statement, []byte(want)) {
			t.Errorf("%s: %s", tenant, statement)
		}
	}

	n.record(t, "acme", credential(5, "mail"))
	n.record(t, "acme", credential(6, "mail"))
	n.record(t, "zeta", credential(5, "mail"))
	theirs := n.record(t, "zeta", memory("notes", 7, first))
	caused := n.record(t, "acme", memory("own", 10, theirs))
	if _, err := apiv1.NewAdminServiceClient(n.Admin()).RecordReview(t.Context(), &apiv1.RecordReviewRequest{
		Tenant: "acme", Reason: "one mailbox", Review: &eventv1.Review{
			Topic: "sharing", Subject: "connector/mail", Outcome: "approved", NextAt: time.Now().Add(time.Hour).UnixNano(),
		},
	}); err != nil {
		t.Fatal(err)
	}
	statement := n.statement(t, "acme")
	v := n.verify(t, "acme", statement)
	var got []string
	labels := map[string]bool{}
	for _, c := range v.Statement.Connections {
		review := ""
		if c.Review != nil {
			review = " " + c.Review.Outcome + " by " + c.Review.Reviewer
		}
		got, labels[c.With] = append(got, c.Kind+" "+c.Value+review), true
	}
	want := []string{
		"credential " + strings.Repeat("05", 8), "connector mail approved by admin", "memory notes", "artefact " + strings.Repeat("07", 32),
		"cause " + caused.String(), "effect " + first.String(),
	}
	if diff := cmp.Diff(want, got); diff != "" || len(labels) != 1 {
		t.Errorf("%d labels\n%s", len(labels), diff)
	}
	if !bytes.HasPrefix(statement, []byte("6 recorded connections of acme ")) || !bytes.Contains(statement, []byte("1 of them under a reviewed exception")) {
		t.Errorf("%.300s", statement)
	}
	n.reveals(t, statement, v)
	n.refuses(t)
	if v := n.verify(t, "initech", n.statement(t, "initech")); len(v.Statement.Connections) != 0 {
		t.Errorf("initech: %s", v.Text())
	}
}

// reveals: no name of another tenant, none of their ids, and labels of its own each time.
func (n *neighbours) reveals(t *testing.T, statement []byte, v evidence.IsolationVerdict) {
	t.Helper()
	text, err := v.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"zeta", "initech"} {
		if bytes.Contains(statement, []byte(secret)) || bytes.Contains(text, []byte(secret)) {
			t.Errorf("names %s", secret)
		}
	}
	if again := n.verify(t, "acme", n.statement(t, "acme")); again.Statement.Connections[0].With == v.Statement.Connections[0].With {
		t.Error("two statements use one label")
	}
}

// refuses: whoever has a role in one tenant only, also of a tenant that is not theirs or not there; and the operator's log.
func (n *neighbours) refuses(t *testing.T) {
	t.Helper()
	ask := func(conn *grpc.ClientConn, tenant string) error {
		_, err := apiv1.NewEvidenceServiceClient(conn).Isolation(t.Context(), &apiv1.IsolationRequest{Tenant: tenant})
		return err
	}
	dana := n.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	for _, tenant := range []string{"acme", "zeta", "nobody"} {
		if err := ask(dana, tenant); status.Code(err) != codes.PermissionDenied {
			t.Errorf("dana about %s: %v", tenant, err)
		}
	}
	if err := ask(n.auditor, "operator"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the operator's log: %v", err)
	}
}
