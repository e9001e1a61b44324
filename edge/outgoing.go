package edge

import (
	"fmt"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// outgoing is a signed batch on its way. Its bytes belong to its spool.Batch.
type outgoing struct {
	queue     *spool.Queue
	statement spool.Statement
	batch     spool.Batch
	signed    eventv1.SignedBatch
	hashes    []chain.Hash
	openings  []eventv1.Opening
}

// predecessor is what a new statement follows.
type predecessor struct {
	number uint64            // of the epoch, from 1
	epoch  spool.Epoch       // the epoch's name
	before *eventv1.EpochEnd // end of the epoch before; nil in the first
	last   spool.End         // of the epoch so far; zero at its start
	seen   *eventv1.LastSeen // newest leaf known
}

// sign makes, records and signs the statement over the loaded batch. After a crash the same bytes are sent again.
func (e *Emitter) sign(out *outgoing, follows predecessor) error {
	statement, err := event.MarshalStatement(e.statement(out, follows))
	if err != nil {
		return fmt.Errorf("make statement: %w", err)
	}
	sig, err := signer.SignDSSE(e.key, signer.PayloadTypeBatch, statement)
	if err != nil {
		return err
	}
	out.statement = spool.Statement{
		Number: follows.number, First: out.batch.First, Count: len(out.batch.Entries),
		Digest: event.BatchDigest(statement), Bytes: statement, Signature: [event.SignatureSize]byte(sig),
	}
	return out.queue.Sign(out.statement, &out.batch)
}

func (e *Emitter) statement(out *outgoing, follows predecessor) *eventv1.BatchStatement {
	root := chain.EventRoot(out.hashEvents())
	keyID := e.key.ID()
	st := &eventv1.BatchStatement{
		Version: event.Version, Tenant: string(e.identity.Tenant), Instance: string(e.identity.Instance), KeyId: keyID[:],
		EpochNo: follows.number, Epoch: follows.epoch[:], PreviousEpoch: follows.before,
		FirstSeq: uint64(out.batch.First), Count: uint32(len(out.batch.Entries)),
		EventRoot: root[:], CreatedAt: time.Now().UnixNano(), LastSeen: follows.seen,
	}
	if follows.last.Seq > 0 {
		st.PrevBatch = follows.last.Digest[:]
	}
	return st
}

func (o *outgoing) hashEvents() []chain.Hash {
	o.hashes = o.hashes[:0]
	for i := range o.batch.Entries {
		o.hashes = append(o.hashes, chain.EventHash(o.batch.Entries[i].Event))
	}
	return o.hashes
}

// message is the batch as it is sent.
func (o *outgoing) message() *eventv1.SignedBatch {
	m := &o.signed
	m.Statement, m.Signature, m.Events = o.statement.Bytes, o.statement.Signature[:], m.Events[:0]
	o.openings = o.openings[:0]
	for position := range o.batch.Entries {
		entry := &o.batch.Entries[position]
		m.Events = append(m.Events, entry.Event)
		o.addOpenings(uint32(position), entry.Openings)
	}
	m.Openings = m.Openings[:0]
	for i := range o.openings {
		m.Openings = append(m.Openings, &o.openings[i])
	}
	return m
}

func (o *outgoing) addOpenings(position uint32, openings []spool.Opening) {
	for i := range openings {
		path, _ := openings[i].Object()
		if path == "" {
			continue // withheld
		}
		o.openings = append(o.openings, eventv1.Opening{})
		last := &o.openings[len(o.openings)-1]
		last.Position, last.Path = position, path
		last.Salt, last.Value = openings[i].Salt[:], openings[i].Value
	}
}
