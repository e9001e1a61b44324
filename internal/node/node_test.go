package node_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/ca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFirstStartMakesWhatItNeeds(t *testing.T) {
	env := testenv.New(t)
	for _, file := range []string{
		"keys/system.pem", "keys/log.pem", "keys/time.pem", "keys/ca/ca.pem", "people/admin.crt", "people/admin.key", "custody.json", "custody.sock", "serve.lock",
	} {
		info, err := os.Stat(filepath.Join(env.DataDir(), file))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", file, info.Mode().Perm())
		}
	}
	err := filepath.WalkDir(filepath.Join(env.DataDir(), "keys"), func(path string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	env := testenv.New(t)
	_, err := node.Open(t.Context(), node.Config{DataDir: env.DataDir(), Listen: "127.0.0.1:0"})
	if !errors.Is(err, node.ErrInUse) || !strings.Contains(err.Error(), "process") {
		t.Errorf("got %v", err)
	}
}

func TestStatus(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.WaitCommitted()
	got, err := apiv1.NewLedgerServiceClient(env.Admin()).Status(t.Context(), &apiv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetCommitted() < 2 || got.GetStreamLast() < 2 || got.GetLedgerError() != "" || got.GetAddress() != env.Address() ||
		!strings.Contains(got.GetStore(), "embedded") || !strings.Contains(got.GetStream(), "embedded") {
		t.Errorf("got %v", got)
	}
}

// TestEverythingIsThereAfterARestart: people, tenants, instances and keys come back from the log.
func TestEverythingIsThereAfterARestart(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	for _, end := range []func(){env.Stop, env.Kill} {
		end()
		env.Start()
		tenants, err := apiv1.NewAdminServiceClient(env.Dial("dana")).ListTenants(t.Context(), &apiv1.ListTenantsRequest{})
		if err != nil || len(tenants.GetTenants()) != 1 || tenants.GetTenants()[0].GetInstances() != 1 {
			t.Fatalf("got %v, %v", tenants, err)
		}
		env.CreateInstance("acme", "support-1") // nothing to change
	}
	env.WaitCommitted()
	if size, ok := env.Node().Ledger().Head("acme"); !ok || size.Size != 9 {
		t.Errorf("acme's log has %+v", size)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	env := testenv.New(t)
	if _, err := node.Dial(t.Context(), node.DialConfig{DataDir: env.DataDir(), As: "nobody"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := node.Dial(t.Context(), node.DialConfig{DataDir: env.DataDir(), As: "../x"}); err == nil {
		t.Error("a path was taken for a name")
	}
	conn, err := node.Dial(t.Context(), node.DialConfig{DataDir: env.DataDir(), Address: env.Address()})
	if err != nil {
		t.Fatalf("over TCP: %v", err)
	}
	conn.Close()
	if _, err := node.Dial(t.Context(), node.DialConfig{DataDir: foreignPeople(t), Address: env.Address()}); !errors.Is(err, node.ErrNoServer) {
		t.Errorf("another authority: %v", err)
	}
	env.Stop()
	if _, err := node.Dial(t.Context(), node.DialConfig{DataDir: env.DataDir()}); !errors.Is(err, node.ErrNoServer) {
		t.Errorf("stopped: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	tests := map[string]node.Config{
		"no folder":  {},
		"listen":     {DataDir: t.TempDir(), Listen: "nowhere"},
		"domain":     {DataDir: t.TempDir(), Domain: "a b"},
		"store":      {DataDir: t.TempDir(), StoreDSN: "ftp://x"},
		"no address": {DataDir: t.TempDir(), Listen: "203.0.113.1:1"},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			if n, err := node.Open(t.Context(), cfg); err == nil {
				t.Error("opened")
				n.Close()
			}
		})
	}
}

func TestSocketWorksInADeepFolder(t *testing.T) {
	env := testenv.New(t, func(c *node.Config) {
		c.DataDir = filepath.Join(c.DataDir, strings.Repeat("deep/", 30))
		c.SocketOnly = true
	})
	env.CreateTenant("acme")
	if env.Address() != "127.0.0.1:0" {
		t.Errorf("address is %q", env.Address())
	}
}

// foreignPeople is a data folder with an admin of another authority.
func foreignPeople(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	authority, err := ca.Open(filepath.Join(dir, "keys", "ca"), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.IssueClient("admin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "people"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"admin.crt": client.CertPEM, "admin.key": client.KeyPEM} {
		if err := os.WriteFile(filepath.Join(dir, "people", name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
