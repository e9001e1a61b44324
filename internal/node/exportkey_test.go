package node_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// exchange puts a key of an algorithm in force for a tenant's bundles.
func (n *neighbours) exchange(t *testing.T, tenant, algorithm string) signer.KeyID {
	t.Helper()
	r, err := apiv1.NewAdminServiceClient(n.Admin()).RotateExportKey(t.Context(), &apiv1.RotateExportKeyRequest{Tenant: tenant, Algorithm: algorithm, Reason: "asked for"})
	if err != nil {
		t.Fatal(err)
	}
	return signer.KeyID(r.GetKeyId())
}

func (n *neighbours) policy(t *testing.T, tenant string) *evidence.Policy {
	t.Helper()
	answer, err := apiv1.NewEvidenceServiceClient(n.auditor).ExportPolicy(t.Context(), &apiv1.ExportPolicyRequest{Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := evidence.ParsePolicy(answer.GetPolicy())
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// exit is that of a bundle of all that a tenant has, under a policy: below ExitContainer it is authentic.
func (n *neighbours) exit(t *testing.T, tenant string, policy *evidence.Policy) int {
	t.Helper()
	bundle := n.bundle(t, &apiv1.ExportRequest{Tenant: tenant})
	v, err := evidence.Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), policy, evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v.Exit
}

// TestBundlesByAnotherExportKey: from the change on bundles, statements of isolation and the policy are by the key that the tenant's log
// names, after a restart and a rebuild too, and those of other tenants as before.
func TestBundlesByAnotherExportKey(t *testing.T) {
	n := newNeighbours(t)
	n.record(t, "acme", memory("notes", 1))
	before := n.policy(t, "acme")
	id := n.exchange(t, "acme", signer.AlgorithmP256)
	file := filepath.Join(n.DataDir(), "keys", "export", id.String()+".pem")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its file: %v, %v", info, err)
	}
	after := n.policy(t, "acme")
	if after.ExportKey.ID() != id || after.ExportKey.Algorithm() != signer.AlgorithmP256 || n.policy(t, "zeta").ExportKey != before.ExportKey {
		t.Errorf("policies: %s, then %s", before.ExportKey, after.ExportKey)
	}
	n.verify(t, "acme", n.statement(t, "acme"))
	for name, got := range map[string]int{"under the policy": n.exit(t, "acme", after), "of another tenant": n.exit(t, "zeta", n.policy(t, "zeta"))} {
		if got >= evidence.ExitContainer {
			t.Errorf("%s: exit %d", name, got)
		}
	}
	if got := n.exit(t, "acme", before); got != evidence.ExitEnvelope {
		t.Errorf("under the policy before: exit %d", got)
	}
	if later := n.bundle(t, &apiv1.ExportRequest{Tenant: "acme", From: time.Now().UnixNano()}); !bytes.Contains(later, []byte(after.ExportKey)) {
		t.Error("a bundle of what came later does not show that the key was put in force")
	}
	n.Restart()
	n.auditor = n.Person("", "nora", eventv1.Role_ROLE_AUDITOR)
	if got := n.exit(t, "acme", after); got >= evidence.ExitContainer {
		t.Errorf("after a restart: exit %d", got)
	}
	n.WaitCommitted()
	if problems, _ := rebuild(t, n.Env, true); len(problems) > 0 {
		t.Errorf("rebuild: %v", problems)
	}
}

// TestLostExportKey: nothing is signed in its place, the server goes on, and another key is put in force.
func TestLostExportKey(t *testing.T) {
	n := newNeighbours(t)
	id := n.exchange(t, "acme", signer.AlgorithmP256)
	if err := os.Remove(filepath.Join(n.DataDir(), "keys", "export", id.String()+".pem")); err != nil {
		t.Fatal(err)
	}
	stream, err := apiv1.NewEvidenceServiceClient(n.auditor).Export(t.Context(), &apiv1.ExportRequest{Tenant: "acme"})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "export key of acme cannot be used") {
		t.Errorf("got %v", err)
	}
	n.exchange(t, "acme", signer.AlgorithmEd25519)
	if got := n.exit(t, "acme", n.policy(t, "acme")); got >= evidence.ExitContainer {
		t.Errorf("with another: exit %d", got)
	}
}
