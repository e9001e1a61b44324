package chain

import (
	"crypto/sha256"
	"hash"
	"io"
)

// turn is how many bytes of one thing are hashed before as many of the other.
const turn = sha256.BlockSize

// inTurns writes a to x and b to y, two hashes of one kind, a little of each at a time. A processor with instructions for SHA-256 waits most
// of the time for the result of the one before: given two things in turns, it works on both.
func inTurns(x, y io.Writer, a, b []byte) {
	for len(a) >= turn && len(b) >= turn {
		_, _ = x.Write(a[:turn])
		_, _ = y.Write(b[:turn])
		a, b = a[turn:], b[turn:]
	}
	_, _ = x.Write(a)
	_, _ = y.Write(b)
}

// Pair hashes two things in turns, each with the standard library's SHA-256. It is for one goroutine.
type Pair struct {
	x, y hash.Hash
	a, b []byte // scratch space for what is hashed behind a prefix
	sums [2]Hash
}

// NewPair returns a pair for any number of hashes.
func NewPair() *Pair { return &Pair{x: sha256.New(), y: sha256.New()} }

// Sums are the hashes of a and b.
func (p *Pair) Sums(a, b []byte) (x, y Hash) {
	p.x.Reset()
	p.y.Reset()
	inTurns(p.x, p.y, a, b)
	p.x.Sum(p.sums[0][:0])
	p.y.Sum(p.sums[1][:0])
	return p.sums[0], p.sums[1]
}

// LeafHashes are [LeafHash] of two leaves, and [EventHash] of two events.
func (p *Pair) LeafHashes(a, b []byte) (x, y Hash) {
	p.a = append(append(p.a[:0], leafPrefix), a...)
	p.b = append(append(p.b[:0], leafPrefix), b...)
	return p.Sums(p.a, p.b)
}

// EventRoot is the function of that name. The hashes are overwritten.
func (p *Pair) EventRoot(events []Hash) Hash {
	if len(events) == 0 {
		return emptyRoot
	}
	for len(events) > 1 {
		events = p.parents(events)
	}
	return events[0]
}

// parents replaces the nodes of one level by those above, two at a time. The last of an odd number moves up as it is.
func (p *Pair) parents(nodes []Hash) []Hash {
	n := len(nodes) / 2
	for i := 0; i+1 < n; i += 2 {
		nodes[i], nodes[i+1] = p.nodeHashes(nodes[2*i:])
	}
	if n%2 == 1 {
		nodes[n-1] = NodeHash(nodes[2*n-2], nodes[2*n-1])
	}
	if len(nodes)%2 == 1 {
		nodes[n] = nodes[len(nodes)-1]
		n++
	}
	return nodes[:n]
}

// nodeHashes are [NodeHash] of the first two of four nodes, and of the others.
func (p *Pair) nodeHashes(nodes []Hash) (x, y Hash) {
	p.a = append(append(append(p.a[:0], nodePrefix), nodes[0][:]...), nodes[1][:]...)
	p.b = append(append(append(p.b[:0], nodePrefix), nodes[2][:]...), nodes[3][:]...)
	return p.Sums(p.a, p.b)
}
