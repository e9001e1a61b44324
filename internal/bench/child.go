package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentcustody/custody/internal/bench/limit"
	"github.com/agentcustody/custody/internal/bench/system"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/store/engine"
)

// children are what this program does in a process of its own: the embedded engine can be opened once in a process, and a server
// that can be profiled is this program.
var children = map[string]func(arguments []string) error{
	"insert-limit": insertLimit,
	"table-size":   tableSize,
	"serve":        serve,
	"stop-agents":  stopAgents,
}

// rawInsert is what the child insert-limit prints.
type rawInsert struct{ PerSecond, BytesPerEvent float64 }

func insertLimit(arguments []string) error {
	var events int
	var d time.Duration
	flags := flag.NewFlagSet("insert-limit", flag.ExitOnError)
	flags.IntVar(&events, "events", 1<<16, "events in a block")
	flags.DurationVar(&d, "time", 5*time.Second, "how long")
	dir := flags.String("dir", "", "folder")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	perSecond, bytes, err := limit.Insert(context.Background(), *dir, events, d)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rawInsert{perSecond, bytes})
}

// tableBytes is what the child table-size prints.
type tableBytes struct{ Events, Raw, OnDisk uint64 }

// tableSize opens the store of a stopped server, merges the table of events and prints its size.
func tableSize(arguments []string) (err error) {
	e, err := engine.Open(engine.Config{Path: arguments[0]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	db, err := clickhouse.Open(e.Options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx := context.Background()
	if err := db.Exec(ctx, "OPTIMIZE TABLE custody.events FINAL"); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	var size tableBytes
	if err := db.QueryRow(ctx, "SELECT count(), sum(length(bytes)) FROM custody.events").Scan(&size.Events, &size.Raw); err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	const parts = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'custody' AND table = 'events'"
	if err := db.QueryRow(ctx, parts).Scan(&size.OnDisk); err != nil {
		return fmt.Errorf("size of parts: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(size)
}

// stopped is what the child stop-agents prints.
type stopped struct {
	Seconds []float64
	Failed  string // empty if nothing has
}

// stopAgents stops the agents of the emitters' folders that are its arguments.
func stopAgents(folders []string) error {
	var out stopped
	var err error
	if out.Seconds, err = system.StopAgents(context.Background(), folders); err != nil {
		out.Failed = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// child runs this program as a child and reads the JSON that it prints.
func (b *bench) child(ctx context.Context, into any, arguments ...string) error {
	cmd := exec.CommandContext(ctx, b.self, arguments...) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", arguments[0], err)
	}
	return json.Unmarshal(out, into)
}

// profilePort is the file in the data folder that says where a server can be profiled.
const profilePort = "pprof.port"

// serve is `custody serve` with a door for profiles.
func serve(arguments []string) error {
	var cfg node.Config
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	flags.StringVar(&cfg.Listen, "listen", "", "address")
	flags.StringVar(&cfg.DataDir, "data", "", "folder")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	node.LimitMemory()
	node.ShareProcessors()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := openProfiles(cfg.DataDir); err != nil {
		return errors.Join(err, n.Close())
	}
	fmt.Printf("custody: ready on %s\n", n.Address())
	return errors.Join(n.Wait(ctx), n.Close())
}

func openProfiles(dir string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	go http.Serve(listener, mux) //nolint:errcheck,gosec // ends with the process; only loopback can reach it
	port := listener.Addr().(*net.TCPAddr).Port
	return os.WriteFile(filepath.Join(dir, profilePort), []byte(strconv.Itoa(port)), 0o600)
}
