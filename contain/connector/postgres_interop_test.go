//go:build interop

package connector

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/agentcustody/custody/contain"
)

// pgWorld is a PostgreSQL server with roles of the test.
type pgWorld struct {
	t          *testing.T
	host, port string
}

const pgRoles = `
CREATE ROLE custody LOGIN CREATEROLE PASSWORD 'c-secret'; GRANT pg_signal_backend TO custody;
CREATE ROLE weak LOGIN PASSWORD 'w-secret';
CREATE ROLE readers;
CREATE ROLE "support-1" LOGIN PASSWORD 'a-secret' IN ROLE readers;
CREATE ROLE "support-2" LOGIN PASSWORD 'b-secret' IN ROLE readers;
CREATE ROLE team; GRANT "support-1" TO team;
CREATE ROLE "sub ""1""" LOGIN PASSWORD 'd-secret' IN ROLE team;
CREATE ROLE sub2 LOGIN PASSWORD 'd-secret' IN ROLE "support-1";
CREATE ROLE dba LOGIN PASSWORD 'd-secret' IN ROLE "support-1";
CREATE ROLE owner LOGIN PASSWORD 'd-secret'; GRANT "support-1" TO owner WITH ADMIN OPTION;
`

func newPGWorld(t *testing.T) *pgWorld {
	t.Helper()
	initdb := needs(t, "initdb", "/usr/lib/postgresql/*/bin/initdb", "postgresql")
	dir, port := serverFolder(t), freePort(t)
	data := filepath.Join(dir, "data")
	out, err := asNobody(t.Context(), dir, initdb, "-D", data, "-A", "scram-sha-256", "-U", "postgres", "--no-sync", "--pwfile", passwordFor(t, dir)).CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	cmd := asNobody(context.Background(), dir, filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "fsync=off")
	start(t, cmd, "127.0.0.1:"+port)
	w := &pgWorld{t, "127.0.0.1", port}
	w.awaitStart()
	w.exec(pgRoles)
	return w
}

// passwordFor is the superuser's password in a file that nobody can read.
func passwordFor(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "password")
	if err := os.WriteFile(path, []byte("p-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(path, nobody, nobody) // as root
	return path
}

// dsn is a login's connection string.
func (w *pgWorld) dsn(address, role, password string) string {
	host, port, _ := strings.Cut(address, ":")
	return fmt.Sprintf("host=%s port=%s user='%s' password=%s dbname=postgres sslmode=disable", host, port, role, password)
}

func (w *pgWorld) address() string { return w.host + ":" + w.port }

func (w *pgWorld) tryLogin(role, password string) (*pgx.Conn, error) {
	return pgx.Connect(w.t.Context(), w.dsn(w.address(), role, password))
}

// logIn opens a session.
func (w *pgWorld) logIn(role, password string) *pgx.Conn {
	w.t.Helper()
	db, err := w.tryLogin(role, password)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = db.Close(context.Background()) })
	return db
}

// awaitStart waits until logins are taken: the port is open before.
func (w *pgWorld) awaitStart() {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		db, err := w.tryLogin("postgres", "p-secret")
		if err == nil {
			_ = db.Close(w.t.Context())
			return
		}
		if time.Now().After(end) {
			w.t.Fatal(err)
		}
	}
}

func (w *pgWorld) exec(sql string) {
	w.t.Helper()
	if _, err := w.logIn("postgres", "p-secret").Exec(w.t.Context(), sql); err != nil {
		w.t.Fatal(err)
	}
}

// connector is the one for role support-1, by Custody's role.
func (w *pgWorld) connector(admin, password string) *postgres {
	return &postgres{
		admin: secretFile(w.t, w.dsn(w.address(), admin, password)), login: secretFile(w.t, w.dsn(w.address(), "support-1", "a-secret")),
		role: "support-1", spare: []string{"dba"},
	}
}

// TestPostgres is against a real server.
func TestPostgres(t *testing.T) {
	w := newPGWorld(t)
	t.Run("proves only what it saw", w.provesOnlyWhatItSaw)
	t.Run("delegates", w.delegates)
	t.Run("role", w.role)
}

