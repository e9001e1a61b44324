package sidecar

import (
	_ "embed" // for the example
	"io"
)

//go:embed example.jsonl
var example string

// Example writes one valid line for every action that a program can record.
func Example(w io.Writer) error {
	_, err := io.WriteString(w, example)
	return err
}
