package store

import (
	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Folded is what the fold made of one stream message that got leaves. The store
// derives every row from it and from nothing else. A block refers to the bytes
// and strings that it points to without copying them, so they must not change
// until the block is reset, and to nothing of its own.
type Folded struct {
	StreamSeq     uint64   // ≥ 1
	MessageTime   int64    // JetStream's time, ns UTC
	MessageDigest [32]byte // SHA-256 of the message data
	StreamDigest  [32]byte // running digest over all messages up to this one
	Subject       string

	Tenant     string
	FirstIndex uint64 // index of the first of Leaves; the others follow without a hole

	Statement      *eventv1.BatchStatement // nil if the message could not be read
	StatementBytes []byte                  // exact bytes
	Signature      []byte
	BatchDigest    [32]byte
	Producer       eventv1.ProducerClass

	Leaves   []Leaf // one for each event, or one for the whole message
	Openings []*eventv1.EncryptedOpening
	Held     []*eventv1.HeldEvent
	Raw      []byte // the whole message, if it is malformed or an equivocation; nil otherwise

	State []StateEntry // entries of the tenant's fold state that this message changed
}

// weight is the size of what a message makes the store keep: the bytes of its
// statement, events, openings and held events, or of the whole message.
func (f *Folded) weight() int {
	if f.Raw != nil {
		return len(f.Raw)
	}
	n := len(f.StatementBytes) + len(f.Signature)
	for i := range f.Leaves {
		n += len(f.Leaves[i].EventBytes)
	}
	for _, o := range f.Openings {
		n += len(o.GetCiphertext())
	}
	for _, h := range f.Held {
		n += len(h.GetCiphertext())
	}
	return n
}

// Leaf is one leaf and the event behind it.
type Leaf struct {
	Index      uint64
	Bytes      []byte // chain.LeafSize bytes
	Hash       [32]byte
	Time       int64  // ns UTC
	Position   uint32 // in the batch, from 0
	Kind       uint8  // chain.Kind
	Verdict    chain.Verdict
	EventHash  [32]byte
	EventBytes []byte         // exact bytes; nil if held, malformed or an equivocation
	Event      *eventv1.Event // EventBytes decoded; nil with it
}

// StateEntry is one changed entry of a tenant's fold state.
type StateEntry struct {
	Key   string // for example "chain" or "emitter/<key id>"
	Value []byte // empty if the entry is gone
}

// Head is a tenant's log after the last message of a block.
type Head struct {
	Tenant   string
	Size     uint64   // leaves
	Root     [32]byte // RFC 6962
	LeafHash [32]byte // of leaf Size − 1
	Time     int64    // of leaf Size − 1, ns UTC
}
