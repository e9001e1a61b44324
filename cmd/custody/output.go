package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/agentcustody/custody/event"
)

// outputFormat is the value of -o.
type outputFormat string

const (
	formatTable outputFormat = "table"
	formatJSON  outputFormat = "json"
	formatJSONL outputFormat = "jsonl"
)

var formats = []outputFormat{formatTable, formatJSON, formatJSONL}

func (f *outputFormat) String() string { return string(*f) }
func (f *outputFormat) Type() string   { return "format" }

// Set accepts the three formats and names them otherwise.
func (f *outputFormat) Set(s string) error {
	if !slices.Contains(formats, outputFormat(s)) {
		return fmt.Errorf("must be table, json or jsonl, not %q", s)
	}
	*f = outputFormat(s)
	return nil
}

// output remembers that writing failed: a full disk must not look like success.
type output struct {
	w      io.Writer
	failed error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.failed == nil {
		o.failed = fmt.Errorf("write output: %w", err)
	}
	return n, err
}

// say prints what a command did: as JSON if asked for, otherwise as a person reads it.
func (a *app) say(v any, format string, args ...any) error {
	if a.format == formatTable {
		fmt.Fprintf(a.out, format, args...)
		return nil
	}
	return a.printJSON(v)
}

// printJSON writes a value as JSON: indented, or on one line for jsonl.
func (a *app) printJSON(v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if a.format == formatJSON {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_, err := io.WriteString(a.out, visible(b.String()))
	return err
}

// visible replaces what a terminal would not show as it is by JSON escapes, which mean the same to a program.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || event.Escape(string(r)) == string(r) {
			b.WriteRune(r)
			continue
		}
		escapeJSON(&b, r)
	}
	return b.String()
}

func escapeJSON(b *strings.Builder, r rune) {
	if r < 0x10000 {
		fmt.Fprintf(b, `\u%04x`, r)
		return
	}
	r -= 0x10000
	fmt.Fprintf(b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
}

// grid is a table without lines, made for terminals and for grep.
type grid struct {
	table.Writer
}

func newGrid(header ...string) grid {
	t := grid{table.NewWriter()}
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	row := make(table.Row, len(header))
	for i, h := range header {
		row[i] = strings.ToUpper(h)
	}
	t.AppendHeader(row)
	return t
}

func (t grid) row(cells ...any) { t.AppendRow(cells) }

// print writes the table, without spaces at the ends of lines.
func (t grid) print(w io.Writer) {
	for line := range strings.Lines(t.Render()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// plain makes hostile text safe to show and cuts it to n runes; 0 is no limit.
func plain(s string, n int) string {
	out := []rune(event.Escape(s))
	if n > 0 && len(out) > n {
		return string(out[:n-1]) + "…"
	}
	return string(out)
}

// maxWord is how much of one value a line shows, in runes.
const maxWord = 80

// word is one value of an agent's on a line with others. It stands in quotes if it could be taken for anything else.
func word(s string) string {
	text := plain(s, maxWord)
	if s != "" && strings.IndexFunc(text, ambiguous) < 0 {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `\x22`) + `"` // a quote is never inside, whatever stands before it
}

func ambiguous(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-./:+%=*,~&#?@…", r)
}

// dash is word with a dash for nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return word(s)
}

// stamp shows nanoseconds since the Unix epoch as UTC, to the millisecond.
func stamp(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000")
}

// short is the beginning of a hash or an id, enough to tell them apart on a screen.
func short(b []byte) string {
	s := hex.EncodeToString(b)
	return s[:min(12, len(s))]
}

// safeInShell are the characters of a word that no shell changes.
const safeInShell = "_-./:,@%+="

// shellWord is a word as a person would type it.
func shellWord(s string) string {
	special := func(r rune) bool {
		return (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) && !strings.ContainsRune(safeInShell, r)
	}
	if s != "" && strings.IndexFunc(s, special) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
