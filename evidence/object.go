package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// errObject is the failure of a disclosed object, in the words of event.CheckOpening.
var errObject = errors.New("does not match the opened value")

// readObject reads a record that is longer than those that are held in memory: only a disclosed value can be. The value
// is left where it is; a worker reads it when the event is known.
func (f *feeder) readObject(j *job, n int) error {
	b, err := f.openings.peek(4 + openingHead)
	if err != nil {
		return err
	}
	o, err := parseOpeningRecord(bytes.Clone(b[4:]))
	if o.state != stateHere || !j.after(j.openings, &o) { // what cannot be read is in no state, or in another
		return f.openings.fail(errors.Join(ErrRecord, err))
	}
	o.long, o.at, o.size = true, f.openings.pos+4+openingHead, int64(n-openingHead)
	if err := f.openings.skip(4 + n); err != nil {
		return err
	}
	f.openings.count++
	j.openings = append(j.openings, o)
	return nil
}

// object holds a disclosed object against the event that commits to it. It reads the value a piece at a time.
func (w *worker) object(j *job, e *eventv1.Event, s *eventv1.Sealed, o *openingRecord) {
	if uint64(o.size) != s.GetSize() {
		j.problem(CheckOpening, o.index, fmt.Errorf("sealed[%d].size: is not that of the opened value", o.field))
		return
	}
	commitment := event.NewCommitment(event.ID(e.GetId()), s.GetPath(), s.GetMediaType(), (*[event.SaltSize]byte)(o.salt), int(o.size))
	value := io.NewSectionReader(w.file.open(fileOpenings), o.at, o.size)
	if _, err := io.Copy(commitment, value); err != nil {
		j.unread = fmt.Errorf("read %s: %w", fileOpenings, err)
		return
	}
	if !bytes.Equal(commitment.Sum(nil), s.GetDigest()) {
		j.problem(CheckOpening, o.index, fmt.Errorf("sealed[%d].digest: %w", o.field, errObject))
	}
}
