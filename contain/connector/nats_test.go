package connector

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/agentcustody/custody/contain"
)

// natsWorld is a NATS server in operator mode with a full resolver, as nsc sets one up.
type natsWorld struct {
	t        *testing.T
	server   *server.Server
	operator nkeys.KeyPair
	system   nkeys.KeyPair
	account  nkeys.KeyPair
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newNATSWorld(t *testing.T) *natsWorld {
	key := must[nkeys.KeyPair](t)
	w := &natsWorld{t: t, operator: key(nkeys.CreateOperator()), system: key(nkeys.CreateAccount()), account: key(nkeys.CreateAccount())}
	operator := jwt.NewOperatorClaims(w.public(w.operator))
	operator.SystemAccount = w.public(w.system)
	config := filepath.Join(t.TempDir(), "nats.conf")
	text := fmt.Sprintf("listen: 127.0.0.1:-1\noperator: %s\nsystem_account: %s\nresolver: {type: full, dir: %q}\nresolver_preload: {%s: %s, %s: %s}\n",
		must[string](t)(operator.Encode(w.operator)), w.public(w.system), t.TempDir(),
		w.public(w.system), w.accountJWT(w.system, "SYS"), w.public(w.account), w.accountJWT(w.account, "ACME"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options := must[*server.Options](t)(server.ProcessConfigFile(config))
	options.NoSigs, options.NoLog = true, true
	w.server = must[*server.Server](t)(server.NewServer(options))
	w.server.Start()
	t.Cleanup(func() { w.server.Shutdown(); w.server.WaitForShutdown() })
	if !w.server.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return w
}

func (w *natsWorld) public(key nkeys.KeyPair) string { return must[string](w.t)(key.PublicKey()) }

func (w *natsWorld) seed(key nkeys.KeyPair) string { return string(must[[]byte](w.t)(key.Seed())) }

func (w *natsWorld) accountJWT(account nkeys.KeyPair, name string) string {
	claims := jwt.NewAccountClaims(w.public(account))
	claims.Name = name
	return must[string](w.t)(claims.Encode(w.operator))
}

// user makes credentials in an account and returns their file and seed.
func (w *natsWorld) user(account nkeys.KeyPair, name string) (file secret, seed string) {
	key := must[nkeys.KeyPair](w.t)(nkeys.CreateUser())
	claims := jwt.NewUserClaims(w.public(key))
	claims.Name = name
	seed = w.seed(key)
	creds := must[[]byte](w.t)(jwt.FormatUserConfig(must[string](w.t)(claims.Encode(account)), []byte(seed)))
	return secretFile(w.t, string(creds)), seed
}

// TestNATSUser is against a real server in operator mode.
func TestNATSUser(t *testing.T) {
	w := newNATSWorld(t)
	admin, adminSeed := w.user(w.system, "custody")
	login, loginSeed := w.user(w.account, "support-1")
	other, _ := w.user(w.account, "support-2")
	agent := must[*nats.Conn](t)(nats.Connect(w.server.ClientURL(), nats.UserCredentials(string(login)), nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1)))
	bystander := must[*nats.Conn](t)(nats.Connect(w.server.ClientURL(), nats.UserCredentials(string(other))))
	t.Cleanup(func() { agent.Close(); bystander.Close() })
	n := &natsUser{urls: []string{w.server.ClientURL()}, admin: admin, login: login, signingKey: secretFile(t, w.seed(w.operator))}
	suite(t, world{
		revoker: n, files: []secret{n.admin, n.login, n.signingKey}, secrets: []string{w.seed(w.operator), adminSeed, loginSeed},
		at: func(address string) contain.Revoker {
			return &natsUser{urls: []string{"nats://" + address}, admin: n.admin, login: n.login, signingKey: n.signingKey}
		},
		sessions: func() int {
			if agent.IsConnected() {
				return 1
			}
			return 0
		},
	})
	if err := bystander.FlushTimeout(time.Second); err != nil {
		t.Errorf("another user of the account is hit too: %v", err)
	}
}

// TestNATSKeyThatNobodyTrusts: it is found before the incident, and it revokes nothing.
func TestNATSKeyThatNobodyTrusts(t *testing.T) {
	w := newNATSWorld(t)
	admin, _ := w.user(w.system, "custody")
	login, _ := w.user(w.account, "support-1")
	stranger := must[nkeys.KeyPair](t)(nkeys.CreateOperator())
	n := &natsUser{urls: []string{w.server.ClientURL()}, admin: admin, login: login, signingKey: secretFile(t, w.seed(stranger))}
	if _, err := n.DryRun(limited(t), errand); err == nil || !strings.Contains(err.Error(), "do not trust") {
		t.Errorf("dry run: %v", err)
	}
	if _, err := n.Revoke(limited(t), errand); err == nil {
		t.Error("revoked by a stranger")
	}
	if found, _, err := n.Probe(limited(t), errand); found != contain.Alive || err != nil {
		t.Errorf("probe: %v, %v", found, err)
	}
}
