// Command mutate tests the tests: it changes the code of a package in one small place, runs the package's own tests, and says which
// changes none of them noticed.
//
//	go run ./internal/ci/mutate ./chain ./signer           every mutant
//	go run ./internal/ci/mutate -sample 60 -seed 7 ./chain  some of them, the same ones for the same seed
//	go run ./internal/ci/mutate -list ./chain              what the mutants are
//	go run ./internal/ci/mutate ./evidence/walk.go          those of one file, by all tests of its package
//	go run ./internal/ci/mutate -known FILE ./evidence      goes on where a run that was broken off has stopped
//
// # Mutants
//
//	condition   what an if or a for asks is always so, or never
//	operand     one side of && or || has no say
//	case        a case of a switch without a tag is never chosen
//	boundary    < for <=, > for >=, and back
//	equality    == for !=, and back
//	arithmetic  + for -, * for /, << for >>, & for |, and back
//	return      no error for an error, true or false for another truth, 0 for a number
//	statement   an assignment, a call, a ++ or a continue is left out
//
// All mutants of a package are compiled into one test binary (an overlay of go build), each asleep until the environment names it, so a
// mutant costs a run and no compilation. A first run of each test, and of each subtest of a slow one, records in which mutants it makes
// a difference: a condition that was never otherwise, a comparison that never had equal sides, an error that was always nil are as they
// were. A mutant then meets only those tests: first those that noticed other mutants of the same function, then the quickest first. It is
// killed if a test fails or does not end. Tests run with -short.
//
// # Survivors
//
// A mutant that survives must stand in mutants.allow: its name in one line and the reason in the next, which begins with a tab. The
// name is the file, the function, what is changed into what, and a number if there are more of the same: no line numbers, so that
// it outlives other changes. mutate fails for a survivor that is not there and for an entry that is no survivor any more; of a sample, for
// an entry that is no mutant any more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// options are the command line.
type options struct {
	sample int
	seed   uint64
	list   bool
	only   string
	skip   string
	allow  string
	known  string
	jobs   int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// errSurvivors is the end of a run that found what it looks for.
var errSurvivors = errors.New("mutants.allow is not the list of the survivors")

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.IntVar(&o.sample, "sample", 0, "take this `number` of mutants of all packages together; all if 0")
	flags.Uint64Var(&o.seed, "seed", 1, "what a sample is drawn with")
	flags.BoolVar(&o.list, "list", false, "print the mutants and run nothing")
	flags.StringVar(&o.only, "only", "", "take the mutants whose name has this `text`")
	flags.StringVar(&o.skip, "skip", "", "leave out the tests that match this `pattern`: those that take too long for each mutant")
	flags.StringVar(&o.allow, "allow", "mutants.allow", "`file` of the survivors that are known")
	flags.StringVar(&o.known, "known", "", "`file` of what became of mutants: what stands there is not tried again, and what is tried is added")
	flags.IntVar(&o.jobs, "jobs", 1, "mutants that are tested at a time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	allowed, err := readAllowed(o.allow)
	if err != nil {
		return err
	}
	subjects, err := o.subjects(ctx, flags.Args())
	if err != nil || o.list {
		return errors.Join(err, list(out, subjects))
	}
	return o.test(ctx, out, subjects, allowed)
}

// subjects are the packages with the mutants that were chosen.
func (o *options) subjects(ctx context.Context, patterns []string) ([]*subject, error) {
	packages, files := split(patterns)
	subjects, err := load(ctx, packages)
	if err != nil {
		return nil, err
	}
	var chosen []*mutant
	for _, s := range subjects {
		for _, m := range s.mutants {
			if strings.Contains(m.name, o.only) && files.has(s, m) {
				chosen = append(chosen, m)
			}
		}
	}
	if o.sample > 0 && o.sample < len(chosen) {
		rnd := rand.New(rand.NewPCG(o.seed, 0)) //nolint:gosec // a sample, not a secret
		rnd.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:o.sample]
	}
	for _, m := range chosen {
		m.chosen = true
	}
	return subjects, o.recall(chosen)
}

// someFiles are the files of a package, by its folder, that mutants are taken of: of all if there are none.
type someFiles map[string][]string

// split tells files from packages, and names the package of each file.
func split(patterns []string) (packages []string, files someFiles) {
	files = someFiles{}
	for _, p := range patterns {
		if strings.HasSuffix(p, ".go") {
			dir := path.Dir(p)
			files[path.Clean(dir)] = append(files[path.Clean(dir)], path.Base(p))
			p = "./" + path.Clean(dir)
		}
		if !slices.Contains(packages, p) {
			packages = append(packages, p)
		}
	}
	return packages, files
}

func (f someFiles) has(s *subject, m *mutant) bool {
	names := f[s.path]
	return len(names) == 0 || slices.Contains(names, filepath.Base(m.file))
}

func list(out io.Writer, subjects []*subject) error {
	for _, s := range subjects {
		for _, m := range s.mutants {
			if m.chosen {
				fmt.Fprintln(out, m.name)
			}
		}
	}
	return nil
}

// test runs the mutants that were chosen and holds the survivors to the list.
func (o *options) test(ctx context.Context, out io.Writer, subjects []*subject, allowed map[string]string) error {
	if o.sample > 0 {
		fmt.Fprintf(out, "mutate: a sample of %d, seed %d\n", o.sample, o.seed)
	}
	var all []*mutant
	for _, s := range subjects {
		if err := s.test(ctx, out, o, allowed); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		all = append(all, s.mutants...)
	}
	wrong := o.judge(out, all, subjects, allowed)
	killed, survived := 0, 0
	for _, m := range all {
		if m.chosen && m.survived {
			survived++
		} else if m.chosen {
			killed++
		}
	}
	fmt.Fprintf(out, "mutate: %d mutants: %d killed, %d survive, of which %d are listed with a reason\n", killed+survived, killed, survived, survived-wrong.news)
	if wrong.news+wrong.stale > 0 {
		return errSurvivors
	}
	return nil
}

// complaints are survivors without a reason, and reasons without a survivor.
type complaints struct{ news, stale int }

func (o *options) judge(out io.Writer, all []*mutant, subjects []*subject, allowed map[string]string) (c complaints) {
	for _, m := range all {
		if m.chosen && m.survived && allowed[m.name] == "" {
			c.news++
		}
	}
	names := map[string]*mutant{}
	for _, m := range all {
		names[m.name] = m
	}
	for name := range allowed {
		ours := slices.ContainsFunc(subjects, func(s *subject) bool { return strings.HasPrefix(name, s.path+"/") })
		m := names[name]
		if ours && (m == nil || m.chosen && !m.survived) {
			c.stale++
			fmt.Fprintf(out, "listed, but no survivor any more: %s\n", name)
		}
	}
	return c
}

// readAllowed reads the list of known survivors with their reasons.
func readAllowed(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	allowed, name := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		reason, isReason := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isReason && name == "":
			return nil, fmt.Errorf("%s: a reason without a mutant: %q", file, reason)
		case isReason:
			allowed[name] += reason
		case name != "" && allowed[name] == "":
			return nil, fmt.Errorf("%s: no reason for %q", file, name)
		default:
			name = line
		}
	}
	if name != "" && allowed[name] == "" {
		return nil, fmt.Errorf("%s: no reason for %q", file, name)
	}
	return allowed, nil
}
