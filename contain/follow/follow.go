// Package follow reads Custody's own events from the stream, for whoever folds them or tells people of them.
//
// Every message on a system subject comes once, in the order of the stream, also those that hold nothing of interest: so a
// reader knows how far it has got. Events are handed out only from batches that carry the system key's signature. What is
// not such a batch has no events here; the ledger's fold judges it.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// Source is what is followed. stream.Stream is one.
type Source interface {
	// Read returns a reader of the subjects that match filter, from a sequence on.
	Read(from uint64, filter string) *stream.Reader
}

// Message is one message of the stream.
type Message struct {
	Tenant event.TenantID
	Seq    uint64           // of the stream
	Time   int64            // ns since the Unix epoch, by the stream
	Events []*eventv1.Event // of interest, in order; none of a batch that is not the system key's
}

// Reader follows the stream. It is for one goroutine.
type Reader struct {
	system signer.PublicKey
	wants  func(*eventv1.System) bool
	reader *stream.Reader
}

// New begins at a stream sequence. wants chooses the events; a batch without any is not checked any further.
func New(source Source, system signer.PublicKey, from uint64, wants func(*eventv1.System) bool) *Reader {
	return &Reader{system: system, wants: wants, reader: source.Read(from, stream.SystemFilter)}
}

// Fold gives take every message until ctx ends, and closes the reader. An error that is not the end of ctx makes every later wait on
// the progress fail, since what is folded gets old, and goes to the log as the end of what is named.
func (r *Reader) Fold(ctx context.Context, progress *stream.Progress, log *slog.Logger, what string, take func(Message)) {
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			progress.Fail(err)
			if ctx.Err() == nil {
				log.ErrorContext(ctx, "the stream is not followed any more", slog.String("by", what), slog.Any("error", err))
			}
			return
		}
		take(m)
	}
}

// Close ends the reader.
func (r *Reader) Close() { r.reader.Close() }

// Next waits for the next message.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	m, err := r.reader.Next(ctx)
	if err != nil {
		return Message{}, fmt.Errorf("follow system messages: %w", err)
	}
	out := Message{Seq: m.Seq, Time: m.Time}
	subject, err := stream.ParseSubject(m.Subject)
	if err != nil {
		return out, nil //nolint:nilerr // not a batch: it has no events
	}
	out.Tenant = event.TenantID(subject.Tenant)
	if events, err := r.read(out.Tenant, m.Data); err == nil {
		out.Events = events
	}
	return out, nil
}

var errForeign = errors.New("batch of another tenant")

// read are the events of interest of a batch.
func (r *Reader) read(tenant event.TenantID, data []byte) (events []*eventv1.Event, err error) {
	b, err := event.ParseStreamBatch(data)
	if err != nil {
		return nil, err
	}
	st, err := event.ParseStatement(b.GetStatement())
	if err != nil {
		return nil, err
	}
	if st.GetTenant() != string(tenant) {
		return nil, errForeign
	}
	for _, encoded := range b.GetEvents() {
		x, wrong := event.ParseMember(st, encoded)
		if wrong != nil {
			return nil, wrong
		}
		if s := x.GetSystem(); s != nil && r.wants(s) {
			events = append(events, x)
		}
	}
	if len(events) == 0 {
		return nil, nil
	}
	return events, signer.VerifyDSSE(r.system, signer.PayloadTypeBatch, b.GetStatement(), b.GetSignature())
}
