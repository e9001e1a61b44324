package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// rowPrinter prints pages of events in the chosen format.
type rowPrinter struct {
	a       *app
	follows bool
	limit   int // of a search that follows; 0 is none

	rows  []any // all rows, for one JSON document at the end
	count int
	last  uint64
	more  bool
	size  uint64 // of the log at the first answer
}

// errEnough ends a search that follows at its limit.
var errEnough = errors.New("limit reached")

func (p *rowPrinter) page(m *apiv1.SearchResponse) error {
	p.more = m.GetMore()
	if p.size == 0 {
		p.size = m.GetSize()
	}
	for _, r := range m.GetRows() {
		p.count++
		p.last = r.GetIndex()
		if err := p.row(r); err != nil {
			return err
		}
		if p.follows && p.count == p.limit {
			return errEnough
		}
	}
	return p.a.out.failed
}

func (p *rowPrinter) row(r *apiv1.EventRow) error {
	switch p.a.format {
	case formatTable:
		fmt.Fprintf(p.a.out, "%7s  %s  %s\n", at(r), stamp(r.GetReceivedAt()), describe(r, whole))
		printOpened(p.a.out, r, "           ")
	case formatJSONL:
		return p.a.printJSON(rowJSON(r))
	case formatJSON:
		p.rows = append(p.rows, rowJSON(r))
	}
	return nil
}

// end prints what comes after the last row.
func (p *rowPrinter) end() error {
	switch {
	case p.a.format == formatJSON:
		return p.a.printJSON(object{{"rows", append([]any{}, p.rows...)}, {"more", p.more}})
	case p.a.format == formatTable && p.more:
		p.a.note("there are more: add --after %d, or --all", p.last)
	case p.a.format == formatTable && p.count == 0 && !p.follows:
		p.a.note("no committed event matches")
	}
	return nil
}

// ended is how a search ends that did not come to its end: one that follows has no other way.
func (p *rowPrinter) ended(ctx context.Context, err error) error {
	if p.follows && (errors.Is(err, errEnough) || ctx.Err() != nil) {
		return nil
	}
	return err
}

// at names a row for trace and why.
func at(r *apiv1.EventRow) string { return fmt.Sprintf("@%d", r.GetIndex()) }

// rowJSON is one row with its event decoded, for programs. "event" is absent where it is held, expired, or not an event.
func rowJSON(r *apiv1.EventRow) object {
	out := object{{"index", r.GetIndex()}, {"received_at", timeJSON(r.GetReceivedAt())}, {"verdict", r.GetVerdict()}}
	ev := parsed(r)
	if ev != nil {
		out = append(out, member{"id", idOf(ev).String()}, member{"action", event.Action(ev)})
	}
	out = append(out, member{"producer", event.Producers.Name(r.GetProducer())}, member{"suspect", r.GetSuspect()},
		member{"key_id", fmt.Sprintf("%x", r.GetKeyId())}, member{"seq", r.GetSeq()}, member{"leaf_hash", fmt.Sprintf("%x", r.GetLeafHash())})
	if ev != nil {
		out = append(out, member{"event", messageJSON(ev.ProtoReflect())})
	}
	if len(r.GetOpened()) > 0 {
		out = append(out, member{"opened", openedJSON(r.GetOpened())})
	}
	return append(out, member{"bytes", base64.StdEncoding.EncodeToString(r.GetEvent())})
}

func rowsJSON(rows []*apiv1.EventRow) []any {
	out := make([]any, len(rows))
	for i, r := range rows {
		out[i] = rowJSON(r)
	}
	return out
}

// openedJSON has the content as text, or as base64 if it is not text.
func openedJSON(fields []*apiv1.OpenedField) []json.Marshaler {
	out := make([]json.Marshaler, len(fields))
	for i, f := range fields {
		o := object{{"path", f.GetPath()}, {"state", f.GetState()}, {"media_type", f.GetMediaType()}, {"size", f.GetSize()}}
		switch {
		case f.GetState() != disclosed:
		case utf8.Valid(f.GetValue()):
			o = append(o, member{"text", string(f.GetValue())})
		default:
			o = append(o, member{"base64", base64.StdEncoding.EncodeToString(f.GetValue())})
		}
		out[i] = o
	}
	return out
}

// parsed is the row's event, nil where it is held, expired or not an event.
func parsed(r *apiv1.EventRow) *eventv1.Event {
	if len(r.GetEvent()) == 0 {
		return nil
	}
	ev, err := event.Parse(r.GetEvent())
	if err != nil {
		return nil
	}
	return ev
}

func idOf(ev *eventv1.Event) event.ID { return event.ID(ev.GetId()) }
