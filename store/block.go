package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Limits of one block, for whoever makes blocks. Larger ones still work: they
// cost memory, and the engine may cut a table's rows into several parts.
const (
	// MaxBlockEvents keeps a block's columns within some 64 MiB.
	MaxBlockEvents = 1 << 16
	// MaxBlockBytes bounds message bytes in a block in the same way.
	MaxBlockBytes = 64 << 20
)

// Block is the rows of consecutive stream messages, ready to be inserted or
// compared. Make one with NewBlock, Add messages in stream order, Close it,
// hand it to Insert or Compare, and Reset it for the next. It refers to the
// bytes of the messages that were added and is not safe for concurrent use.
type Block struct {
	First, Last uint64 // stream sequences, both within the block

	events   *events
	leaves   *leaves
	batches  *batches
	openings *openings
	held     *held
	keys     *keys
	heads    *heads
	state    *state

	inner  uint64 // first message of the one of the writer's blocks that is open, see Mark
	ends   []Head
	size   int
	slow   bool // see OneByOne
	loader loader
}

// NewBlock returns an empty block that begins at the stream sequence first.
func NewBlock(first uint64) *Block {
	return &Block{
		First: first, Last: first, inner: first,
		events: newEvents(), leaves: newLeaves(), batches: newBatches(), openings: newOpenings(), held: newHeld(),
		keys: newKeys(), heads: newHeads(), state: newState(),
	}
}

// tables lists every table that the fold writes. Leaves and heads come last:
// their presence says most about a block's other rows.
func (b *Block) tables() []*table {
	return []*table{
		&b.events.table, &b.batches.table, &b.openings.table, &b.held.table,
		&b.keys.table, &b.state.table, &b.leaves.table, &b.heads.table,
	}
}

func (b *Block) table(name string) *table {
	for _, t := range b.tables() {
		if t.name == name {
			return t
		}
	}
	return nil
}

// Add derives the rows of one message. Messages come in stream order.
func (b *Block) Add(f *Folded) {
	b.events.add(f)
	b.leaves.add(f)
	b.batches.add(f)
	if f.Raw == nil {
		b.openings.add(f)
		b.held.add(f)
	}
	b.keys.add(f)
	b.state.add(f)
	b.size += f.weight()
}

// Close ends the block at the stream sequence last, which may be a message
// without leaves. streamDigest is the running digest there; ends has one head
// for each tenant that the block touched.
func (b *Block) Close(last uint64, streamDigest [32]byte, ends []Head) {
	b.ends = append(b.ends[:0], ends...)
	b.Mark(last, streamDigest, ends)
}

// Mark ends one of the writer's blocks inside b and goes on with the next: what
// Compare takes may be many of them. What Insert takes is one, and is closed.
func (b *Block) Mark(last uint64, streamDigest [32]byte, ends []Head) {
	b.heads.add(b.inner, last, streamDigest, ends)
	clear(b.state.at)
	b.Last, b.inner = last, last+1
}

// Reset empties the block, keeps its memory and begins at first.
func (b *Block) Reset(first uint64) {
	b.Discard()
	for _, t := range b.tables() {
		t.reset()
	}
	b.state.reset()
	b.First, b.Last, b.inner, b.ends, b.size, b.slow = first, first, first, b.ends[:0], 0, false
}

// OneByOne has Insert write one table of the block after the other, instead of several at once: it takes longer and leaves
// processors to others meanwhile.
func (b *Block) OneByOne() { b.slow = true }

// Events is the number of leaves in the block.
func (b *Block) Events() int { return b.leaves.rows }

// Bytes is about the number of message bytes in the block.
func (b *Block) Bytes() int { return b.size }

// tokenDomain separates deduplication tokens from every other use of SHA-256.
const tokenDomain = "custody/insert/v1\x00"

// token is a deduplication token of one table's rows of the block: hex
// SHA-256(domain ‖ table ‖ 0 ‖ first ‖ last), followed by its number where that
// is not 0: see Store.again.
func (b *Block) token(table string, number int) string {
	d := append([]byte(tokenDomain), table...)
	d = append(d, 0)
	d = binary.BigEndian.AppendUint64(d, b.First)
	d = binary.BigEndian.AppendUint64(d, b.Last)
	if number > 0 {
		d = append(d, byte(number))
	}
	sum := sha256.Sum256(d)
	return hex.EncodeToString(sum[:])
}
