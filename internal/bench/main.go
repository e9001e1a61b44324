package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agentcustody/custody/internal/bench/report"
)

// sections are what -only chooses from, in the order of the run.
var sections = []string{"limits", "burst", "sustained", "latency", "check", "export", "verify", "size", "start", "rules", "stop"}

// options are the command line.
type options struct {
	only     string
	short    bool
	rounds   int
	json     string
	custody  string
	verifier string
	dir      string
	profile  string
	emitters int
}

func main() {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		exit(children[os.Args[1]](os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.only, "only", "", "comma-separated `sections` of: "+strings.Join(sections, ", "))
	flag.BoolVar(&o.short, "short", false, "one short round: two minutes, and figures that say less")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of which the median counts (default 5, with -short 1)")
	flag.StringVar(&o.json, "json", "", "write the result to this `file`")
	flag.StringVar(&o.custody, "custody", "bin/custody", "the custody `program`")
	flag.StringVar(&o.verifier, "custody-verify", "bin/custody-verify", "the custody-verify `program`")
	flag.StringVar(&o.dir, "dir", "", "`folder` for data, on the disk that is to be measured (default a temporary one)")
	flag.StringVar(&o.profile, "profile", "", "write pprof files into this `folder`; the server is then this program")
	flag.IntVar(&o.emitters, "emitters", 16, "number of emitters")
	flag.Parse()
	exit(run(o))
}

// errNotMet is the end of a run that missed a bound.
var errNotMet = errors.New("a bound is not met")

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.measure(ctx)
	b.report.WriteTable(os.Stdout)
	if o.json != "" {
		if err := b.report.WriteJSON(o.json); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !b.report.Met() {
		return errNotMet
	}
	return nil
}

// bench is one run.
type bench struct {
	options
	plan   plan
	report *report.Report
	dir    string
	self   string

	rounds results
	proofs proofs
}

// plan is how long each part of a round takes.
type plan struct {
	limit, insert, burst, warm, sustained, latency time.Duration
	blockEvents                                    int
}

var (
	fullPlan  = plan{2 * time.Second, 10 * time.Second, 20 * time.Second, 20 * time.Second, time.Minute, 10 * time.Second, 1 << 16}
	shortPlan = plan{time.Second, 5 * time.Second, 10 * time.Second, 12 * time.Second, 15 * time.Second, 5 * time.Second, 1 << 16}
)

func newBench(o options) (*bench, error) {
	b := &bench{options: o, plan: fullPlan, report: &report.Report{Began: time.Now(), Machine: report.ThisMachine(), Short: o.short}}
	for name := range strings.SplitSeq(o.only, ",") {
		if name != "" && !slices.Contains(sections, name) {
			return nil, fmt.Errorf("-only: no section %q; there are %s", name, strings.Join(sections, ", "))
		}
	}
	standard := 5
	if o.short {
		b.plan, standard = shortPlan, 1
	}
	if b.options.rounds == 0 {
		b.options.rounds = standard
	}
	b.report.Rounds = b.options.rounds
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if b.dir, err = os.MkdirTemp(o.dir, "custody-bench-*"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	return b, nil
}

// wants says whether any of the sections was chosen.
func (b *bench) wants(names ...string) bool {
	return b.only == "" || slices.ContainsFunc(strings.Split(b.only, ","), func(chosen string) bool { return slices.Contains(names, chosen) })
}

// server is the program that the server is.
func (b *bench) server() []string {
	if b.profile != "" {
		return []string{b.self}
	}
	return []string{b.custody}
}

// say tells a person what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(b.report.Began).Seconds(), fmt.Sprintf(format, args...))
}

// path is a new folder of a round.
func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}
