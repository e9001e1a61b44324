package evidence

import (
	"context"
	"iter"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// Reader is the log of one tenant as the writer reads it. Every answer is of the same log, committed, and never changes
// between calls except that the log grows; a hash or a leaf that is wrong makes a bundle that does not verify, nothing worse.
type Reader interface {
	// ReadNodes gives the inner hashes of the log (chain.LeafNodes makes them of leaves). The writer asks for each node once.
	chain.NodeReader
	// What others have said about the log.
	AnchorReader
	// Checkpoint returns the newest signed checkpoint, a signed note of the origin's log key.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Bounds returns the indices of the first leaf received at or after from, and at or after to, among the first size
	// leaves; size where there is none.
	Bounds(ctx context.Context, from, to Instant, size chain.Index) (begin, end chain.Index, err error)
	// Leaf returns the bytes of one leaf.
	Leaf(ctx context.Context, index chain.Index) ([]byte, error)
	// Messages yields, in order, every message that has a leaf in [begin, end), each whole. A message is used before the
	// next one is asked for.
	Messages(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error]
	// MessagesOf does the same for the messages of one instance alone, as their statements name it.
	MessagesOf(ctx context.Context, begin, end chain.Index, instance string) iter.Seq2[*Message, error]
	// Leaves calls yield with the bytes of each leaf in [begin, end), in order, and stops at its error.
	Leaves(ctx context.Context, begin, end chain.Index, yield func(leaf []byte) error) error
	// Admission yields, in order, the messages of the system key in [begin, end) that hold at least one accepted event of
	// these: genesis, instance, manifest, key, grant, rule, hold, erasure, expiry. It may yield others.
	Admission(ctx context.Context, begin, end chain.Index) iter.Seq2[*Message, error]
	// Before returns, of the batches of a key with every leaf before index, the one with the greatest epoch and sequence
	// numbers, which is where its numbering stood; nil if there is none. Messages that are kept whole do not count. Its
	// events are not needed.
	Before(ctx context.Context, key signer.KeyID, index chain.Index) (*Message, error)
	// After returns the first batch of a key with its first leaf in [begin, end) that is not late; nil if there is none.
	After(ctx context.Context, key signer.KeyID, begin, end chain.Index) (*Message, error)
}

// Message is one message of the log with its leaves.
type Message struct {
	First     chain.Index // leaf of its first event, or of the whole
	Leaves    [][]byte    // bytes of its leaves, one for each event, or one if the message is kept whole
	Statement []byte      // exact bytes; empty for a malformed message
	Signature []byte
	Events    []Event // one for each leaf; may be absent where a method says so
}

// Event is what Custody still has of one leaf.
type Event struct {
	Bytes    []byte         // exact bytes of the event, or of the whole message for a leaf that is not an event; nil if they are not here
	Parsed   *eventv1.Event // of Bytes, if the reader has parsed them; nil leaves that to the writer
	Missing  Missing
	Openings []Opening // of its sealed fields, in any order; a field without one is withheld
}

// Missing says why an event's bytes are not here.
type Missing uint8

// The reasons.
const (
	NotMissing Missing = iota
	Held               // failed the secret scan and is kept closed
	Expired            // its retention is over
)

// Opening is what Custody can say about one sealed field.
type Opening struct {
	Path  string
	Salt  [32]byte
	Value []byte
	Load  func() []byte // of an object, in place of Value: the value, nil if it cannot be had; called when it is written

	Erased     bool        // the key is destroyed: no salt and no value
	Tombstone  chain.Index // leaf of the erasure, after the event's own, if Erased
	Generation uint32      // of the key that the field was under, if Erased
}

// Disclose says which sealed fields the bundle opens.
type Disclose struct {
	Withhold map[string]string // reason by path
	Nothing  string            // if not empty, the reason for which every field is withheld
	Only     map[string]bool   // if not nil, every other path is withheld
}

// Tool is the program that exports.
type Tool struct {
	Name   string     // name and version
	Digest chain.Hash // SHA-256 of the program; zeros if unknown
}

// reasonAbsent is why a field is withheld that Custody itself cannot open.
const reasonAbsent = "not in Custody's hands"

// reasonDamaged is why a field is withheld whose stored content is not what was signed.
const reasonDamaged = "what Custody holds is not what was signed"

// reasonNotAsked is why a field is withheld that is not among those that were asked for.
const reasonNotAsked = "not among the content that was asked for"

// reasonErasedLater is why a field is withheld whose erasure stands in the log after the state that the bundle is of.
const reasonErasedLater = "erased after the state of the log that this bundle is of"

// reason is why a field is withheld by request, empty if it is not.
func (d *Disclose) reason(path string) string {
	switch {
	case d.Nothing != "":
		return d.Nothing
	case d.Withhold[path] != "":
		return d.Withhold[path]
	case d.Only != nil && !d.Only[path]:
		return reasonNotAsked
	}
	return ""
}
