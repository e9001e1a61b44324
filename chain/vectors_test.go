package chain_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors")

// The vectors are for other implementations: every value is hexadecimal,
// decimal or plain text, and each file says how to read itself.
type (
	vectors[T any] struct {
		Comment string `json:"comment"`
		Vectors []T    `json:"vectors"`
	}
	leafVector struct {
		Origin   string      `json:"origin"`
		Index    chain.Index `json:"index"`
		Prev     chain.Hash  `json:"prev"`
		Time     int64       `json:"time_ns"`
		Instance chain.Hash  `json:"instance_tag"`
		Batch    chain.Hash  `json:"batch_digest"`
		Position uint32      `json:"position"`
		Kind     string      `json:"kind"`
		Verdict  string      `json:"verdict"`
		Event    chain.Hash  `json:"event_hash"`
		Leaf     string      `json:"leaf_hex"`
		Hash     chain.Hash  `json:"leaf_hash"`
		Root     chain.Hash  `json:"root_with_leaves_before"`
	}
	eventRootVector struct {
		Events []string     `json:"events_hex"`
		Hashes []chain.Hash `json:"event_hashes"`
		Root   chain.Hash   `json:"event_root"`
	}
	tagVector struct {
		Salt     chain.Hash `json:"salt"`
		Instance string     `json:"instance"`
		Tag      chain.Hash `json:"instance_tag"`
	}
	checkpointVector struct {
		Origin string      `json:"origin"`
		Size   chain.Index `json:"size"`
		Root   chain.Hash  `json:"root"`
		Body   string      `json:"body"`
	}
	inclusionVector struct {
		Index chain.Index  `json:"index"`
		Size  chain.Index  `json:"size"`
		Leaf  chain.Hash   `json:"leaf_hash"`
		Path  []chain.Hash `json:"path"`
		Root  chain.Hash   `json:"root"`
		Valid bool         `json:"valid"`
	}
	consistencyVector struct {
		Older   chain.Index  `json:"older"`
		Newer   chain.Index  `json:"newer"`
		OldRoot chain.Hash   `json:"older_root"`
		NewRoot chain.Hash   `json:"newer_root"`
		Path    []chain.Hash `json:"path"`
		Valid   bool         `json:"valid"`
	}
)

func TestVectors(t *testing.T) {
	golden(t, "leaf.json", vectors[leafVector]{
		"One log, leaf by leaf. Integers are decimal; leaf_hex is the 183-byte header; leaf_hash = SHA-256(0x00 || leaf).",
		leafVectors(t),
	})
	golden(t, "event_root.json", vectors[eventRootVector]{
		"event_hash = SHA-256(0x00 || event); event_root is the RFC 6962 root over the event hashes.", eventRootVectors(),
	})
	golden(t, "instance_tag.json", vectors[tagVector]{
		"instance_tag = SHA-256(\"custody/instance/v1\" || 0x00 || salt || instance).", tagVectors(),
	})
	golden(t, "checkpoint.json", vectors[checkpointVector]{
		"Bodies of C2SP tlog-checkpoint notes: origin, size in decimal, root in base64, each ending in a newline.",
		checkpointVectors(t),
	})
	golden(t, "inclusion.json", vectors[inclusionVector]{
		"RFC 9162 section 2.1.3: the path shows the leaf at index in the tree of size leaves. An invalid one must be refused.",
		inclusionVectors(t),
	})
	golden(t, "consistency.json", vectors[consistencyVector]{
		"RFC 9162 section 2.1.4: the path shows that the newer tree begins with the older one. An invalid one must be refused.",
		consistencyVectors(t),
	})
}

func inclusionVectors(t *testing.T) (out []inclusionVector) {
	h := write(t, 9)
	for _, x := range [][2]chain.Index{{0, 1}, {0, 2}, {1, 2}, {2, 3}, {4, 7}, {6, 7}, {5, 8}, {8, 9}, {3, 9}} {
		path, err := chain.ProveInclusion(t.Context(), h.nodes(), x[0], x[1])
		if err != nil {
			t.Fatal(err)
		}
		good := inclusionVector{x[0], x[1], chain.LeafHash(h.leaves[x[0]]), notNil(path), write(t, int(x[1])).head.Root(), true}
		out = append(out, good)
		for _, spoil := range []func(*inclusionVector){
			func(v *inclusionVector) { v.Path = append(slices.Clone(v.Path), chain.Hash{}) },
			func(v *inclusionVector) { v.Path = v.Path[:max(len(v.Path), 1)-1] },
			func(v *inclusionVector) { v.Index++ },
			func(v *inclusionVector) { v.Leaf[0] ^= 1 },
		} {
			bad := good
			spoil(&bad)
			bad.Valid = chain.VerifyInclusion(bad.Path, bad.Index, bad.Size, bad.Leaf, bad.Root) == nil
			out = append(out, bad)
		}
	}
	return out
}

