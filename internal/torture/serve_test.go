package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/ledger"
)

// roleServe is the child that serves a node.
const roleServe = "serve"

// serveConfig is what the node is made of.
type serveConfig struct {
	Data   string
	Listen string
	Store  string // DSN; empty is inside Data

	StreamMax, SystemQuota, DiskReserve int64
	MaxBacklog                          uint64
	NoSync                              bool

	KillAt  ledger.Step // kill ourselves at this step of the commit
	KillNth int32       // the nth time that we come there, from 1
}

// ready is the child's first word.
type ready struct{ Address string }

// errStop ends the child in order.
var errStop = errors.New("stop")

// serve serves until the parent says stop or is gone.
func serve(c serveConfig) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	n, err := node.Open(ctx, c.node())
	cancel()
	if err != nil {
		return err
	}
	if err := say(ready{n.Address()}); err != nil {
		return err
	}
	err = commands(func(command string) error { return obey(n, command) })
	if errors.Is(err, errStop) {
		err = nil
	}
	return errors.Join(err, n.Close())
}

func (c serveConfig) node() node.Config {
	return node.Config{
		DataDir: c.Data, Listen: c.Listen, StoreDSN: c.Store, Domain: "test.example",
		StreamMaxBytes: c.StreamMax, SystemQuota: c.SystemQuota, DiskReserve: c.DiskReserve, MaxBacklog: c.MaxBacklog, NoSync: c.NoSync,
		TuneLedger: c.tune, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// tune makes the ledger kill us.
func (c serveConfig) tune(l *ledger.Config) {
	if c.KillAt == "" {
		return
	}
	var seen atomic.Int32
	l.Hook = func(at ledger.Step) error {
		if at == c.KillAt && seen.Add(1) == c.KillNth {
			return errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("killed"))
		}
		return nil
	}
}

func obey(n *node.Node, command string) error {
	switch command {
	case "audit":
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return say(inspect(ctx, n))
	case "sealed":
		return say(sealedContent(n))
	case "stop":
		return errStop
	}
	return fmt.Errorf("no command %q", command)
}
