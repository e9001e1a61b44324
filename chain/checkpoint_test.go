package chain_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

// The example of https://c2sp.org/tlog-checkpoint.
const c2spExample = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

func TestCheckpointReadsTheSpecificationsExample(t *testing.T) {
	c, err := chain.ParseCheckpoint([]byte(c2spExample))
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != "example.com/behind-the-sofa" || c.Size != 20852163 {
		t.Errorf("read %+v", c)
	}
	if back, err := c.MarshalText(); err != nil || string(back) != c2spExample {
		t.Errorf("comes back as %q, %v", back, err)
	}
}

func TestCheckpointOfAChain(t *testing.T) {
	h := write(t, 12)
	c, err := h.head.Checkpoint(origin)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(chain.Checkpoint{Origin: origin, Size: 12, Root: naiveRoot(h.hashes)}, c); diff != "" {
		t.Error(diff)
	}
	if _, err := h.head.Checkpoint("example.com/other"); !errors.Is(err, chain.ErrOrigin) {
		t.Errorf("checkpoint under another origin: %v", err)
	}
}

func TestCheckpointIsStrict(t *testing.T) {
	lines := strings.SplitAfter(c2spExample, "\n")
	body := func(origin, size, root string) string { return origin + size + root }
	cases := map[string]string{
		"empty":             "",
		"no final newline":  strings.TrimSuffix(c2spExample, "\n"),
		"extension line":    c2spExample + "extension\n",
		"blank line":        c2spExample + "\n",
		"no origin":         body("\n", lines[1], lines[2]),
		"space in origin":   body("a b\n", lines[1], lines[2]),
		"plus in origin":    body("a+b\n", lines[1], lines[2]),
		"control in origin": body("a\x1bb\n", lines[1], lines[2]),
		"not UTF-8":         body("a\xffb\n", lines[1], lines[2]),
		"long origin":       body(strings.Repeat("a", 256)+"\n", lines[1], lines[2]),
		"leading zero":      body(lines[0], "01\n", lines[2]),
		"sign":              body(lines[0], "+1\n", lines[2]),
		"hexadecimal":       body(lines[0], "0x1\n", lines[2]),
		"size overflow":     body(lines[0], "9223372036854775808\n", lines[2]),
		"carriage return":   strings.ReplaceAll(c2spExample, "\n", "\r\n"),
		"short root":        body(lines[0], lines[1], "AAAA\n"),
		"long root":         body(lines[0], lines[1], strings.TrimSuffix(lines[2], "=\n")+"AAA=\n"),
		"trailing bits":     body(lines[0], lines[1], strings.Replace(lines[2], "2I=", "2J=", 1)),
		"return in root":    body(lines[0], lines[1], "\r"+lines[2]),
		"empty, wrong root": body(lines[0], "0\n", lines[2]),
		"full, empty root":  body(lines[0], "1\n", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"),
	}
	for name, text := range cases {
		if _, err := chain.ParseCheckpoint([]byte(text)); !errors.Is(err, chain.ErrCheckpoint) {
			t.Errorf("%s: %v, want ErrCheckpoint", name, err)
		}
	}
}

func TestEmptyCheckpoint(t *testing.T) {
	c := chain.Checkpoint{Origin: origin, Root: chain.EmptyRoot()}
	body, err := c.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := chain.ParseCheckpoint(body); err != nil || back != c {
		t.Errorf("comes back as %+v, %v", back, err)
	}
	if _, err := (chain.Checkpoint{Origin: origin}).MarshalText(); !errors.Is(err, chain.ErrCheckpoint) {
		t.Errorf("a root of zeros was written: %v", err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(c2spExample))
	f.Add([]byte("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := chain.ParseCheckpoint(body)
		if err != nil {
			return
		}
		if back, err := c.MarshalText(); err != nil || !bytes.Equal(back, body) {
			t.Errorf("parse then encode is not the identity: %q, %v", back, err)
		}
	})
}

func FuzzState(f *testing.F) {
	for _, n := range []int{0, 1, 7} {
		state, _ := write(f, n).head.MarshalBinary()
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		var c chain.Chain
		if err := c.UnmarshalBinary(state); err != nil {
			return
		}
		if back, err := c.MarshalBinary(); err != nil || !bytes.Equal(back, state) {
			t.Errorf("decode then encode is not the identity: %x, %v", back, err)
		}
	})
}
