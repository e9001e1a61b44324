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

// natsWorld is a cluster of NATS servers in operator mode with full resolvers, as nsc sets one up.
type natsWorld struct {
	t        *testing.T
	servers  []*server.Server
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
	text := fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver_preload: {%s: %s, %s: %s}\n",
		must[string](t)(operator.Encode(w.operator)), w.public(w.system),
		w.public(w.system), w.accountJWT(w.system, "SYS"), w.public(w.account), w.accountJWT(w.account, "ACME"))
	route := ""
	for i := range 2 {
		w.start(fmt.Sprintf("%sserver_name: n%d\nlisten: 127.0.0.1:-1\nresolver: {type: full, dir: %q}\ncluster {name: test, listen: 127.0.0.1:-1%s}\n", text, i, t.TempDir(), route))
		route = fmt.Sprintf(", routes: [nats-route://%s]", w.servers[0].ClusterAddr())
	}
	for end := time.Now().Add(20 * time.Second); w.servers[0].NumRoutes() == 0 || w.servers[1].NumRoutes() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the servers do not meet")
		}
	}
	return w
}

// start starts a server with a configuration.
func (w *natsWorld) start(text string) {
	config := filepath.Join(w.t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	options := must[*server.Options](w.t)(server.ProcessConfigFile(config))
	options.NoSigs, options.NoLog = true, true
	s := must[*server.Server](w.t)(server.NewServer(options))
	s.Start()
	w.t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		w.t.Fatal("a server does not start")
	}
	w.servers = append(w.servers, s)
}

// urls are where the servers take clients.
func (w *natsWorld) urls() (list []string) {
	for _, s := range w.servers {
		list = append(list, s.ClientURL())
	}
	return list
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
	var agents []*nats.Conn // of one user, at each server
	for _, url := range w.urls() {
		agents = append(agents, must[*nats.Conn](t)(nats.Connect(url, nats.UserCredentials(string(login)), nats.NoReconnect())))
	}
	bystander := must[*nats.Conn](t)(nats.Connect(w.urls()[1], nats.UserCredentials(string(other))))
	t.Cleanup(func() { agents[0].Close(); agents[1].Close(); bystander.Close() })
	n := &natsUser{urls: w.urls(), admin: admin, login: login, signingKey: secretFile(t, w.seed(w.operator))}
	suite(t, world{
		revoker: n, files: []secret{n.admin, n.login, n.signingKey}, secrets: []string{w.seed(w.operator), adminSeed, loginSeed},
		at: func(address string) contain.Revoker {
			return &natsUser{urls: []string{"nats://" + address}, admin: n.admin, login: n.login, signingKey: n.signingKey}
		},
		sessions: func() (n int) {
			for _, agent := range agents {
				if agent.FlushTimeout(time.Second) == nil {
					n++
				}
			}
			return n
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
	n := &natsUser{urls: w.urls(), admin: admin, login: login, signingKey: secretFile(t, w.seed(stranger))}
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

func FuzzConns(f *testing.F) {
	f.Add([]byte(`{"server":{"id":"N"},"data":{"connections":[{"cid":7,"authorized_user":"U"}]}}`), "U")
	f.Add([]byte(`{"error":{"code":404}}`), "U")
	f.Fuzz(func(t *testing.T, answer []byte, user string) {
		list, err := parseConns(answer, user)
		if err != nil && len(list) != 0 {
			t.Errorf("%d connections and %v", len(list), err)
		}
	})
}