func (w *pgWorld) role(t *testing.T) {
	p := w.connector("custody", "c-secret")
	agent, bystander := w.logIn("support-1", "a-secret"), w.logIn("support-2", "b-secret")
	suite(t, world{
		revoker: p, files: []secret{p.admin, p.login}, secrets: []string{"c-secret", "a-secret"},
		at: func(address string) contain.Revoker {
			return &postgres{
				admin: secretFile(t, w.dsn(address, "custody", "c-secret")), login: secretFile(t, w.dsn(address, "support-1", "a-secret")), role: "support-1",
			}
		},
		sessions: func() int {
			if agent.Ping(t.Context()) != nil {
				return 0
			}
			return 1
		},
	})
	if err := bystander.Ping(t.Context()); err != nil {
		t.Errorf("another role is hit too: %v", err)
	}
}

// delegates: roles that hold the role follow it; who administers it, and who is spared, do not.
func (w *pgWorld) delegates(t *testing.T) {
	p := w.connector("custody", "c-secret")
	session := w.logIn(`sub "1"`, "d-secret")
	names, err := p.Delegates(limited(t))
	if diff := cmp.Diff([]string{`sub "1"`, "sub2"}, names); diff != "" || err != nil {
		t.Fatalf("delegates (-want +got):\n%s%v", diff, err)
	}
	would, err := p.DryRun(limited(t), errand)
	if len(would) != 1+len(names) || err != nil {
		t.Errorf("dry run: %q, %v", would, err)
	}
	for _, name := range names {
		e := errand
		e.Delegate = name
		for _, want := range []contain.Liveness{contain.Alive, contain.Dead} {
			if found, evidence, err := p.Probe(limited(t), e); found != want || err != nil {
				t.Errorf("%s: %v, %s, %v", name, found, evidence, err)
			}
			if _, err := p.Revoke(limited(t), e); err != nil {
				t.Error(err)
			}
		}
	}
	if session.Ping(t.Context()) == nil {
		t.Error("a delegate's session lives")
	}
	if names, err := p.Delegates(limited(t)); len(names) != 0 || err != nil {
		t.Errorf("left: %v, %v", names, err)
	}
}

// provesOnlyWhatItSaw: a wrong password and a host that pg_hba.conf refuses look like a refusal too.
func (w *pgWorld) provesOnlyWhatItSaw(t *testing.T) {
	weak := w.connector("weak", "w-secret")
	if _, err := weak.DryRun(limited(t), errand); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("without rights: %v", err)
	}
	if _, err := weak.Revoke(limited(t), errand); err == nil {
		t.Error("revoked without rights")
	}
	w.exec("REVOKE pg_signal_backend FROM custody")
	p := w.connector("custody", "c-secret")
	if _, err := p.DryRun(limited(t), errand); err == nil || !strings.Contains(err.Error(), "pg_signal_backend") {
		t.Errorf("without the right to end sessions: %v", err)
	}
	w.exec("GRANT pg_signal_backend TO custody")
	p.login = secretFile(t, w.dsn(w.address(), "support-1", "old-secret"))
	if found, evidence, err := p.Probe(limited(t), errand); found != contain.Unclear || !strings.Contains(evidence, "28P01") || err != nil {
		t.Errorf("a wrong password: %v, %s, %v", found, evidence, err)
	}
	p.login = secretFile(t, strings.Replace(w.dsn(w.address(), "support-1", "a-secret"), "dbname=postgres", "dbname=none", 1))
	if found, evidence, err := p.Probe(limited(t), errand); found != contain.Unclear || err != nil {
		t.Errorf("no such database: %v, %s, %v", found, evidence, err)
	}
	p.login = secretFile(t, w.dsn(w.address(), "support-2", "b-secret"))
	if found, _, err := p.Probe(limited(t), errand); found != contain.Unclear || err == nil {
		t.Errorf("another role's login: %v, %v", found, err)
	}
}
