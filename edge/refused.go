package edge

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// refusedNote stands beside a batch that was set aside.
type refusedNote struct {
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"`
	Field    string    `json:"field,omitempty"`
	Message  string    `json:"message"`
	FirstSeq uint64    `json:"first_seq"` // of the batch
	SetAside []uint64  `json:"set_aside"` // sequence numbers that will not be sent again
}

// reasonName is the reason as people read it: "too_large".
func reasonName(r apiv1.RefusalReason) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "REFUSAL_REASON_"))
}

// setAside keeps a refused batch in the folder refused: the batch as it was sent, openings in the clear, and the reason.
// It may be repeated. It returns which numbers are given up: the one event that is at fault, if the server named it.
func (e *Emitter) setAside(out *outgoing, r *apiv1.Refused) (*RefusedError, []spool.Seq, error) {
	dir := filepath.Join(e.config.Dir, refusedDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("set batch aside: %w", err)
	}
	seqs := out.atFault(r.GetField())
	name := filepath.Join(dir, hex.EncodeToString(out.statement.Digest[:]))
	batch, err := proto.Marshal(out.message())
	if err != nil {
		return nil, nil, fmt.Errorf("set batch aside: %w", err)
	}
	if err := writeFile(name+".batch", batch); err != nil {
		return nil, nil, fmt.Errorf("set batch aside: %w", err)
	}
	if err := out.moveObjects(seqs, name); err != nil {
		return nil, nil, fmt.Errorf("set batch aside: %w", err)
	}
	note := refusedNote{
		At: time.Now().UTC(), Reason: reasonName(r.GetReason()), Field: r.GetField(), Message: r.GetMessage(),
		FirstSeq: uint64(out.statement.First),
	}
	for _, seq := range seqs {
		note.SetAside = append(note.SetAside, uint64(seq))
	}
	if err := writeJSON(name+".json", note); err != nil {
		return nil, nil, fmt.Errorf("set batch aside: %w", err)
	}
	return &RefusedError{r.GetReason(), r.GetField(), r.GetMessage(), name + ".json", len(seqs)}, seqs, nil
}

// moveObjects puts the objects of events that are given up beside their batch, named by its digest and the number of the event.
func (o *outgoing) moveObjects(seqs []spool.Seq, name string) (err error) {
	for _, p := range o.places() {
		if seq := o.statement.First + spool.Seq(p.entry); slices.Contains(seqs, seq) {
			err = errors.Join(err, o.queue.DropObject(o.opening(p), fmt.Sprintf("%s.%d.%d.object", name, seq, p.opening)))
		}
	}
	return err
}

// withheldPath is where the value of a sealed field is kept that is given up alone.
func (e *Emitter) withheldPath(o *spool.Opening) string {
	dir := filepath.Join(e.config.Dir, refusedDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		e.report(fmt.Errorf("set object aside: %w", err))
	}
	return filepath.Join(dir, hex.EncodeToString(o.Salt[:])+".object")
}

// testify puts it on the record that the server gave receipts for batches that it does not hold, before a new epoch names
// the server's head: what is missing must not look as if it had never been.
func (e *Emitter) testify(own spool.Prior) {
	now, cancel := context.WithCancel(context.Background())
	cancel() // delivery must not wait for room in the spool
	_, err := e.Record(now, &Event{
		Plain: &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_CONTENT_FINDING, Source: "custody edge", Detector: "receipts",
			DetectorVersion: "1", Score: event.MaxScore, Label: "batches with a receipt are missing",
		}}},
		Sealed: []Content{{Path: contentPath, Value: fmt.Appendf(nil, "epoch %d is acknowledged up to %d, batch %x", own.Number, own.End.Seq, own.End.Digest)}},
	})
	if err != nil {
		e.report(fmt.Errorf("record that receipts have no batch: %w", err))
	}
}

// atFault returns the numbers of the event that the field names, or of the whole batch.
func (o *outgoing) atFault(field string) []spool.Seq {
	if i, ok := o.eventIndex(field); ok {
		return []spool.Seq{o.statement.First + spool.Seq(i)}
	}
	seqs := make([]spool.Seq, o.statement.Count)
	for i := range seqs {
		seqs[i] = o.statement.First + spool.Seq(i)
	}
	return seqs
}

// eventIndex reads "events[3]…" and "openings[7]…".
func (o *outgoing) eventIndex(field string) (int, bool) {
	list, rest, _ := strings.Cut(field, "[")
	number, _, closed := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	switch {
	case err != nil || !closed || i < 0:
		return 0, false
	case list == "events" && i < o.statement.Count:
		return i, true
	case list == "openings" && i < len(o.openings):
		return int(o.openings[i].Position), true
	}
	return 0, false
}
