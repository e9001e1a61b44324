// Package testenv is the whole system in one process, for tests: a node on a temporary data folder with the
// embedded stream and store, its people, and emitters that have joined.
//
//	env := testenv.New(t)
//	env.CreateTenant("acme")
//	env.CreateInstance("acme", "support-1")
//	emitter, _ := edge.Open(ctx, edge.Config{Dir: env.Enrol("acme", "support-1").Dir})
//	…
//	env.WaitCommitted()
//	conn := env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
package testenv

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// patience bounds what a test waits for.
const patience = time.Minute

// Env is a running system. It stops with the test.
type Env struct {
	t       testing.TB
	config  node.Config
	node    *node.Node
	admin   *grpc.ClientConn
	folders int
}

// Option changes the node's configuration.
type Option func(*node.Config)

// New starts a system in a folder of the test's own, listening on a free port of loopback.
func New(t testing.TB, options ...Option) *Env {
	t.Helper()
	env := &Env{t: t, config: node.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", Domain: "test.example", DiskReserve: -1, NoSync: true,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}}
	for _, option := range options {
		option(&env.config)
	}
	env.Start()
	t.Cleanup(env.Stop)
	return env
}

// Durable syncs every message to disk, as a server does.
func Durable(c *node.Config) { c.NoSync = false }

// testWriter writes the node's log into the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Logf("node: %s", line)
	return len(line), nil
}

// Start starts the system again after Stop or Kill. Where a port was chosen, it is kept.
func (e *Env) Start() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := node.Open(ctx, e.config)
	if err != nil {
		e.t.Fatal(err)
	}
	e.node, e.config.Listen = n, n.Address()
	e.admin = e.Dial("admin")
}

// Stop stops the system in order. Stopping twice is stopping once.
func (e *Env) Stop() { e.end((*node.Node).Close) }

// Kill ends the system as a kill would: calls are cut, and nothing is flushed.
func (e *Env) Kill() { e.end((*node.Node).Abort) }

func (e *Env) end(how func(*node.Node) error) {
	e.t.Helper()
	if e.node == nil {
		return
	}
	_ = e.admin.Close()
	if err := how(e.node); err != nil {
		e.t.Error(err)
	}
	e.node = nil
}

// Restart is Stop and Start.
func (e *Env) Restart() {
	e.t.Helper()
	e.Stop()
	e.Start()
}

// Node is the running node.
func (e *Env) Node() *node.Node { return e.node }

// DataDir is the node's data folder.
func (e *Env) DataDir() string { return e.config.DataDir }

// Address is where the node listens.
func (e *Env) Address() string { return e.node.Address() }

// Admin is a connection of the person of the first start, who may do everything but approve, over all
// tenants.
func (e *Env) Admin() *grpc.ClientConn { return e.admin }

// Dial connects through the local socket as somebody whose certificate is in the data folder.
func (e *Env) Dial(name string) *grpc.ClientConn {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := node.Dial(ctx, node.DialConfig{DataDir: e.config.DataDir, As: name})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// CreateTenant makes a tenant and returns its log's origin.
func (e *Env) CreateTenant(tenant string) (origin string) {
	e.t.Helper()
	r, err := apiv1.NewAdminServiceClient(e.admin).CreateTenant(e.t.Context(), &apiv1.CreateTenantRequest{Tenant: tenant})
	if err != nil {
		e.t.Fatal(err)
	}
	return r.GetOrigin()
}

// anything is a manifest that allows everything, of the consequence that the agent says, and low if it says none.
var anything = []*eventv1.Permission{
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "*", Consequence: eventv1.Consequence_CONSEQUENCE_LOW},
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_WRITE, Tool: "*"},
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_SEND, Tool: "*"},
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_TRIGGER, Tool: "*"},
}

// CreateInstance makes an instance with the given manifest, or one that allows everything.
func (e *Env) CreateInstance(tenant, instance string, manifest ...*eventv1.Permission) {
	e.t.Helper()
	if len(manifest) == 0 {
		manifest = anything
	}
	_, err := apiv1.NewAdminServiceClient(e.admin).CreateInstance(e.t.Context(), &apiv1.CreateInstanceRequest{
		Tenant: tenant, Instance: instance, Permissions: manifest,
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// Ticket makes a join token for one key of an agent.
func (e *Env) Ticket(tenant, instance string) *apiv1.CreateJoinTokenResponse {
	return e.TicketFor(tenant, instance, eventv1.ProducerClass_PRODUCER_CLASS_AGENT)
}

// TicketFor makes a join token for one key of a class.
func (e *Env) TicketFor(tenant, instance string, producer eventv1.ProducerClass) *apiv1.CreateJoinTokenResponse {
	e.t.Helper()
	r, err := apiv1.NewAdminServiceClient(e.admin).CreateJoinToken(e.t.Context(), &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: producer,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// Emitter is a joined emitter: the folder that edge.Open takes.
type Emitter struct {
	edge.Identity
	Dir string
}

// Enrol makes a key in a new folder and joins with it.
func (e *Env) Enrol(tenant, instance string) Emitter {
	e.t.Helper()
	return e.EnrolFor(tenant, instance, eventv1.ProducerClass_PRODUCER_CLASS_AGENT)
}

// EnrolFor is Enrol with a producer class.
func (e *Env) EnrolFor(tenant, instance string, producer eventv1.ProducerClass) Emitter {
	e.t.Helper()
	ticket := e.TicketFor(tenant, instance, producer)
	e.folders++
	dir := filepath.Join(e.t.TempDir(), fmt.Sprintf("emitter-%d", e.folders))
	id, err := edge.Join(e.t.Context(), dir, ticket.GetToken(), ticket.GetAddress(), ticket.GetCaPem())
	if err != nil {
		e.t.Fatal(err)
	}
	return Emitter{Identity: id, Dir: dir}
}

// Person gives somebody a role, in one tenant or over all if it is empty, and returns their connection.
// Their certificate is kept in the data folder, for Dial.
func (e *Env) Person(tenant, name string, role eventv1.Role) *grpc.ClientConn {
	e.t.Helper()
	r, err := apiv1.NewAdminServiceClient(e.admin).AddUser(e.t.Context(), &apiv1.AddUserRequest{Tenant: tenant, Name: name, Role: role})
	if err != nil {
		e.t.Fatal(err)
	}
	people := filepath.Join(e.config.DataDir, "people")
	for suffix, content := range map[string][]byte{".crt": r.GetCertificatePem(), ".key": r.GetKeyPem()} {
		if err := os.WriteFile(filepath.Join(people, name+suffix), content, 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	return e.Dial(name)
}

// WaitCommitted returns when everything that is in the stream now is committed.
func (e *Env) WaitCommitted() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	state, err := e.node.Stream().State(ctx)
	if err == nil {
		err = e.node.Ledger().WaitCommitted(ctx, state.Last)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}
