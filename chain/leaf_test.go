package chain_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

func TestLeafSizeIsTheTable(t *testing.T) {
	if chain.LeafSize != 183 {
		t.Errorf("leaf size is %d", chain.LeafSize)
	}
}

func TestParseLeafIsStrict(t *testing.T) {
	good := write(t, 2).leaves
	set := func(leaf, at int, value byte) []byte {
		b := bytes.Clone(good[leaf])
		b[at] = value
		return b
	}
	cases := map[string][]byte{
		"empty":                nil,
		"short":                good[1][:182],
		"long":                 append(bytes.Clone(good[1]), 0),
		"version 0":            set(1, 0, 0),
		"version 2":            set(1, 0, 2),
		"index overflow":       set(1, 33, 0x80),
		"index at the limit":   append(append(bytes.Clone(good[1][:33]), 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), good[1][41:]...),
		"negative time":        set(1, 73, 0x80),
		"kind 0":               set(1, 149, 0),
		"kind 6":               set(1, 149, 6),
		"kind 254":             set(1, 149, 254),
		"verdict 0":            set(1, 150, 0),
		"verdict 8":            set(1, 150, 8),
		"genesis with a prev":  set(0, 41, 1),
		"node hash preimage":   make([]byte, 65),
		"two leaves glued":     append(bytes.Clone(good[0]), good[1]...),
		"other index, no prev": set(1, 40, 0),
	}
	for name, b := range cases {
		if _, err := chain.ParseLeaf(b); !errors.Is(err, chain.ErrLeaf) {
			t.Errorf("%s: %v, want ErrLeaf", name, err)
		}
	}
}

func TestVerdictAndKindNames(t *testing.T) {
	var verdicts []string
	for v := chain.Accepted; v.Valid(); v++ {
		if back, err := chain.ParseVerdict(v.String()); err != nil || back != v {
			t.Errorf("%s comes back as %s, %v", v, back, err)
		}
		verdicts = append(verdicts, v.String())
	}
	want := []string{"accepted", "gap", "late", "key-invalid", "held", "equivocation", "malformed"}
	if diff := cmp.Diff(want, verdicts); diff != "" {
		t.Error(diff)
	}
	for _, k := range []chain.Kind{1, 2, 3, 4, 5, 255} {
		if back, err := chain.ParseKind(k.String()); err != nil || back != k {
			t.Errorf("%s comes back as %s, %v", k, back, err)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for _, name := range []string{"", "Accepted", "verdict(0)", "kind(6)", "accepted "} {
		if _, err := chain.ParseVerdict(name); err == nil {
			t.Errorf("verdict %q was read", name)
		}
		if _, err := chain.ParseKind(name); err == nil {
			t.Errorf("kind %q was read", name)
		}
	}
	if got := chain.Verdict(9).String() + chain.Kind(9).String(); got != "verdict(9)kind(9)" {
		t.Errorf("unknown values print as %s", got)
	}
}

func TestHashText(t *testing.T) {
	h := chain.OriginHash(origin)
	if back, err := chain.ParseHash(h.String()); err != nil || back != h {
		t.Errorf("%s comes back as %s, %v", h, back, err)
	}
	upper := bytes.ToUpper([]byte(h.String()))
	for _, text := range []string{"", h.String()[1:], h.String() + "0", string(upper), "zz" + h.String()[2:]} {
		if _, err := chain.ParseHash(text); !errors.Is(err, chain.ErrHash) {
			t.Errorf("%q was read: %v", text, err)
		}
	}
}

// A node's two children, presented as an event or leaf, must not hash to it.
func TestLeafIsNotANode(t *testing.T) {
	left, right := numbered("l", 0), numbered("r", 0)
	children := append(left[:], right[:]...)
	if chain.EventHash(children) == chain.NodeHash(left, right) {
		t.Error("a leaf can be taken for a node")
	}
}

func TestLongAndShortEventsHashAlike(t *testing.T) {
	for _, n := range []int{0, 1, 510, 511, 512, 513, 100_000} {
		event := bytes.Repeat([]byte{7}, n)
		prefixed := append([]byte{0}, event...)
		if got, want := chain.EventHash(event), chain.OriginHash(string(prefixed)); got != want {
			t.Errorf("event of %d bytes: %s, want %s", n, got, want)
		}
	}
}

func FuzzLeaf(f *testing.F) {
	for _, b := range write(f, 3).leaves {
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		leaf, err := chain.ParseLeaf(b)
		if err != nil {
			return
		}
		back, err := leaf.AppendBinary(nil)
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("parse then encode is not the identity: %x, %v", back, err)
		}
	})
}
