package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of [Chain.Replay], one for each way in which leaves fail to link.
var (
	ErrOrigin = errors.New("leaf belongs to another log")
	ErrIndex  = errors.New("leaf index out of sequence")
	ErrPrev   = errors.New("leaf does not follow the leaf before")
	ErrTime   = errors.New("leaf is older than the leaf before")
)

// ErrState says that bytes are not a state written by MarshalBinary.
var ErrState = errors.New("malformed chain state")

// Entry is what the fold decides about one event; the chain adds the rest.
type Entry struct {
	Time     int64   // stream time, ns UTC; raised to the time of the leaf before
	Instance Hash    // instance tag
	Batch    Hash    // batch digest
	Position uint32  // position in the batch, from 0
	Kind     Kind    // a known kind
	Verdict  Verdict // a known verdict
	Event    Hash    // event hash
}

// Chain is the head of one log: what is needed to append the next leaf and to
// state the root. It is not safe for concurrent use; copy it with Clone.
type Chain struct {
	origin Hash
	prev   Hash  // leaf hash at Size − 1
	time   int64 // ns UTC of the leaf at Size − 1
	tree   Frontier
}

// New returns the chain of an empty log. The error is ErrCheckpoint if origin
// cannot stand in a checkpoint.
func New(origin string) (*Chain, error) {
	if err := CheckOrigin(origin); err != nil {
		return nil, fmt.Errorf("new chain: %w", err)
	}
	return &Chain{origin: OriginHash(origin)}, nil
}

// Resume returns the chain of a log after the given last leaf, to replay the
// leaves that follow it. left are the compact hashes of [0, last index + 1),
// largest subtree first. Whether last and left belong together is proven only
// by a root that the replayed leaves rebuild.
func Resume(last []byte, left []Hash) (*Chain, error) {
	l, err := ParseLeaf(last)
	if err != nil {
		return nil, fmt.Errorf("resume chain: %w", err)
	}
	tree, err := NewFrontier(l.Index+1, left)
	if err != nil {
		return nil, fmt.Errorf("resume chain: %w", err)
	}
	c := &Chain{origin: l.Origin, prev: LeafHash(last), time: l.Time, tree: tree}
	if err := c.checkState(); err != nil {
		return nil, fmt.Errorf("resume chain: %w", err)
	}
	return c, nil
}

// Origin is the hash of the log's origin.
func (c *Chain) Origin() Hash { return c.origin }

// Size is the number of leaves, and the index of the next one.
func (c *Chain) Size() Index { return c.tree.Size() }

// Prev is the hash of the last leaf, zero for an empty log.
func (c *Chain) Prev() Hash { return c.prev }

// Time is the time of the last leaf, ns UTC, 0 for an empty log.
func (c *Chain) Time() int64 { return c.time }

// Root is the RFC 6962 root over all leaves.
func (c *Chain) Root() Hash { return c.tree.Root() }

// Left returns the compact hashes of [0, Size), largest subtree first.
func (c *Chain) Left() []Hash { return c.tree.Hashes() }

// Clone returns an independent copy.
func (c *Chain) Clone() *Chain {
	clone := *c
	return &clone
}

// Append makes the leaf for e, appends its LeafSize bytes to dst and returns
// them with the leaf hash. On an error (ErrLeaf: unknown kind or verdict, log
// full) the chain is as before.
func (c *Chain) Append(dst []byte, e Entry) ([]byte, Hash, error) {
	leaf := c.next(&e)
	if err := leaf.check(); err != nil {
		return dst, Hash{}, fmt.Errorf("append leaf %d: %w", leaf.Index, err)
	}
	dst = leaf.append(dst)
	hash := LeafHash(dst[len(dst)-LeafSize:])
	c.advance(hash, leaf.Time)
	return dst, hash, nil
}

func (c *Chain) next(e *Entry) Leaf {
	return Leaf{
		Origin: c.origin, Index: c.tree.Size(), Prev: c.prev, Time: max(c.time, e.Time),
		Instance: e.Instance, Batch: e.Batch, Position: e.Position,
		Kind: e.Kind, Verdict: e.Verdict, Event: e.Event,
	}
}

// Replay appends a leaf that already exists, after checking that it is the next
// one. On an error the chain is as before.
func (c *Chain) Replay(leaf []byte) (Leaf, Hash, error) {
	l, err := ParseLeaf(leaf)
	if err == nil {
		err = c.Links().follows(&l)
	}
	if err != nil {
		return Leaf{}, Hash{}, fmt.Errorf("replay leaf %d: %w", c.Size(), err)
	}
	hash := LeafHash(leaf)
	c.advance(hash, l.Time)
	return l, hash, nil
}

func (c *Chain) advance(hash Hash, time int64) {
	c.tree.push(0, hash)
	c.prev, c.time = hash, time
}

// The state of a chain: version, origin hash, size, prev, time, then the
// compact hashes, largest subtree first; integers big endian.
const (
	stateVersion = 1
	stateHeader  = 1 + HashSize + 8 + HashSize + 8
)

// MarshalBinary returns the state of the chain.
func (c *Chain) MarshalBinary() ([]byte, error) {
	left := c.Left()
	b := make([]byte, 0, stateHeader+len(left)*HashSize)
	b = append(b, stateVersion)
	b = append(b, c.origin[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size()))
	b = append(b, c.prev[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.time))
	for i := range left {
		b = append(b, left[i][:]...)
	}
	return b, nil
}

// UnmarshalBinary is the inverse of MarshalBinary and accepts nothing else. On
// an error (ErrState) the chain is as before.
func (c *Chain) UnmarshalBinary(b []byte) error {
	if len(b) < stateHeader || b[0] != stateVersion || (len(b)-stateHeader)%HashSize != 0 {
		return fmt.Errorf("decode chain of %d bytes: %w", len(b), ErrState)
	}
	tree, err := NewFrontier(Index(binary.BigEndian.Uint64(b[33:41])), splitHashes(b[stateHeader:]))
	if err != nil {
		return fmt.Errorf("decode chain: %w: %w", ErrState, err)
	}
	next := Chain{
		origin: Hash(b[1:33]), prev: Hash(b[41:73]), tree: tree,
		time: int64(binary.BigEndian.Uint64(b[73:81])),
	}
	if err := next.checkState(); err != nil {
		return fmt.Errorf("decode chain: %w", err)
	}
	*c = next
	return nil
}

// checkState refuses what no sequence of appends can reach.
func (c *Chain) checkState() error {
	empty := c.tree.size == 0
	switch {
	case c.time < 0:
		return fmt.Errorf("time before 1970 or beyond 2262: %w", ErrState)
	case empty && (c.time != 0 || !c.prev.IsZero()):
		return fmt.Errorf("an empty log with a last leaf: %w", ErrState)
	case c.tree.size&1 == 1 && c.tree.levels[0] != c.prev:
		return fmt.Errorf("last leaf is not in the tree: %w", ErrState)
	}
	return nil
}

func splitHashes(b []byte) []Hash {
	hashes := make([]Hash, 0, len(b)/HashSize)
	for ; len(b) >= HashSize; b = b[HashSize:] {
		hashes = append(hashes, Hash(b[:HashSize]))
	}
	return hashes
}
