package chain_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/agentcustody/custody/chain"
)

const origin = "log.example.com/custody/7f3a"

// history is a log written leaf by leaf, kept whole so that tests can attack it.
type history struct {
	head   *chain.Chain
	leaves [][]byte
	hashes []chain.Hash
}

func write(t testing.TB, n int) *history {
	t.Helper()
	head, err := chain.New(origin)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{head: head}
	for range n {
		h.append(t, entry(uint64(len(h.leaves))))
	}
	return h
}

func (h *history) append(t testing.TB, e chain.Entry) {
	t.Helper()
	leaf, hash, err := h.head.Append(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	h.leaves, h.hashes = append(h.leaves, leaf), append(h.hashes, hash)
}

// ReadLeafHashes makes a history a chain.LeafReader.
func (h *history) ReadLeafHashes(_ context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	if end > chain.Index(len(h.hashes)) {
		return nil, fmt.Errorf("leaf %d is not written", end)
	}
	return h.hashes[begin:end], nil
}

func (h *history) nodes() chain.NodeReader { return chain.LeafNodes{Leaves: h} }

func entry(i uint64) chain.Entry {
	return chain.Entry{
		Time: int64(1_700_000_000_000_000_000 + i), Instance: numbered("instance", i%3), Batch: numbered("batch", i/4),
		Position: uint32(i % 4), Kind: chain.KindExecution, Verdict: chain.Accepted, Event: numbered("event", i),
	}
}

func numbered(name string, i uint64) chain.Hash {
	return chain.EventHash(binary.BigEndian.AppendUint64([]byte(name), i))
}

// naiveRoot is the definition of RFC 6962 section 2.1, word for word.
func naiveRoot(hashes []chain.Hash) chain.Hash {
	switch len(hashes) {
	case 0:
		return chain.EmptyRoot()
	case 1:
		return hashes[0]
	}
	k := 1
	for k*2 < len(hashes) {
		k *= 2
	}
	return chain.NodeHash(naiveRoot(hashes[:k]), naiveRoot(hashes[k:]))
}

// rebuild rebuilds a root from a span and leaf hashes.
func rebuild(s chain.Span, leaves []chain.Hash) (chain.Hash, error) {
	r, err := chain.NewRebuild(s)
	if err != nil {
		return chain.Hash{}, err
	}
	for _, leaf := range leaves {
		if err := r.Add(leaf); err != nil {
			return chain.Hash{}, err
		}
	}
	return r.Root()
}
