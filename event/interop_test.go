//go:build interop

package event_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentcustody/custody/event"
)

// validity says whether bytes are a valid message.
type validity struct {
	What  string `json:"what"` // event or statement
	Bytes string `json:"bytes"`
	Valid bool   `json:"valid"`
}

// The parser in Python, written from the page of the format, accepts the same bytes as this one.
func TestValidityElsewhere(t *testing.T) {
	const changes = 20000
	var list []validity
	rnd, originals := rand.New(rand.NewPCG(1, 3)), originals(t)
	for _, v := range originals {
		list = append(list, judged(t, v.What, must(hex.DecodeString(v.Bytes))))
	}
	for i := range changes {
		v := originals[i%len(originals)]
		list = append(list, judged(t, v.What, spoil(rnd, must(hex.DecodeString(v.Bytes)), 2)))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "validity.json"), must(json.Marshal(list)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import cryptography").Run() != nil {
			continue
		}
		if out, err := exec.CommandContext(t.Context(), name, "-B", "../interop/vectors.py", dir).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	t.Skip("the parser in Python needs Debian's package python3-cryptography, which is not installed")
}

// originals are the events and the statement of the vectors.
func originals(t *testing.T) (list []validity) {
	t.Helper()
	var events []eventVector
	var batch batchVector
	b1, err1 := os.ReadFile("testdata/vectors/events.json")
	b2, err2 := os.ReadFile("testdata/vectors/batch.json")
	if err := errors.Join(err1, err2, json.Unmarshal(b1, &events), json.Unmarshal(b2, &batch)); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		list = append(list, validity{What: "event", Bytes: e.Event})
	}
	for range len(events) / 8 {
		list = append(list, validity{What: "statement", Bytes: batch.Statement})
	}
	return list
}

func judged(t *testing.T, what string, b []byte) validity {
	t.Helper()
	var err error
	if what == "event" {
		_, err = event.Parse(b)
	} else {
		_, err = event.ParseStatement(b)
	}
	return validity{what, hex.EncodeToString(b), err == nil}
}

// spoil changes a message: a bit, or one of its fields, inside messages too.
func spoil(rnd *rand.Rand, b []byte, depth int) []byte {
	parts := fields(b)
	if len(parts) == 0 || rnd.IntN(4) == 0 {
		if b = slices.Clone(b); len(b) > 0 {
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		}
		return b
	}
	x, y := rnd.IntN(len(parts)), rnd.IntN(len(parts))
	switch rnd.IntN(6) {
	case 0:
		parts = slices.Delete(parts, x, x+1)
	case 1:
		parts[x], parts[y] = parts[y], parts[x]
	case 2:
		parts = slices.Insert(parts, y, parts[x])
	case 3:
		parts[x] = number(rnd, parts[x])
	default:
		num, kind, n := protowire.ConsumeTag(parts[x])
		if inner, m := protowire.ConsumeBytes(parts[x][n:]); kind == protowire.BytesType && m > 0 && depth > 0 {
			parts[x] = protowire.AppendBytes(protowire.AppendTag(nil, num, kind), spoil(rnd, inner, depth-1))
		}
	}
	return slices.Concat(parts...)
}

// number gives a field another number for its value.
func number(rnd *rand.Rand, field []byte) []byte {
	num, kind, _ := protowire.ConsumeTag(field)
	if kind != protowire.VarintType {
		return field
	}
	edges := []uint64{0, 1, 2, 5, 6, 7, 8, 1000, 1001, 1024, 1025, 1<<32 - 1, 1 << 32, 1 << 62, 1<<62 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	return protowire.AppendVarint(protowire.AppendTag(nil, num, kind), edges[rnd.IntN(len(edges))])
}

// fields splits a message; bytes that are none have no fields.
func fields(b []byte) (list [][]byte) {
	for len(b) > 0 {
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return nil
		}
		list, b = append(list, b[:n:n]), b[n:]
	}
	return list
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
