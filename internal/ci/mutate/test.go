package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	leastPatience = 20 * time.Second
)

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
	tests   []timed

	mu      sync.Mutex       // killers
	killers map[string][]int // by function: the tests that noticed its mutants, the last one first
}

// timed is one test and how long it takes.
type timed struct {
	name string
	took time.Duration
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
	if err := b.trace(ctx, dir); err != nil {
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

// trace lists the tests, and says which mutants each of them reaches.
func (b *bench) trace(ctx context.Context, dir string) error {
	help, _ := b.command(ctx, "-h").CombinedOutput()
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
	reached := map[string][]int{}
	for name := range strings.Lines(string(names)) {
		name = strings.TrimSpace(name)
		if strings.HasPrefix(name, "Benchmark") {
			continue
		}
		file, began := filepath.Join(dir, name), time.Now()
		cmd := b.command(ctx, "-test.run=^"+name+"$")
		cmd.Env = append(os.Environ(), traceVariable+"="+file)
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s fails without a mutant: %w\n%s", name, err, said)
		}
		b.tests = append(b.tests, timed{name, time.Since(began)})
		if reached[name], err = readNumbers(file); err != nil {
			return err
		}
	}
	slices.SortStableFunc(b.tests, func(x, y timed) int { return int(x.took - y.took) })
	b.place(reached)
	return nil
}

// place writes down by which tests each mutant is reached.
func (b *bench) place(reached map[string][]int) {
	byID := map[int]*mutant{}
	for _, m := range b.mutants {
		byID[m.id] = m
	}
	for i, test := range b.tests {
		for _, id := range reached[test.name] {
			if m := byID[id]; m != nil {
				m.reached = append(m.reached, i)
			}
		}
	}
}

func readNumbers(file string) (numbers []int, err error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, lines.Err()
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
	i := slices.IndexFunc(b.tests, func(t timed) bool { return t.name == name })
	if i < 0 || b.tests[i].took > maxByKiller {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(b.killers[m.scope]), func(other int) bool { return other == i })
	b.killers[m.scope] = append([]int{i}, others[:min(len(others), maxKillers-1)]...)
}

// failure is how a test binary names the test that failed.
var failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// fails runs some tests with one mutant awake. A test binary that does not end has failed.
func (b *bench) fails(ctx context.Context, m *mutant, tests []int) (bool, error) {
	if len(tests) == 0 {
		return false, nil
	}
	names, took := make([]string, len(tests)), time.Duration(0)
	for i, t := range tests {
		names[i] = b.tests[t].name
		took += b.tests[t].took
	}
	within, cancel := context.WithTimeout(ctx, max(took*patience, leastPatience))
	defer cancel()
	cmd := b.command(within, "-test.failfast", "-test.run=^("+strings.Join(names, "|")+")$")
	cmd.Env = append(os.Environ(), awakeVariable+"="+strconv.Itoa(m.id))
	cmd.WaitDelay = time.Second
	said, err := cmd.Output()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if name := failure.FindSubmatch(said); name != nil {
		b.killed(m, string(name[1]))
	}
	return err != nil, nil
}
