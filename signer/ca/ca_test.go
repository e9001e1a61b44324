package ca_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/signer/ca"
)

func open(t testing.TB, dir string, o ca.Options) *ca.CA {
	t.Helper()
	c, err := ca.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func issue(t testing.TB, c *ca.CA, name string) ca.Client {
	t.Helper()
	client, err := c.IssueClient(name)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func clientTLS(t testing.TB, c *ca.CA, client ca.Client, server string) *tls.Config {
	t.Helper()
	config, err := ca.ClientTLS(c.CertPEM(), client.CertPEM, client.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = server
	return config
}

// handshake connects client and server and returns what each saw of the other.
func handshake(t *testing.T, server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	t.Helper()
	a, b := connect(t)
	deadline := time.Now().Add(5 * time.Second)
	_ = errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline))
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1}) // TLS 1.3: the client learns of a refusal when it reads
		}
		done <- errors.Join(err, a.Close())
	}()
	err = c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	_ = b.Close()
	return s.ConnectionState(), c.ConnectionState(), errors.Join(err, <-done)
}

// connect returns the two ends of a loopback connection: unlike net.Pipe it
// buffers, so neither side waits for the other to read its alert.
func connect(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if a, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestHandshakeForEachHost(t *testing.T) {
	c := open(t, t.TempDir(), ca.Options{Hosts: []string{"custody.internal", "10.1.2.3"}})
	ada := issue(t, c, "ada")
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "custody.internal", "10.1.2.3"} {
		atServer, atClient, err := handshake(t, c.ServerTLS(tls.VerifyClientCertIfGiven), clientTLS(t, c, ada, host))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if atClient.Version != tls.VersionTLS13 {
			t.Errorf("%s: version %x", host, atClient.Version)
		}
		peer := atServer.PeerCertificates[0]
		if name, err := ca.ClientName(peer); err != nil || name != "ada" || ca.Fingerprint(peer) != ada.Fingerprint {
			t.Errorf("%s: client is %q %s, %v", host, name, ca.Fingerprint(peer), err)
		}
	}
}

