package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// A line of the file of what is known: a word and a mutant's name. It is about one state of the code and its tests; whoever changes them
// begins a new file.
const (
	wordKilled   = "killed "
	wordSurvives = "survives "
)

// recall reads what an earlier run has found.
func (o *options) recall(mutants []*mutant) error {
	text, err := os.ReadFile(o.known)
	if o.known == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		name, survives := strings.CutPrefix(line, wordSurvives)
		if name, killed := strings.CutPrefix(name, wordKilled); killed || survives {
			names[name] = survives
		}
	}
	for _, m := range mutants {
		m.survived, m.known = names[m.name]
	}
	return nil
}

// keep adds what became of one mutant.
func (o *options) keep(m *mutant) error {
	if o.known == "" || m.known {
		return nil
	}
	word := wordKilled
	if m.survived {
		word = wordSurvives
	}
	f, err := os.OpenFile(o.known, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, strings.TrimSpace(word), m.name)
	return errors.Join(err, f.Close())
}
