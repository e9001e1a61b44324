//go:build interop

package connector_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/connector"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestQuarantineTakesARoleAndWhoHoldsIt: the whole system and a real PostgreSQL. Each role is a step, and each is verified.
func TestQuarantineTakesARoleAndWhoHoldsIt(t *testing.T) {
	db := connector.NewPGWorld(t)
	admin, login := db.Files()
	list, err := connector.Parse(fmt.Appendf(nil, "connectors: [{name: db, kind: postgres, covers: [connector/acme/support-1/db], role: support-1, spare: [dba], admin_file: %s, login_file: %s}]", admin, login))
	if err != nil {
		t.Fatal(err)
	}
	env := testenv.New(t, func(c *node.Config) {
		c.TuneContainment = func(cfg *contain.Config) { cfg.Connectors = list }
	})
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	dana := env.Person("acme", "dana", eventv1.Role_ROLE_RESPONDER)
	_, err = apiv1.NewContainmentServiceClient(dana).Contain(t.Context(), &apiv1.ContainRequest{
		Tenant: "acme", Target: "instance/acme/support-1", Level: string(contain.Quarantine), Reason: "test", BreakGlass: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"connector/db": "verified", `connector/db/sub "1"`: "verified", "connector/db/sub2": "verified"}
	for end := time.Now().Add(30 * time.Second); !cmp.Equal(want, proofs(t, dana)); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("steps (-want +got):\n%s", cmp.Diff(want, proofs(t, dana)))
		}
	}
	for role, password := range map[string]string{"support-1": "a-secret", `sub "1"`: "d-secret", "sub2": "d-secret"} {
		if db.LogsIn(role, password) {
			t.Errorf("%s logs in", role)
		}
	}
	if !db.LogsIn("support-2", "b-secret") || !db.LogsIn("dba", "d-secret") || !db.LogsIn("owner", "d-secret") {
		t.Error("a role that is nobody's delegate cannot log in any more")
	}
}

// proofs are the first words of the steps' proofs, by path.
func proofs(t *testing.T, conn *grpc.ClientConn) map[string]string {
	t.Helper()
	response, err := apiv1.NewContainmentServiceClient(conn).ListContained(t.Context(), &apiv1.ListContainedRequest{Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, c := range response.GetContainments() {
		for _, s := range c.GetSteps() {
			found[s.GetPath()], _, _ = strings.Cut(s.GetProof(), ":")
		}
	}
	return found
}
