package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
)

// outputFormat is the value of -o.
type outputFormat string

const (
	formatTable outputFormat = "table"
	formatJSON  outputFormat = "json"
	formatJSONL outputFormat = "jsonl"
)

func (f *outputFormat) String() string { return string(*f) }
func (f *outputFormat) Type() string   { return "format" }

// Set accepts the three formats and names them otherwise.
func (f *outputFormat) Set(s string) error {
	all := []outputFormat{formatTable, formatJSON, formatJSONL}
	if !slices.Contains(all, outputFormat(s)) {
		return fmt.Errorf("output must be table, json or jsonl, not %q", s)
	}
	*f = outputFormat(s)
	return nil
}

// printJSON writes a value as JSON: indented, or on one line for jsonl.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if a.format == formatJSON {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// printProto writes a message as JSON with the names of the .proto files.
func (a *app) printProto(m proto.Message) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return a.printJSON(json.RawMessage(raw))
}

// result prints an answer: as JSON if asked for, otherwise as a person reads it.
func (a *app) result(m proto.Message, text func(io.Writer)) error {
	if a.format != formatTable {
		return a.printProto(m)
	}
	text(a.out)
	return nil
}

// newTable is a table without lines, made for terminals and for grep.
func newTable(w io.Writer, header ...string) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Name = "plain"
	style.Options = table.OptionsNoBordersAndSeparators
	t.SetStyle(style)
	row := make(table.Row, len(header))
	for i, h := range header {
		row[i] = strings.ToUpper(h)
	}
	t.AppendHeader(row)
	return t
}

// plain makes hostile text safe to show and cuts it to n runes.
func plain(s string, n int) string {
	out := []rune(event.Escape(s))
	if n > 0 && len(out) > n {
		return string(out[:n-1]) + "…"
	}
	return string(out)
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

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s, 0)
}
