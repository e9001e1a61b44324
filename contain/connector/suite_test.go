package connector

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
)

// world is a server with a credential that one connector takes away.
type world struct {
	revoker  contain.Revoker
	at       func(address string) contain.Revoker // the same connector to another server
	files    []secret                             // all that it reads
	secrets  []string                             // none of which anybody may hear
	sessions func() int                           // that the agent has open
}

// suite holds a connector to what package contain asks of it. The agent of the world has at least one session open.
func suite(t *testing.T, w world) {
	t.Helper()
	if _, isDry := w.revoker.(contain.DryRunner); !isDry || w.sessions() == 0 {
		t.Fatalf("dry run: %v, sessions %d", isDry, w.sessions())
	}
	w.refusesOpenFiles(t)
	w.withstandsServers(t)
	w.exercise(t, contain.Alive)
	w.exercise(t, contain.Alive) // the first has changed nothing
	for range 2 {                // the second time there is nothing to do
		evidence, err := w.revoker.Revoke(limited(t), errand)
		w.hears(t, evidence, err)
		if err != nil {
			t.Fatal(err)
		}
		if w.sessions() != 0 {
			t.Errorf("%d sessions are left", w.sessions())
		}
		w.exercise(t, contain.Dead)
	}
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// exercise is what the armed board does.
func (w *world) exercise(t *testing.T, want contain.Liveness) {
	t.Helper()
	sessions := w.sessions()
	c := contain.Connector{Name: "c", Covers: []event.Target{errand.Target}, Revoker: w.revoker}
	x, err := c.Exercise(t.Context())
	w.hears(t, x.Evidence+strings.Join(x.Would, "\n"), err)
	if x.Found != want || err != nil || len(x.Would) == 0 || w.sessions() != sessions {
		t.Errorf("exercise: %+v, %v, %d of %d sessions; want %v", x, err, w.sessions(), sessions, want)
	}
}

// refusesOpenFiles: a secret that others can read is none.
func (w *world) refusesOpenFiles(t *testing.T) {
	t.Helper()
	for _, file := range w.files {
		if err := os.Chmod(string(file), 0o640); err != nil {
			t.Fatal(err)
		}
		_, dryErr := w.revoker.(contain.DryRunner).DryRun(limited(t), errand)
		found, _, err := w.revoker.Probe(limited(t), errand)
		if !errors.Is(dryErr, errOpen) && (!errors.Is(err, errOpen) || found != contain.Unclear) {
			t.Errorf("%s is open: %v; %v, %v", file, dryErr, found, err)
		}
		if err := os.Chmod(string(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// withstandsServers: one that is down, and one that says nothing.
func (w *world) withstandsServers(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := w.at(l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	evidence, err := silent.Revoke(ctx, errand)
	w.hears(t, evidence, err)
	if err == nil {
		t.Error("a server that says nothing is a yes")
	}
	_ = l.Close()
	evidence, err = silent.Revoke(limited(t), errand)
	if w.hears(t, evidence, err); !errors.Is(err, contain.ErrNotSent) {
		t.Errorf("nobody there: %v", err)
	}
	found, evidence, err := silent.Probe(limited(t), errand)
	if w.hears(t, evidence, err); found != contain.Unclear || err == nil {
		t.Errorf("nobody there: %v, %v", found, err)
	}
}

// hears checks that nothing which is said holds a secret.
func (w *world) hears(t *testing.T, text string, err error) {
	t.Helper()
	if err != nil {
		text += err.Error()
	}
	for _, s := range w.secrets {
		if strings.Contains(text, s) {
			t.Errorf("a secret is said: %s", text)
		}
	}
}
