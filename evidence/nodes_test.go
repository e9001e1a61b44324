package evidence

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

// askedLog is a log that notes the leaves that are read of it.
type askedLog struct {
	leaves [][]byte
	reads  []chain.Index
}

func (l *askedLog) ReadLeafHashes(_ context.Context, begin, end chain.Index) (hashes []chain.Hash, err error) {
	for i := begin; i < end; i++ {
		l.reads, hashes = append(l.reads, i), append(hashes, chain.LeafHash(l.leaves[i]))
	}
	return hashes, nil
}

// Nodes under and over leaves that were shown are those of the log, and none of the shown leaves is read again.
func TestNodesOfShownLeaves(t *testing.T) {
	const size = 16
	for shown := range size + 1 {
		log := &askedLog{}
		for i := range size {
			log.leaves = append(log.leaves, append(make([]byte, chain.LeafSize-1), byte(i)))
		}
		cache := newNodeCache(chain.LeafNodes{Leaves: log})
		for _, leaf := range log.leaves[:shown] {
			if err := cache.show(0, leaf); err != nil {
				t.Fatal(err)
			}
		}
		var outside []chain.Node // what proofs of leaves that were not shown rest on
		for level := range uint(5) {
			for index := range chain.Index(size >> level) {
				if (index+1)<<level > chain.Index(shown) || ((index^1)+1)<<level > chain.Index(shown) {
					outside = append(outside, chain.Node{Level: level, Index: index})
				}
			}
		}
		want, err := chain.LeafNodes{Leaves: &askedLog{leaves: log.leaves}}.ReadNodes(t.Context(), outside)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cache.ReadNodes(t.Context(), outside)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%d shown: %v (-log +cache):\n%s", shown, err, diff)
		}
		for _, i := range log.reads {
			if i < chain.Index(shown) {
				t.Errorf("%d shown: leaf %d was read again", shown, i)
			}
		}
	}
}

// Every node is the log's, also one under leaves that were shown, and the log is asked once for each that is read, and never for none.
func TestNodesAreAskedForOnce(t *testing.T) {
	const size = 16
	log := &askedLog{}
	for i := range size {
		log.leaves = append(log.leaves, append(make([]byte, chain.LeafSize-1), byte(i)))
	}
	var all []chain.Node
	for level := range uint(5) {
		for index := range chain.Index(size >> level) {
			all = append(all, chain.Node{Level: level, Index: index})
		}
	}
	want, err := chain.LeafNodes{Leaves: log}.ReadNodes(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	for shown := range size + 1 {
		asked := &askedNodes{NodeReader: chain.LeafNodes{Leaves: &askedLog{leaves: log.leaves}}, times: map[chain.Node]int{}}
		cache := newNodeCache(asked)
		for _, leaf := range log.leaves[:shown] {
			if err := cache.show(0, leaf); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			for i, n := range all {
				if got, err := cache.ReadNodes(t.Context(), []chain.Node{n}); err != nil || got[0] != want[i] {
					t.Errorf("%d shown: %v: %v", shown, n, err)
				}
			}
		}
		for n, times := range asked.times {
			if times > 1 {
				t.Errorf("%d shown: %v was asked for %d times", shown, n, times)
			}
		}
		if asked.none > 0 {
			t.Errorf("%d shown: the log was asked for nothing", shown)
		}
	}
}

// askedNodes notes the nodes that are asked for.
type askedNodes struct {
	chain.NodeReader
	times map[chain.Node]int
	none  int // calls without any
	short bool
}

func (a *askedNodes) ReadNodes(ctx context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	for _, n := range nodes {
		a.times[n]++
	}
	if len(nodes) == 0 {
		a.none++
	}
	if a.short {
		return nil, nil
	}
	return a.NodeReader.ReadNodes(ctx, nodes)
}

// A log that gives fewer hashes than were asked for is read wrongly.
func TestTooFewNodes(t *testing.T) {
	cache := newNodeCache(&askedNodes{times: map[chain.Node]int{}, short: true})
	if _, err := cache.ReadNodes(t.Context(), []chain.Node{{}}); !errors.Is(err, chain.ErrRange) {
		t.Error(err)
	}
	for range 3 {
		if err := cache.show(0, make([]byte, chain.LeafSize)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cache.ReadNodes(t.Context(), []chain.Node{{Level: 1, Index: 1}}); !errors.Is(err, chain.ErrRange) {
		t.Errorf("over the last that was shown: %v", err)
	}
}

// A log that fails once is asked no more: what lies over the last leaf that was shown is not made of something else.
func TestNodesOfALogThatFails(t *testing.T) {
	log := &askedLog{}
	for range 4 {
		log.leaves = append(log.leaves, make([]byte, chain.LeafSize))
	}
	cache := newNodeCache(&failsOnce{NodeReader: chain.LeafNodes{Leaves: log}, breaks: &breaks{at: 1}})
	for _, leaf := range log.leaves[:3] {
		if err := cache.show(0, leaf); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cache.ReadNodes(t.Context(), []chain.Node{{Level: 1, Index: 1}}); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

// failsOnce is a log that fails at one call.
type failsOnce struct {
	chain.NodeReader
	*breaks
}

func (f *failsOnce) ReadNodes(ctx context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	if err := f.next(); err != nil {
		return nil, err
	}
	return f.NodeReader.ReadNodes(ctx, nodes)
}
