package edge_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/signer"
)

func TestJoin(t *testing.T) {
	server := edgetest.New(t)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if _, err := edge.Join(t.Context(), dir, "hello", server.Address, server.CA); err == nil || !strings.Contains(err.Error(), "not a join token") {
		t.Errorf("a token that is none: %v", err)
	}
	wrong := server.Token("other-1")
	wrong = strings.Replace(wrong, "other-1", instance, 1)
	if _, err := edge.Join(t.Context(), dir, wrong, server.Address, server.CA); err == nil {
		t.Error("joined with a token that was changed")
	}
	if _, err := edge.Join(t.Context(), dir, server.Token(instance), server.Address, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	id, err := edge.Join(t.Context(), dir, server.Token(instance), server.Address, server.CA)
	if err != nil || id.Tenant != edgetest.Tenant || id.Instance != instance || id.Producer != "agent" {
		t.Fatalf("identity %+v, %v", id, err)
	}
	if _, err := edge.Join(t.Context(), dir, server.Token(instance), server.Address, server.CA); !errors.Is(err, edge.ErrJoined) {
		t.Errorf("joined twice: %v", err)
	}
	for _, name := range []string{"key.pem", "identity.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestNotJoined(t *testing.T) {
	if _, err := edge.Open(t.Context(), edge.Config{Dir: t.TempDir()}); !errors.Is(err, edge.ErrNotJoined) {
		t.Errorf("an empty folder: %v", err)
	}
	t.Setenv(edge.EnvEmitter, "")
	if _, err := edge.FromEnv(t.Context()); err == nil || !strings.Contains(err.Error(), edge.EnvEmitter) {
		t.Errorf("no environment: %v", err)
	}
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := edge.Open(t.Context(), edge.Config{Dir: dir}); !errors.Is(err, signer.ErrKeyExposed) {
		t.Errorf("a key that others can read: %v", err)
	}
}

// TestADamagedFolder: what is broken is named, and is not taken for a folder that nobody has joined.
func TestADamagedFolder(t *testing.T) {
	server := edgetest.New(t)
	for _, name := range []string{"key.pem", "identity.json", "fingerprint.json"} {
		dir := server.Join(t, instance)
		e, _ := emitter(t, dir)
		shut(t, e)
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := edge.Open(t.Context(), edge.Config{Dir: dir}); !errors.Is(err, edge.ErrDamaged) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is empty: %v", name, err)
		}
	}
}

func TestRotate(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, instance)
	e, _ := emitter(t, dir)
	record(t, e, 1, 5)
	if _, err := edge.Rotate(t.Context(), dir, server.Token(instance)); !errors.Is(err, edge.ErrInUse) {
		t.Errorf("while it is in use: %v", err)
	}
	shut(t, e)
	before := e.Identity()
	if _, err := edge.Rotate(t.Context(), dir, server.Token("other-1")); err == nil || !strings.Contains(err.Error(), "is for acme/other-1") {
		t.Errorf("a token of another instance: %v", err)
	}
	server.Stop()
	e, _ = emitter(t, dir, func(c *edge.Config) { c.CloseTimeout = 1 })
	record(t, e, 6, 6)
	if err := e.Close(t.Context()); !errors.Is(err, edge.ErrUndelivered) {
		t.Fatal(err)
	}
	server.Start()
	if _, err := edge.Rotate(t.Context(), dir, server.Token(instance)); !errors.Is(err, edge.ErrUndelivered) {
		t.Errorf("with events in the spool: %v", err)
	}
	e, _ = emitter(t, dir)
	shut(t, e)
	after, err := edge.Rotate(t.Context(), dir, server.Token(instance))
	if err != nil || after.KeyID == before.KeyID || after.Instance != before.Instance {
		t.Fatalf("rotated to %+v, %v", after, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "key.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old key is still there: %v", err)
	}
	e, reported := emitter(t, dir, func(c *edge.Config) { c.Log = slog.New(slog.DiscardHandler) })
	record(t, e, 7, 9)
	shut(t, e)
	if len(reported.all) > 0 || len(server.Events(instance)) != 9 {
		t.Errorf("%d events, reported %v", len(server.Events(instance)), reported.all)
	}
}
