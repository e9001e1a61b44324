package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// errState says that a stored entry of the fold's state is not one that the fold wrote.
var errState = errors.New("malformed entry of the fold's state")

// emitter is the head of one key: where its numbering stands.
type emitter struct {
	epochNo uint64 // from 1
	epoch   [16]byte
	last    uint64 // sequence of the last event
	digest  Digest // of the last batch
	closed  bool   // the last event closed the epoch
	gaps    uint64 // how often numbers were left out
}

// place is where a batch stands against its emitter's head.
type place uint8

const (
	follows   place = iota + 1 // continues the head
	leavesGap                  // after the head, with numbers left out
	isHead                     // the head itself, once more
	before                     // at or before the head: look it up
	conflicts                  // cannot be, unless the emitter signed two histories
)

// place holds a batch against the head; a nil emitter has none yet.
func (e *emitter) place(b *batch) place {
	s := b.statement
	switch {
	case e == nil && s.GetEpochNo() == 1 && b.first() == 1:
		return follows
	case e == nil:
		return leavesGap
	case s.GetEpochNo() < e.epochNo:
		return before
	case s.GetEpochNo() > e.epochNo:
		return e.placeEpoch(b)
	case b.digest == e.digest:
		return isHead
	case !bytes.Equal(s.GetEpoch(), e.epoch[:]):
		return conflicts
	case b.first() <= e.last:
		return before
	case b.first() > e.last+1:
		return leavesGap
	case !bytes.Equal(s.GetPrevBatch(), e.digest[:]):
		return conflicts
	}
	return follows
}

// placeEpoch is for a batch of a later epoch.
func (e *emitter) placeEpoch(b *batch) place {
	end := b.statement.GetPreviousEpoch()
	names := end.GetLastSeq() == e.last && bytes.Equal(end.GetLastDigest(), e.digest[:])
	if b.statement.GetEpochNo() == e.epochNo+1 && b.first() == 1 && names {
		return follows
	}
	return leavesGap
}

// after is the head after a batch that follows or leaves a gap.
func (e *emitter) after(b *batch, p place) *emitter {
	next := &emitter{
		epochNo: b.statement.GetEpochNo(), epoch: [16]byte(b.statement.GetEpoch()),
		last: b.last(), digest: b.digest, closed: b.closesEpoch(),
	}
	if e != nil {
		next.gaps = e.gaps
	}
	if p == leavesGap {
		next.gaps++
	}
	return next
}

func (b *batch) closesEpoch() bool {
	last := b.events[len(b.events)-1]
	return last.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED
}

// An emitter's entry: version, epoch number, epoch, last sequence, digest of the last batch, closed, gaps;
// integers big endian.
const (
	emitterVersion = 1
	emitterSize    = 1 + 8 + 16 + 8 + 32 + 1 + 8
)

func (e *emitter) marshal() []byte {
	b := make([]byte, 0, emitterSize)
	b = binary.BigEndian.AppendUint64(append(b, emitterVersion), e.epochNo)
	b = binary.BigEndian.AppendUint64(append(b, e.epoch[:]...), e.last)
	b = append(b, e.digest[:]...)
	closed := byte(0)
	if e.closed {
		closed = 1
	}
	return binary.BigEndian.AppendUint64(append(b, closed), e.gaps)
}

func parseEmitter(b []byte) (*emitter, error) {
	if len(b) != emitterSize || b[0] != emitterVersion || b[65] > 1 {
		return nil, fmt.Errorf("emitter of %d bytes: %w", len(b), errState)
	}
	return &emitter{
		epochNo: binary.BigEndian.Uint64(b[1:9]), epoch: [16]byte(b[9:25]), last: binary.BigEndian.Uint64(b[25:33]),
		digest: Digest(b[33:65]), closed: b[65] == 1, gaps: binary.BigEndian.Uint64(b[66:74]),
	}, nil
}
