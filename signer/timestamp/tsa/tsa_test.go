package tsa_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
	"github.com/agentcustody/custody/signer/timestamp/tsa"
)

var day = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string) *tsa.Authority {
	t.Helper()
	a, err := tsa.Open(dir, func() time.Time { return day })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthority(t *testing.T) {
	dir := t.TempDir()
	first, again := open(t, dir), open(t, dir)
	if !first.Root().Equal(again.Root()) {
		t.Error("another root after a restart")
	}
	server := httptest.NewServer(again)
	defer server.Close()
	for what, stamp := range map[string]func(context.Context, []byte) ([]byte, error){
		"in process": first.Stamp, "over HTTP": (&tsa.Client{URL: server.URL, HTTP: server.Client()}).Stamp,
	} {
		der, err := stamp(t.Context(), []byte("checkpoint"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s, err := timestamp.Parse(der)
		if err == nil {
			_, err = s.Verify([]byte("checkpoint"), []*x509.Certificate{first.Root()})
		}
		if err != nil || s.Qualified() || !strings.Contains(s.Authority, "not qualified") || !s.Time.Equal(day) {
			t.Errorf("%s: %+v %v", what, s, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "timestamp.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for what, spoil := range map[string]func(path string) error{
		"exposed": func(p string) error { return os.Chmod(p, 0o644) },
		"cut":     func(p string) error { return os.Truncate(p, 900) },
		"empty":   func(p string) error { return os.Truncate(p, 0) },
	} {
		dir := t.TempDir()
		open(t, dir)
		if err := spoil(filepath.Join(dir, "timestamp.pem")); err != nil {
			t.Fatal(err)
		}
		if _, err := tsa.Open(dir, nil); err == nil || what == "exposed" && !errors.Is(err, signer.ErrKeyExposed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whatever an authority answers, what the client returns is a stamp of its message.
func TestClientAgainstStrangeAuthorities(t *testing.T) {
	a := open(t, t.TempDir())
	other, err := a.Stamp(t.Context(), []byte("something else"))
	if err != nil {
		t.Fatal(err)
	}
	old, err := a.Stamp(t.Context(), []byte("checkpoint")) // without the nonce
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"of something else": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }, timestamp.ErrImprint},
		"an old one":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(old) }, tsa.ErrNonce},
		"nothing":           {func(http.ResponseWriter, *http.Request) {}, timestamp.ErrToken},
		"endless":           {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(zeros{}, 1<<20)) }, timestamp.ErrToken},
		"down":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, nil},
	} {
		server := httptest.NewServer(test.answer)
		_, err := (&tsa.Client{URL: server.URL, HTTP: server.Client()}).Stamp(t.Context(), []byte("checkpoint"))
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
		server.Close()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// OpenSSL takes our stamps.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: an independent check of our time stamps is left out")
	}
	dir := t.TempDir()
	a, err := tsa.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.Stamp(t.Context(), []byte("checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"stamp.tsr": der, "message": []byte("checkpoint"),
		"root.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Root().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), openssl, "ts", "-verify", "-in", "stamp.tsr", "-data", "message", "-CAfile", "root.pem")
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "Verification: OK") {
		t.Errorf("%v: %s", err, out)
	}
}