func consistencyVectors(t *testing.T) (out []consistencyVector) {
	h := write(t, 9)
	for _, x := range [][2]chain.Index{{1, 1}, {1, 2}, {2, 3}, {3, 7}, {4, 8}, {6, 8}, {7, 9}, {8, 9}, {5, 9}} {
		path, err := chain.ProveConsistency(t.Context(), h.nodes(), x[0], x[1])
		if err != nil {
			t.Fatal(err)
		}
		good := consistencyVector{x[0], x[1], write(t, int(x[0])).head.Root(), write(t, int(x[1])).head.Root(), notNil(path), true}
		out = append(out, good)
		for _, spoil := range []func(*consistencyVector){
			func(v *consistencyVector) { v.Path = append(slices.Clone(v.Path), chain.Hash{}) },
			func(v *consistencyVector) { v.Path = v.Path[:max(len(v.Path), 1)-1] },
			func(v *consistencyVector) { v.OldRoot[31] ^= 1 },
			func(v *consistencyVector) { v.NewRoot[0] ^= 1 },
		} {
			bad := good
			spoil(&bad)
			bad.Valid = chain.VerifyConsistency(bad.Path, bad.Older, bad.Newer, bad.OldRoot, bad.NewRoot) == nil
			out = append(out, bad)
		}
	}
	return out
}

// notNil keeps an empty path a list in JSON.
func notNil(path []chain.Hash) []chain.Hash { return append([]chain.Hash{}, path...) }

func leafVectors(t *testing.T) (out []leafVector) {
	h := write(t, 0)
	for v := chain.Accepted; v.Valid(); v++ {
		e := entry(uint64(v))
		e.Verdict = v
		if v >= chain.Equivocation {
			e.Kind = chain.KindNone
		} else {
			e.Kind = chain.Kind(v)
		}
		h.append(t, e)
		out = append(out, leafVectorOf(t, h))
	}
	return out
}

func leafVectorOf(t *testing.T, h *history) leafVector {
	b := h.leaves[len(h.leaves)-1]
	l, err := chain.ParseLeaf(b)
	if err != nil {
		t.Fatal(err)
	}
	return leafVector{
		Origin: origin, Index: l.Index, Prev: l.Prev, Time: l.Time, Instance: l.Instance, Batch: l.Batch,
		Position: l.Position, Kind: l.Kind.String(), Verdict: l.Verdict.String(), Event: l.Event,
		Leaf: hex.EncodeToString(b), Hash: chain.LeafHash(b), Root: h.head.Root(),
	}
}

func eventRootVectors() (out []eventRootVector) {
	for _, n := range []int{0, 1, 2, 3, 5, 8} {
		v := eventRootVector{Events: []string{}, Hashes: []chain.Hash{}}
		for i := range n {
			event := bytes.Repeat([]byte{byte(i)}, i)
			v.Events = append(v.Events, hex.EncodeToString(event))
			v.Hashes = append(v.Hashes, chain.EventHash(event))
		}
		v.Root = chain.EventRoot(v.Hashes)
		out = append(out, v)
	}
	return out
}

func tagVectors() (out []tagVector) {
	for i, instance := range []string{"a", "billing-agent-7", "0"} {
		salt := numbered("salt", uint64(i))
		out = append(out, tagVector{salt, instance, chain.InstanceTag(salt, instance)})
	}
	return out
}

func checkpointVectors(t *testing.T) (out []checkpointVector) {
	for _, n := range []int{0, 1, 7, 100} {
		c, err := write(t, n).head.Checkpoint(origin)
		if err != nil {
			t.Fatal(err)
		}
		body, err := c.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, checkpointVector{c.Origin, c.Size, c.Root, string(body)})
	}
	return out
}

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", "vectors", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
