package ingest

import (
	"bytes"
	"fmt"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// head is the last batch of an emitter. The zero head is none.
type head struct {
	epochNo uint64 // from 1
	epoch   [16]byte
	lastSeq uint64
	digest  [32]byte
}

// newHead is the head after a statement with this digest.
func newHead(st *eventv1.BatchStatement, digest [32]byte) head {
	return head{st.GetEpochNo(), [16]byte(st.GetEpoch()), st.GetFirstSeq() + uint64(st.GetCount()) - 1, digest}
}

// headOf is the head after a message of the stream.
func headOf(message []byte) (head, error) {
	b, err := event.ParseStreamBatch(message)
	if err != nil {
		return head{}, fmt.Errorf("parse stream batch: %w", err)
	}
	st, err := event.ParseStatement(b.GetStatement())
	if err != nil {
		return head{}, fmt.Errorf("parse statement: %w", err)
	}
	return newHead(st, event.BatchDigest(b.GetStatement())), nil
}

// proto is the head as it is sent, nil for none.
func (h head) proto() *apiv1.EmitterHead {
	if h.epochNo == 0 {
		return nil
	}
	return &apiv1.EmitterHead{EpochNo: h.epochNo, Epoch: h.epoch[:], LastSeq: h.lastSeq, BatchDigest: h.digest[:]}
}

// place says where a batch stands against its emitter's head.
type place uint8

const (
	follows place = iota + 1 // it continues the numbering
	isHead                   // it is the last batch itself
	isLate                   // it is at or before the head, but is not the head
)

// place holds a batch against the head. A batch that leaves numbers out, or that continues something else
// than the head, is refused: its emitter can only open a new epoch that names the head.
func (h head) place(st *eventv1.BatchStatement, digest [32]byte) (place, *refusal) {
	switch {
	case h.epochNo > 0 && digest == h.digest:
		return isHead, nil
	case h.epochNo == 0:
		return follows, h.begins(st)
	case st.GetEpochNo() < h.epochNo:
		return isLate, nil
	case st.GetEpochNo() > h.epochNo:
		return follows, h.succeeds(st)
	case newHead(st, digest).lastSeq <= h.lastSeq:
		return isLate, nil
	}
	return follows, h.continues(st)
}

// begins checks the first batch of an emitter.
func (h head) begins(st *eventv1.BatchStatement) *refusal {
	switch {
	case st.GetEpochNo() != 1:
		return h.gap("statement.epoch_no", "%d, but nothing of this emitter was received: the first epoch is 1", st.GetEpochNo())
	case st.GetPreviousEpoch() != nil:
		return h.gap("statement.previous_epoch", "given, but nothing of this emitter was received")
	}
	return h.first(st)
}

// succeeds checks the first batch of a new epoch.
func (h head) succeeds(st *eventv1.BatchStatement) *refusal {
	previous := st.GetPreviousEpoch()
	switch {
	case st.GetEpochNo() != h.epochNo+1:
		return h.gap("statement.epoch_no", "%d does not follow %d", st.GetEpochNo(), h.epochNo)
	case previous.GetLastSeq() != h.lastSeq || !bytes.Equal(previous.GetLastDigest(), h.digest[:]):
		return h.gap("statement.previous_epoch", "does not name the last batch received")
	}
	return h.first(st)
}

func (h head) first(st *eventv1.BatchStatement) *refusal {
	switch {
	case st.GetFirstSeq() != 1:
		return h.gap("statement.first_seq", "%d, but an epoch begins with 1", st.GetFirstSeq())
	case len(st.GetPrevBatch()) > 0:
		return h.gap("statement.prev_batch", "given in the first batch of an epoch")
	}
	return nil
}

// continues checks a further batch of the head's epoch.
func (h head) continues(st *eventv1.BatchStatement) *refusal {
	switch {
	case !bytes.Equal(st.GetEpoch(), h.epoch[:]):
		return h.gap("statement.epoch", "another epoch has this number")
	case st.GetFirstSeq() != h.lastSeq+1:
		return h.gap("statement.first_seq", "%d does not follow %d", st.GetFirstSeq(), h.lastSeq)
	case !bytes.Equal(st.GetPrevBatch(), h.digest[:]):
		return h.gap("statement.prev_batch", "is not the last batch received")
	}
	return nil
}

func (h head) gap(field, format string, args ...any) *refusal {
	r := refuse(gap, field, format, args...)
	r.head = h.proto()
	return r
}
