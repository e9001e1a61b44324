package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAServerThatHangs: whoever holds the folder and does not answer is no server that was never started.
func TestAServerThatHangs(t *testing.T) {
	a := &app{data: t.TempDir(), as: defaultPerson}
	if err := os.MkdirAll(a.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.path("keys"), "system.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, f := a.askServer(t.Context()); f.State != partWarn || !strings.HasPrefix(f.Detail, "none runs") {
		t.Errorf("no server: %+v", f)
	}
	served, err := a.lock(servedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	if _, f := a.askServer(t.Context()); f.State != partFail || !strings.Contains(f.Detail, "does not answer") {
		t.Errorf("one that hangs: %+v", f)
	}
	for _, f := range a.examine(t.Context()) {
		if f.Part == "port" {
			t.Errorf("its port is nobody else's: %+v", f)
		}
	}
	if !strings.Contains(a.waitsFor(), "the server on "+a.data) {
		t.Errorf("waits for: %s", a.waitsFor())
	}
}
