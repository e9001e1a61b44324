package node_test

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// served is a node that serves its logs over HTTPS, with an auditor of acme.
type served struct {
	t      *testing.T
	env    *testenv.Env
	client *http.Client
}

func newServed(t *testing.T) *served {
	env := testenv.New(t, func(c *node.Config) { c.LogListen = "127.0.0.1:0" })
	env.CreateTenant("acme")
	env.CreateTenant("zeta")
	env.CreateInstance("acme", "support-1")
	env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	env.Person("acme", "ann", eventv1.Role_ROLE_ANALYST)
	env.WaitCommitted()
	for _, tenant := range []event.TenantID{"acme", "zeta"} {
		waitSigned(t, env, tenant)
	}
	return &served{t, env, clientOf(t, env, "dana")}
}

// waitSigned waits for a checkpoint over what is committed now: one is signed every second.
func waitSigned(t *testing.T, env *testenv.Env, tenant event.TenantID) {
	t.Helper()
	want, _ := env.Node().Ledger().Head(tenant)
	for range 300 {
		if c, err := env.Node().Ledger().LatestCheckpoint(t.Context(), tenant); err == nil && c.Size >= want.Size {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("no checkpoint of %s", tenant)
}

func clientOf(t *testing.T, env *testenv.Env, name string) *http.Client {
	t.Helper()
	client, err := node.DialConfig{DataDir: env.DataDir(), As: name}.HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// get returns the status, and the whole answer as it came.
func (s *served) get(client *http.Client, path string) (int, []byte) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+s.env.Node().LogAddress()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	whole, err := httputil.DumpResponse(response, true)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, whole
}

// body returns the content of a resource.
func (s *served) body(path string) []byte {
	s.t.Helper()
	status, whole := s.get(s.client, path)
	if status != http.StatusOK {
		s.t.Fatalf("%s: %d", path, status)
	}
	_, body, _ := bytes.Cut(whole, []byte("\r\n\r\n"))
	return body
}

// head is the newest checkpoint.
func (s *served) head() chain.Checkpoint {
	s.t.Helper()
	text, _, _ := bytes.Cut(s.body("/log/acme/checkpoint"), []byte("\n\n"))
	head, err := chain.ParseCheckpoint(append(text, '\n'))
	if err != nil {
		s.t.Fatal(err)
	}
	return head
}

// Tiles and entries are those of the tree under the checkpoint, and end with it.
func TestTiledLog(t *testing.T) {
	s := newServed(t)
	head := s.head()
	partial := func(level string, width chain.Index) string {
		return "/log/acme/" + strings.Replace(chain.Tile{Width: int(width)}.Path(), "/0/", "/"+level+"/", 1)
	}
	for _, path := range []string{
		partial("0", head.Size+1), partial("entries", head.Size+1), "/log/acme/tile/0/000", "/log/acme/tile/1/000.p/1",
		"/log/acme/tile/0/0", "/log/acme/", "/log/acme/nothing", "/log/acme/confirmed", "/log/acme", "/",
	} {
		if status, _ := s.get(s.client, path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	entries, hashes := s.body(partial("entries", head.Size)), s.body(partial("0", head.Size))
	var leaves []chain.Hash
	for i := range head.Size {
		n := int(binary.BigEndian.Uint16(entries))
		hash := chain.LeafHash(entries[2 : 2+n])
		entries = entries[2+n:]
		if leaves = append(leaves, hash); !bytes.Equal(hash[:], hashes[i*chain.HashSize:][:chain.HashSize]) {
			t.Errorf("leaf %d and its hash differ", i)
		}
	}
	if len(entries) > 0 || chain.EventRoot(leaves) != head.Root {
		t.Errorf("%d bytes are left, root %s, want %s", len(entries), chain.EventRoot(leaves), head.Root)
	}
	_, whole := s.get(s.client, partial("0", 1))
	for _, header := range []string{"Content-Type: application/octet-stream", "Cache-Control: private, max-age=31536000, immutable"} {
		if !bytes.Contains(whole, []byte(header)) {
			t.Errorf("no %q in %q", header, whole)
		}
	}
}

// Whoever reads leaves is recorded, once while a visit lasts; checkpoints and hashes tell nothing.
func TestReadingLeavesIsRecorded(t *testing.T) {
	s := newServed(t)
	head := s.head()
	entries := "/log/acme/tile/entries/000.p/1"
	admin := clientOf(t, s.env, "admin")
	for _, read := range []struct {
		client *http.Client
		path   string
		more   chain.Index // records
	}{{s.client, "/log/acme/tile/0/000.p/1", 0}, {s.client, entries, 1}, {s.client, entries, 1}, {s.client, "/log/acme/tile/entries/000.p/2", 1}, {admin, entries, 2}} {
		if status, _ := s.get(read.client, read.path); status != http.StatusOK {
			t.Errorf("%s: %d", read.path, status)
		}
		s.env.WaitCommitted()
		if now, _ := s.env.Node().Ledger().Head("acme"); chain.Index(now.Size) != head.Size+read.more {
			t.Errorf("%s: %d records after %d, want %d more", read.path, now.Size, head.Size, read.more)
		}
	}
}

// A foreign log and one that does not exist are the same bytes, whatever is asked of them.
func TestForeignLogs(t *testing.T) {
	s := newServed(t)
	for _, resource := range []string{"checkpoint", "confirmed", "tile/0/000.p/1", "tile/entries/000.p/1", "tile/0/000", "nothing", ""} {
		status, foreign := s.get(s.client, "/log/zeta/"+resource)
		_, missing := s.get(s.client, "/log/nobody/"+resource)
		if status != http.StatusNotFound || !bytes.Equal(foreign, missing) {
			t.Errorf("%s: %d\n%q\n%q", resource, status, foreign, missing)
		}
	}
	analyst := clientOf(t, s.env, "ann")
	if status, _ := s.get(analyst, "/log/acme/checkpoint"); status != http.StatusForbidden {
		t.Errorf("an analyst: %d", status)
	}
	if status, _ := s.get(clientOf(t, s.env, "admin"), "/log/zeta/checkpoint"); status != http.StatusOK {
		t.Errorf("the first admin: %d", status)
	}
	stranger := &http.Client{Transport: s.client.Transport.(*http.Transport).Clone()}
	stranger.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	t.Cleanup(stranger.CloseIdleConnections)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.env.Node().LogAddress()+"/log/acme/checkpoint", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := stranger.Do(request); err == nil {
		_ = response.Body.Close()
		t.Errorf("without a certificate: %s", response.Status)
	}
}
