package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// tracer runs every test once without a mutant.
type tracer struct {
	*bench
	dir   string // of the files that the test binary writes
	jobs  int
	names []string

	mu sync.Mutex // tests of the bench, files
	n  int        // files
}

func (t *tracer) all(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(t.jobs, 1))
	for _, name := range t.names {
		g.Go(func() error { return t.test(ctx, name) })
	}
	return g.Wait()
}

// test runs a test, and if it takes long each of its subtests.
func (t *tracer) test(ctx context.Context, name string) error {
	whole, said, err := t.run(ctx, name)
	if err != nil {
		return fmt.Errorf("%s fails without a mutant: %w\n%s", name, err, said)
	}
	parts := []*timed{whole}
	if whole.took > worthSplitting {
		if split, err := t.split(ctx, said); err != nil {
			return err
		} else if len(split) > 0 {
			parts = split
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tests = append(t.tests, parts...)
	return nil
}

// subtest is how a test binary names one.
var subtest = regexp.MustCompile(`(?m)^    --- PASS: (\S+)`)

// split runs the subtests of a test one by one. One that fails alone needs the others: the test is not split.
func (t *tracer) split(ctx context.Context, said []byte) (parts []*timed, err error) {
	for _, name := range subtest.FindAllSubmatch(said, -1) {
		part, _, err := t.run(ctx, string(name[1]))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, nil
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// run runs one test and notes how long it takes and which mutants it reaches.
func (t *tracer) run(ctx context.Context, name string) (test *timed, said []byte, err error) {
	test = &timed{name: name}
	file := t.file()
	cmd := t.command(ctx, "-test.v", "-test.run="+test.pattern())
	cmd.Env = append(os.Environ(), traceVariable+"="+file)
	began := time.Now()
	if said, err = cmd.CombinedOutput(); err != nil {
		return nil, said, err
	}
	test.took = time.Since(began)
	test.reached, err = readNumbers(file)
	return test, said, err
}

// file is the name of a new one.
func (t *tracer) file() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	return filepath.Join(t.dir, strconv.Itoa(t.n)+".trace")
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
