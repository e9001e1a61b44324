package chain

import "fmt"

// Links is a chain without its tree, for those who hold the leaves to each other and rebuild the root another way ([Rebuild]). It
// says nothing about a root.
type Links struct {
	origin Hash
	next   Index
	prev   Hash  // leaf hash at next − 1
	time   int64 // ns UTC of the leaf at next − 1
}

// Links are the links behind the last leaf of the chain.
func (c *Chain) Links() *Links { return &Links{c.origin, c.Size(), c.prev, c.time} }

// Follow takes the next leaf: what was parsed, and the bytes that it was parsed from. The errors are those of [Chain.Replay]; after
// one the links are as before.
func (l *Links) Follow(leaf *Leaf, encoded []byte) (Hash, error) {
	hash := LeafHash(encoded)
	if err := l.FollowHashed(leaf, hash); err != nil {
		return Hash{}, err
	}
	return hash, nil
}

// FollowHashed is Follow for who has hashed the leaf already.
func (l *Links) FollowHashed(leaf *Leaf, hash Hash) error {
	if err := l.follows(leaf); err != nil {
		return fmt.Errorf("follow leaf %d: %w", l.next, err)
	}
	l.next, l.prev, l.time = l.next+1, hash, leaf.Time
	return nil
}

func (l *Links) follows(leaf *Leaf) error {
	switch {
	case leaf.Origin != l.origin:
		return ErrOrigin
	case leaf.Index != l.next:
		return fmt.Errorf("index %d: %w", leaf.Index, ErrIndex)
	case leaf.Prev != l.prev:
		return ErrPrev
	case leaf.Time < l.time:
		return ErrTime
	}
	return nil
}
