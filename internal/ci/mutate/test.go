package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A test may take this many times as long with a mutant as without, and this long in any case, before it counts as one that
// does not end.
const (
	patience      = 10
	leastPatience = time.Minute // others may use the machine
)

// worthSplitting is how long a test takes whose subtests are then run one by one: a mutant meets those that it makes a difference to.
const worthSplitting = 100 * time.Millisecond

// quick is how long the tests take together that a mutant meets first, in one process; each further round may take longer.
const quick = 300 * time.Millisecond

// A mutant first meets the tests that noticed others of its function: the last ones, and none that takes long.
const (
	maxKillers  = 3
	maxByKiller = 4 * time.Second
)

// bench is a test binary with its tests, the quickest first.
type bench struct {
	*subject
	program string
	skip    string   // pattern of tests that are left out
	flags   []string // that make runs alike
	tests   []*timed

	mu      sync.Mutex       // killers
	killers map[string][]int // by function: the tests that noticed its mutants, the last one first
}

// timed is one test, or one subtest of it, and how long it takes.
type timed struct {
	name    string // as the test binary prints it
	took    time.Duration
	reached []int // the mutants that would make a difference in it
}

// pattern makes the test binary run it and no other.
func (t *timed) pattern() string {
	parts := strings.Split(t.name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// test says of each chosen mutant whether it survives, and at once of those that are not allowed to.
func (s *subject) test(ctx context.Context, out io.Writer, o *options, allowed map[string]string) (err error) {
	if !slices.ContainsFunc(s.mutants, func(m *mutant) bool { return m.chosen }) {
		return nil
	}
	dir, err := os.MkdirTemp("", "custody-mutate-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{subject: s, skip: o.skip, killers: map[string][]int{}}
	began := time.Now()
	if b.program, err = s.build(ctx, dir); err != nil {
		return err
	}
	if err := b.trace(ctx, dir, o.jobs); err != nil {
		return err
	}
	fmt.Fprintf(out, "mutate: %s: %d mutants, %d tests (%.0f s to build and trace)\n", s.path, len(s.mutants), len(b.tests), time.Since(began).Seconds())
	return b.each(ctx, o.jobs, func(m *mutant) error {
		if m.survived && allowed[m.name] == "" {
			fmt.Fprintf(out, "survives: %s\n\t%s\n", m.name, m.where)
		}
		return o.keep(m)
	})
}

// each tests the chosen mutants of which nothing is known, some at a time, and says of one after the other what became of it.
func (b *bench) each(ctx context.Context, jobs int, say func(*mutant) error) error {
	var one sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(jobs, 1))
	for _, m := range b.mutants {
		if !m.chosen {
			continue
		}
		g.Go(func() (err error) {
			if !m.known {
				m.survived, err = b.survives(ctx, m)
			}
			if err != nil {
				return err
			}
			one.Lock()
			defer one.Unlock()
			return say(m)
		})
	}
	return g.Wait()
}

// trace lists the tests, and says which mutants would make a difference in each of them.
func (b *bench) trace(ctx context.Context, dir string, jobs int) error {
	help, _ := b.command(ctx, "-h").CombinedOutput()
	b.flags = append(b.flags, "-test.short")
	if bytes.Contains(help, []byte("-rapid.seed")) {
		b.flags = append(b.flags, "-rapid.seed=1", "-rapid.nofailfile")
	}
	if b.skip != "" {
		b.flags = append(b.flags, "-test.skip="+b.skip)
	}
	names, err := b.command(ctx, "-test.list=.").Output()
	if err != nil {
		return fmt.Errorf("list tests: %w", err)
	}
	tracer := &tracer{bench: b, dir: dir, jobs: jobs}
	for name := range strings.Lines(string(names)) {
		if name = strings.TrimSpace(name); !strings.HasPrefix(name, "Benchmark") {
			tracer.names = append(tracer.names, name)
		}
	}
	if err := tracer.all(ctx); err != nil {
		return err
	}
	slices.SortStableFunc(b.tests, func(x, y *timed) int {
		return cmp.Or(cmp.Compare(x.took, y.took), cmp.Compare(x.name, y.name))
	})
	b.place()
	return nil
}

// place writes down by which tests each mutant is reached.
func (b *bench) place() {
	byID := map[int]*mutant{}
	for _, m := range b.mutants {
		byID[m.id] = m
	}
	for i, test := range b.tests {
		for _, id := range test.reached {
			if m := byID[id]; m != nil {
				m.reached = append(m.reached, i)
			}
		}
	}
}

// command runs the test binary where the package's tests run.
func (b *bench) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.program, append(args, b.flags...)...) //nolint:gosec // built from our own package
	cmd.Dir = b.dir
	return cmd
}

// survives runs the tests that reach a mutant until one fails: those that noticed its neighbours, then the others in rounds that grow.
func (b *bench) survives(ctx context.Context, m *mutant) (bool, error) {
	first := b.killersOf(m)
	if failed, err := b.fails(ctx, m, first); failed || err != nil {
		return false, err
	}
	rest := slices.DeleteFunc(slices.Clone(m.reached), func(i int) bool { return slices.Contains(first, i) })
	for most := quick; len(rest) > 0; most *= patience {
		n, took := 0, time.Duration(0)
		for n < len(rest) && (n == 0 || took+b.tests[rest[n]].took <= most) {
			took += b.tests[rest[n]].took
			n++
		}
		failed, err := b.fails(ctx, m, rest[:n])
		if failed || err != nil {
			return false, err
		}
		rest = rest[n:]
	}
	return true, nil
}

// killersOf are the tests that noticed other mutants of the same function, of those that reach this one.
func (b *bench) killersOf(m *mutant) []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.killers[m.scope]), func(i int) bool { return !slices.Contains(m.reached, i) })
}

// killed keeps which test noticed a mutant.
func (b *bench) killed(m *mutant, name string) {
	i := slices.IndexFunc(b.tests, func(t *timed) bool { return t.name == name })
	if i < 0 || b.tests[i].took > maxByKiller {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(b.killers[m.scope]), func(other int) bool { return other == i })
	b.killers[m.scope] = append([]int{i}, others[:min(len(others), maxKillers-1)]...)
}

// failure is how a test binary names a test that failed, and its subtest.
var failure = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)

// fails runs some tests with one mutant awake. A test binary that does not end has failed.
func (b *bench) fails(ctx context.Context, m *mutant, tests []int) (bool, error) {
	if len(tests) == 0 {
		return false, nil
	}
	patterns, took := make([]string, len(tests)), time.Duration(0)
	for i, t := range tests {
		patterns[i] = b.tests[t].pattern()
		took += b.tests[t].took
	}
	within, cancel := context.WithTimeout(ctx, max(took*patience, leastPatience))
	defer cancel()
	cmd := b.command(within, "-test.failfast", "-test.run="+strings.Join(patterns, "|"))
	cmd.Env = append(os.Environ(), awakeVariable+"="+strconv.Itoa(m.id))
	cmd.WaitDelay = time.Second
	said, err := cmd.Output()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	for _, name := range failure.FindAllSubmatch(said, -1) {
		b.killed(m, string(name[1]))
	}
	return err != nil, nil
}