func TestHandshakeRefusals(t *testing.T) {
	c, other := open(t, t.TempDir(), ca.Options{}), open(t, t.TempDir(), ca.Options{})
	ada, stranger := issue(t, c, "ada"), issue(t, other, "ada")
	noCert, old := c.ClientTLS(), clientTLS(t, c, ada, "localhost")
	noCert.ServerName = "localhost"
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, c := range map[string]struct{ server, client *tls.Config }{
		"other host":                   {c.ServerTLS(tls.VerifyClientCertIfGiven), clientTLS(t, c, ada, "example.com")},
		"server of another authority":  {other.ServerTLS(tls.NoClientCert), clientTLS(t, c, ada, "localhost")},
		"client of another authority":  {c.ServerTLS(tls.VerifyClientCertIfGiven), clientTLS(t, c, stranger, "localhost")},
		"no certificate where needed":  {c.ServerTLS(tls.RequireAndVerifyClientCert), noCert},
		"TLS 1.2":                      {c.ServerTLS(tls.VerifyClientCertIfGiven), old},
		"client certificate as server": {serverWith(t, ada, c), clientTLS(t, c, ada, "localhost")},
	} {
		if _, _, err := handshake(t, c.server, c.client); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := handshake(t, c.ServerTLS(tls.VerifyClientCertIfGiven), noCert); err != nil {
		t.Errorf("no certificate where none is needed: %v", err)
	}
}

func serverWith(t *testing.T, client ca.Client, c *ca.CA) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(client.CertPEM, client.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	config := c.ServerTLS(tls.NoClientCert)
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	return config
}

func TestAuthoritySurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	first := open(t, dir, ca.Options{})
	ada := issue(t, first, "ada")
	second := open(t, dir, ca.Options{})
	if first.Fingerprint() != second.Fingerprint() {
		t.Error("restart made another authority")
	}
	if _, _, err := handshake(t, second.ServerTLS(tls.RequireAndVerifyClientCert), clientTLS(t, first, ada, "localhost")); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil || string(data) != string(first.CertPEM()) {
		t.Errorf("ca.crt is %q, %v", data, err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, ca.Options{})
	for name, want := range map[string]fs.FileMode{"ca.pem": 0o600, "ca.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "ca.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Open(dir, ca.Options{}); !errors.Is(err, ca.ErrKeyExposed) {
		t.Errorf("exposed key: %v", err)
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	now := time.Now()
	c := open(t, t.TempDir(), ca.Options{Now: func() time.Time { return now }})
	config := c.ServerTLS(tls.NoClientCert)
	current := func() *x509.Certificate {
		cert, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf
	}
	first := current()
	now = now.Add(ca.ServerValidity / 2)
	if !current().Equal(first) {
		t.Error("renewed too early")
	}
	now = now.Add(ca.ServerValidity / 4)
	second := current()
	if second.Equal(first) || !second.NotAfter.After(first.NotAfter) {
		t.Error("not renewed")
	}
	client := c.ClientTLS()
	client.ServerName = "localhost"
	if _, _, err := handshake(t, config, client); err != nil {
		t.Errorf("after renewal: %v", err)
	}
}

func TestNothingOutlivesTheAuthority(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := ca.Options{Now: func() time.Time { return now }}
	c := open(t, dir, clock)
	end := now.Add(ca.Validity)
	now = end.Add(-time.Hour)
	if ada := issue(t, c, "ada"); ada.NotAfter.After(end) {
		t.Errorf("client certificate ends %v after its authority", ada.NotAfter.Sub(end))
	}
	now = end.Add(time.Hour)
	if _, err := ca.Open(dir, clock); !errors.Is(err, ca.ErrCA) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired authority: %v", err)
	}
}

func TestClientNames(t *testing.T) {
	c := open(t, t.TempDir(), ca.Options{})
	for _, name := range []string{"", strings.Repeat("a", 65), "a\nb", "a\x1b[2J", "a\xff"} {
		if _, err := c.IssueClient(name); !errors.Is(err, ca.ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
		}
	}
	for _, name := range []string{"ada", "Ada Lovelace", "ada@example.com", "ада/1?x#y%"} {
		block, _ := pem.Decode(issue(t, c, name).CertPEM)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ca.ClientName(cert); err != nil || got != name {
			t.Errorf("%q comes back as %q, %v", name, got, err)
		}
	}
	server, _ := c.ServerTLS(tls.NoClientCert).GetCertificate(nil)
	if _, err := ca.ClientName(server.Leaf); !errors.Is(err, ca.ErrName) {
		t.Errorf("server certificate as a client's: %v", err)
	}
}

func TestDamagedAuthorityIsRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	open(t, dir, ca.Options{})
	open(t, other, ca.Options{})
	good, foreign := readPEM(t, dir), readPEM(t, other)
	cut := strings.Index(good, "-----BEGIN PRIVATE")
	foreignCut := strings.Index(foreign, "-----BEGIN PRIVATE")
	for name, content := range map[string]string{
		"empty": "", "no key": good[:cut], "no certificate": good[cut:], "foreign key": good[:cut] + foreign[foreignCut:],
		"trailing": good + "x", "swapped": good[cut:] + good[:cut],
	} {
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Open(dir, ca.Options{}); !errors.Is(err, ca.ErrCA) {
			t.Errorf("%s: %v, want ErrCA", name, err)
		}
	}
}

func readPEM(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestClientKeyIsNotPrinted(t *testing.T) {
	ada := issue(t, open(t, t.TempDir(), ca.Options{}), "ada")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if out := fmt.Sprintf(verb, ada); out != "ca.Client("+ada.Fingerprint+", key redacted)" {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}

func TestClientTLSRefuses(t *testing.T) {
	c := open(t, t.TempDir(), ca.Options{})
	ada, bob := issue(t, c, "ada"), issue(t, c, "bob")
	if _, err := ca.ClientTLS(nil, nil, nil); !errors.Is(err, ca.ErrCA) {
		t.Errorf("no authority: %v", err)
	}
	if _, err := ca.ClientTLS(c.CertPEM(), ada.CertPEM, bob.KeyPEM); err == nil {
		t.Error("the key of another was accepted")
	}
}
