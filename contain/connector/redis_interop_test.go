//go:build interop

package connector

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentcustody/custody/contain"
)

// redisServer starts one with an ACL file, and returns its address.
func redisServer(t *testing.T) *url.URL {
	t.Helper()
	program := needs(t, "redis-server", "", "redis-server")
	dir, port := serverFolder(t), freePort(t)
	acl := "user default off\nuser custody on >c-secret -@all +acl +client\nuser support-1 on >a-secret:1 ~support:* +@all -@dangerous\nuser support-2 on >b-secret ~* +@all\n" +
		"user weak on >w-secret ~* +@all -acl|setuser\n"
	path := filepath.Join(dir, "users.acl")
	if err := os.WriteFile(path, []byte(acl), 0o666); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(path, nobody, nobody) // as root
	cmd := asNobody(context.Background(), dir, program, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--aclfile", path, "--save", "")
	start(t, cmd, "127.0.0.1:"+port)
	return &url.URL{Scheme: "redis", Host: net.JoinHostPort("127.0.0.1", port)}
}

// agentOf logs a user in at a server.
func agentOf(t *testing.T, node *url.URL, user, password string) *wire {
	t.Helper()
	w, err := dialRedis(t.Context(), node, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	if _, err := w.do("AUTH", user, password); err != nil {
		t.Fatal(err)
	}
	return w
}

// alive counts connections that still answer.
func aliveOf(list ...*wire) func() int {
	return func() (n int) {
		for _, w := range list {
			if _, err := w.do("PING"); err == nil {
				n++
			}
		}
		return n
	}
}

// TestRedisUser is against two real servers: ACLs are not replicated.
func TestRedisUser(t *testing.T) {
	first, second := redisServer(t), redisServer(t)
	r := &redis{nodes: []*url.URL{first, second}, user: "support-1", admin: secretFile(t, "custody:c-secret"), login: secretFile(t, "support-1:a-secret:1")}
	bystander := aliveOf(agentOf(t, first, "support-2", "b-secret"))
	suite(t, world{
		revoker: r, files: []secret{r.admin, r.login}, secrets: []string{"c-secret", "a-secret"},
		at: func(address string) contain.Revoker {
			return &redis{nodes: []*url.URL{{Scheme: "redis", Host: address}}, user: r.user, admin: r.admin, login: r.login}
		},
		sessions: aliveOf(agentOf(t, first, "support-1", "a-secret:1"), agentOf(t, second, "support-1", "a-secret:1")),
	})
	if bystander() != 1 {
		t.Error("another user is hit too")
	}
}

// TestRedisProvesOnlyWhatItSaw: half of the servers, a wrong password, a user without rights.
func TestRedisProvesOnlyWhatItSaw(t *testing.T) {
	first, second := redisServer(t), redisServer(t)
	login := secretFile(t, "support-1:a-secret:1")
	r := &redis{nodes: []*url.URL{first, second}, user: "support-1", admin: secretFile(t, "weak:w-secret"), login: login}
	if _, err := r.DryRun(limited(t), errand); err == nil || !strings.Contains(err.Error(), "may not ACL SETUSER") {
		t.Errorf("without rights: %v", err)
	}
	r.admin = secretFile(t, "custody:c-secret")
	half := &redis{nodes: []*url.URL{first}, user: r.user, admin: r.admin, login: r.login}
	if _, err := half.Revoke(limited(t), errand); err != nil {
		t.Fatal(err)
	}
	if found, evidence, err := r.Probe(limited(t), errand); found != contain.Alive {
		t.Errorf("revoked on one of two: %v, %s, %v", found, evidence, err)
	}
	r.login = secretFile(t, "support-1:an old one")
	for _, node := range []*url.URL{first, second} { // off, and on
		r.nodes = []*url.URL{node}
		if found, evidence, err := r.Probe(limited(t), errand); found != contain.Unclear || evidence == "" || err != nil {
			t.Errorf("a wrong password: %v, %s, %v", found, evidence, err)
		}
	}
}
