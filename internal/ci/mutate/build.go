package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// The environment of a test binary.
const (
	awakeVariable = "CUSTODY_MUTANT"       // the mutant that is awake
	traceVariable = "CUSTODY_MUTANT_TRACE" // a file that gets the numbers of the mutants that would make a difference
)

// helper is the file that is put into the package: who is awake, and for whom it would have made a difference to be.
const helper = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantAwake_, _ = strconv.Atoi(os.Getenv("` + awakeVariable + `"))
	mutantTrace_    = os.Getenv("` + traceVariable + `")
	mutantSeen_     [%d]atomic.Bool
)

type mutantInteger_ interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutant_(n int) bool { return mutantWhen_(n, true) }

func mutantWhen_(n int, differs bool) bool {
	return n == mutantAwake_ || mutantTrace_ != "" && differs && mutantReached_(n)
}

func mutantTrue_[B ~bool](n int, c B) B { return B(mutantWhen_(n, !bool(c))) || c }

func mutantFalse_[B ~bool](n int, c B) B { return !B(mutantWhen_(n, bool(c))) && c }

func mutantNil_(n int, err error) error {
	if mutantWhen_(n, err != nil) {
		return nil
	}
	return err
}

func mutantZero_[T mutantInteger_](n int, x T) T {
	if mutantWhen_(n, x != 0) {
		return 0
	}
	return x
}

func mutantEdge_[T mutantInteger_ | ~float32 | ~float64 | ~string](n int, asked bool, x, y T) bool {
	return asked != (x == y && mutant_(n))
}

func mutantLSS_[T mutantInteger_ | ~float32 | ~float64 | ~string](n int, x, y T) bool { return mutantEdge_(n, x < y, x, y) }
func mutantLEQ_[T mutantInteger_ | ~float32 | ~float64 | ~string](n int, x, y T) bool { return mutantEdge_(n, x <= y, x, y) }
func mutantGTR_[T mutantInteger_ | ~float32 | ~float64 | ~string](n int, x, y T) bool { return mutantEdge_(n, x > y, x, y) }
func mutantGEQ_[T mutantInteger_ | ~float32 | ~float64 | ~string](n int, x, y T) bool { return mutantEdge_(n, x >= y, x, y) }

func mutantReached_(n int) bool {
	if mutantSeen_[n].Swap(true) {
		return false
	}
	f, err := os.OpenFile(mutantTrace_, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(n) + "\n")
		_ = f.Close()
	}
	if err != nil {
		panic(err)
	}
	return false
}
`

// render is a file with its mutants, but without those that do not compile.
func (s *source) render(without map[int]bool) []byte {
	edits := slices.Clone(s.edits)
	order := map[bool]int{true: 0, false: 1} // what ends comes before what begins
	places := make([]int, len(edits))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(a, b int) int {
		x, y := edits[a], edits[b]
		within := cmp.Compare(a, b) // outer ones begin first …
		if x.ends {
			within = -within // … and end last
		}
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(order[x.ends], order[y.ends]), within)
	})
	var out bytes.Buffer
	at := 0
	for _, i := range places {
		e := edits[i]
		if without[e.mutant] {
			continue
		}
		out.Write(s.text[at:e.at])
		out.WriteString(e.text)
		at = e.at
	}
	out.Write(s.text[at:])
	return out.Bytes()
}

// complaint is how the compiler names a place.
var complaint = regexp.MustCompile(`(?m)^(?:vet: )?(\S+\.go):(\d+):`)

// maxRebuilds is how often a build is tried without the mutants that the compiler has named: it names ten at a time.
const maxRebuilds = 40

// build compiles the test binary with all mutants. Those that do not compile are no mutants.
func (s *subject) build(ctx context.Context, dir string) (program string, err error) {
	program, without := filepath.Join(dir, "mutants.test"), map[int]bool{}
	for range maxRebuilds {
		said, err := s.compile(ctx, dir, program, without)
		if err == nil {
			s.mutants = slices.DeleteFunc(s.mutants, func(m *mutant) bool { return without[m.id] })
			return program, nil
		}
		before := len(without)
		for _, m := range s.mutants {
			for _, place := range complaint.FindAllSubmatch(said, -1) {
				if line, _ := strconv.Atoi(string(place[2])); filepath.Base(m.file) == filepath.Base(string(place[1])) && m.line == line {
					without[m.id] = true
				}
			}
		}
		if len(without) == before {
			return "", fmt.Errorf("go test -c: %w\n%s", err, said)
		}
	}
	return "", errors.New("too many mutants do not compile")
}

// compile builds the test binary from an overlay.
func (s *subject) compile(ctx context.Context, dir, program string, without map[int]bool) (said []byte, err error) {
	replace := map[string]string{}
	put := func(path string, text []byte) error {
		file := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		replace[path] = file
		return os.WriteFile(file, text, 0o600)
	}
	err = put(filepath.Join(s.dir, "mutants_helper.go"), fmt.Appendf(nil, helper, s.name, len(s.mutants)+1))
	for _, src := range s.sources {
		err = errors.Join(err, put(src.path, src.render(without)))
	}
	overlay, err2 := json.Marshal(map[string]any{"Replace": replace})
	file := filepath.Join(dir, "overlay.json")
	if err := errors.Join(err, err2, os.WriteFile(file, overlay, 0o600)); err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", file, "-o", program, s.pkg).CombinedOutput() //nolint:gosec // our own packages
}
