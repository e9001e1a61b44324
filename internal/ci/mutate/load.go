package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// subject is one package under test.
type subject struct {
	path    string // folder, from where mutate runs
	dir     string // the same, absolute
	pkg     string // import path
	name    string
	sources []*source
	mutants []*mutant
}

// source is one file of a package.
type source struct {
	path  string // absolute
	text  []byte
	file  *ast.File
	edits []edit // as they were met
}

// mutant is one change.
type mutant struct {
	id       int    // from 1 in its package
	name     string // as in mutants.allow
	where    string // file:line
	line     int
	file     string // absolute
	scope    string // file and function
	chosen   bool
	known    bool // from an earlier run
	survived bool
	reached  []int // tests, by their place
}

// listed is a package as `go list -json` says.
type listed struct {
	Dir, ImportPath, Name, Export string
	GoFiles                       []string
	DepOnly                       bool
}

// load reads the packages and finds their mutants.
func load(ctx context.Context, patterns []string) ([]*subject, error) {
	args := append([]string{"list", "-export", "-deps", "-json=Dir,ImportPath,Name,Export,GoFiles,DepOnly"}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own packages
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	exports, roots := map[string]string{}, []listed(nil)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			roots = append(roots, p)
		}
	}
	subjects := make([]*subject, len(roots))
	for i, p := range roots {
		if subjects[i], err = read(p, exports); err != nil {
			return nil, fmt.Errorf("%s: %w", p.ImportPath, err)
		}
	}
	return subjects, nil
}

// read parses and types one package; exports are the compiled packages that it imports.
func read(p listed, exports map[string]string) (*subject, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	path, err := filepath.Rel(here, p.Dir)
	if err != nil {
		return nil, err
	}
	s := &subject{path: filepath.ToSlash(path), dir: p.Dir, pkg: p.ImportPath, name: p.Name}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		src := &source{path: filepath.Join(p.Dir, name)}
		if src.text, err = os.ReadFile(src.path); err != nil {
			return nil, err
		}
		if src.file, err = parser.ParseFile(fset, src.path, src.text, parser.ParseComments); err != nil {
			return nil, err
		}
		if !ast.IsGenerated(src.file) {
			s.sources = append(s.sources, src)
		}
		files = append(files, src.file)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", lookup)}
	if _, err := config.Check(p.ImportPath, fset, files, info); err != nil {
		return nil, err
	}
	for _, src := range s.sources {
		f := &finder{subject: s, source: src, fset: fset, info: info, seen: map[string]int{}}
		f.find()
	}
	return s, nil
}
