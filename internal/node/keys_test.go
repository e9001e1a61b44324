package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/stream"
)

// TestNoNewKeysForOldLogs: without its keys, or with those of another system, a node does not start, and changes nothing.
func TestNoNewKeysForOldLogs(t *testing.T) {
	other := testenv.New(t)
	other.Stop()
	foreign := filepath.Join(other.DataDir(), "keys")
	for name, test := range map[string]struct {
		lose func(keys string) error
		want error
	}{
		"all gone":           {os.RemoveAll, node.ErrKeysMissing},
		"the log's key gone": {func(keys string) error { return os.Remove(filepath.Join(keys, "log.pem")) }, node.ErrKeysMissing},
		"the time key gone":  {func(keys string) error { return os.Remove(filepath.Join(keys, "time.pem")) }, node.ErrKeysMissing},
		"the authority gone": {func(keys string) error { return os.RemoveAll(filepath.Join(keys, "ca")) }, node.ErrKeysMissing},
		"the data keys gone": {func(keys string) error { return os.RemoveAll(filepath.Join(keys, "vault")) }, node.ErrKeysMissing},
		"of another system":  {func(keys string) error { copyFolder(t, foreign, keys); return nil }, node.ErrOtherKeys},
		"system key exchanged": {func(keys string) error {
			return replace(filepath.Join(foreign, "system.pem"), filepath.Join(keys, "system.pem"))
		}, node.ErrOtherKeys},
	} {
		t.Run(name, func(t *testing.T) {
			env := testenv.New(t)
			env.CreateTenant("acme")
			env.WaitCommitted()
			env.Stop()
			keys, copied := filepath.Join(env.DataDir(), "keys"), t.TempDir()
			copyFolder(t, keys, filepath.Join(copied, "keys"))
			if err := test.lose(keys); err != nil {
				t.Fatal(err)
			}
			n, err := node.Open(t.Context(), node.Config{DataDir: env.DataDir(), SocketOnly: true, DiskReserve: -1, NoSync: true})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err == nil {
				_ = n.Close()
			}
			copyFolder(t, filepath.Join(copied, "keys"), keys)
			env.Start()
			env.CreateTenant("beta")
			env.WaitCommitted()
			if problems, _ := rebuild(t, env, true); len(problems) > 0 {
				t.Errorf("with the keys again: %v", problems)
			}
		})
	}
}

// TestNoNewLogsOnOldOnes: with its stream lost, or its messages alone, a node does not start, and the people's certificates
// stay those that the stream knows when it is restored.
func TestNoNewLogsOnOldOnes(t *testing.T) {
	for name, test := range map[string]struct {
		lose string
		want error
	}{
		"all gone":             {"stream", ledger.ErrOtherStream},
		"the messages gone":    {"stream/jetstream/$G/streams/EVENTS", stream.ErrIncarnation},
		"nothing but a folder": {"stream/jetstream", ledger.ErrOtherStream},
	} {
		t.Run(name, func(t *testing.T) {
			env := testenv.New(t)
			env.CreateTenant("acme")
			env.WaitCommitted()
			env.Stop()
			lost, kept := filepath.Join(env.DataDir(), filepath.FromSlash(test.lose)), filepath.Join(t.TempDir(), "kept")
			if err := os.Rename(lost, kept); err != nil {
				t.Fatal(err)
			}
			n, err := node.Open(t.Context(), node.Config{DataDir: env.DataDir(), SocketOnly: true, DiskReserve: -1, NoSync: true})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err == nil {
				_ = n.Close()
			}
			if err := errors.Join(os.RemoveAll(lost), os.Rename(kept, lost)); err != nil {
				t.Fatal(err)
			}
			env.Start()
			env.CreateTenant("beta")
			env.WaitCommitted()
			if problems, _ := rebuild(t, env, true); len(problems) > 0 {
				t.Errorf("with the stream again: %v", problems)
			}
		})
	}
}

func replace(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
