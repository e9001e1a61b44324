package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// rowPrinter prints pages of events in the chosen format.
type rowPrinter struct {
	a     *app
	rows  []json.RawMessage // all rows, for one JSON document at the end
	count int
	last  uint64
	more  bool
}

func (a *app) rowPrinter() *rowPrinter { return &rowPrinter{a: a} }

func (p *rowPrinter) page(m *apiv1.SearchResponse) error {
	p.more = m.GetMore()
	for _, r := range m.GetRows() {
		p.count++
		p.last = r.GetIndex()
		if err := p.row(r); err != nil {
			return err
		}
	}
	return nil
}

func (p *rowPrinter) row(r *apiv1.EventRow) error {
	if p.a.format == formatTable {
		fmt.Fprintf(p.a.out, "%7d  %s  %s\n", r.GetIndex(), stamp(r.GetReceivedAt()), describe(r))
		printOpened(p.a, r, "           ")
		return nil
	}
	raw, err := rowJSON(r)
	if err != nil {
		return err
	}
	if p.a.format == formatJSONL {
		return p.a.printJSON(raw)
	}
	p.rows = append(p.rows, raw)
	return nil
}

func (p *rowPrinter) end() error {
	if p.a.format == formatJSON {
		return p.a.printJSON(map[string]any{"rows": slices.Concat([]json.RawMessage{}, p.rows), "more": p.more})
	}
	if p.a.format == formatTable && p.more {
		fmt.Fprintf(p.a.out, "… more: add --after %d\n", p.last)
	}
	if p.a.format == formatTable && p.count == 0 {
		fmt.Fprintln(p.a.out, "no committed event matches")
	}
	return nil
}

// rowJSON is one row with its event decoded, for programs.
func rowJSON(r *apiv1.EventRow) (json.RawMessage, error) {
	out := map[string]any{
		"index": r.GetIndex(), "received_at": stamp(r.GetReceivedAt()), "verdict": r.GetVerdict(),
		"producer": event.Producers.Name(r.GetProducer()), "leaf_hash": hex.EncodeToString(r.GetLeafHash()),
		"key_id": hex.EncodeToString(r.GetKeyId()), "seq": r.GetSeq(), "suspect": r.GetSuspect(),
		"bytes": base64.StdEncoding.EncodeToString(r.GetEvent()),
	}
	if ev := parsed(r); ev != nil {
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(ev)
		if err != nil {
			return nil, fmt.Errorf("encode event %d: %w", r.GetIndex(), err)
		}
		out["id"], out["action"], out["event"] = idOf(ev).String(), event.Action(ev), json.RawMessage(raw)
	}
	if len(r.GetOpened()) > 0 {
		out["opened"] = openedJSON(r.GetOpened())
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode row %d: %w", r.GetIndex(), err)
	}
	return raw, nil
}

func openedJSON(fields []*apiv1.OpenedField) []map[string]string {
	var out []map[string]string
	for _, f := range fields {
		m := map[string]string{"path": f.GetPath(), "state": f.GetState(), "media_type": f.GetMediaType()}
		if utf8.Valid(f.GetValue()) {
			m["text"] = string(f.GetValue())
		} else {
			m["base64"] = base64.StdEncoding.EncodeToString(f.GetValue())
		}
		out = append(out, m)
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

// describe is one event on one line, escaped: who, what, with which outcome and trust.
func describe(r *apiv1.EventRow) string {
	ev := parsed(r)
	if ev == nil {
		return fmt.Sprintf("%-28s %s", "("+r.GetVerdict()+")", "content not available")
	}
	parts := []string{fmt.Sprintf("%-28s", event.Action(ev)), ev.GetInstance(), dash(ev.GetRun())}
	parts = append(parts, subject(ev)...)
	return strings.Join(append(parts, marks(r, ev)...), "  ")
}

// subject says what the event is about.
func subject(ev *eventv1.Event) []string {
	switch {
	case ev.GetExecution() != nil:
		return executionWords(ev.GetExecution())
	case ev.GetData() != nil:
		d := ev.GetData()
		return words(d.GetSource(), d.GetResource(), d.GetDomain(), d.GetMemoryKey(), d.GetLabel())
	case ev.GetApproval() != nil:
		ap := ev.GetApproval()
		return words(ap.GetTool(), by(ap.GetApprover()), ap.GetReason())
	case ev.GetIdentity() != nil:
		i := ev.GetIdentity()
		return words(i.GetWorkflow(), i.GetModel(), i.GetRole(), i.GetDelegate(), event.Outcomes.Name(i.GetOutcome()))
	}
	s := ev.GetSystem()
	return words(by(s.GetActor()), s.GetAccess().GetMethod(), s.GetInstance().GetInstance(), s.GetManifest().GetInstance(), s.GetKey().GetInstance(),
		s.GetGrant().GetPrincipal(), s.GetRefusal().GetReason(), s.GetReason())
}

func executionWords(x *eventv1.Execution) []string {
	tool := fmt.Sprintf("%q", plain(x.GetTool(), 60))
	if !strings.ContainsAny(x.GetTool(), " \t") && x.GetTool() != "" {
		tool = plain(x.GetTool(), 60)
	}
	out := append([]string{tool}, words(x.GetOperation(), to(x.GetDestination()))...)
	out = append(out, words(event.Consequences.Name(x.GetConsequence()), event.Decisions.Name(x.GetDecision()), event.Outcomes.Name(x.GetOutcome()), x.GetPolicy(), x.GetReason())...)
	return out
}

// words keeps what is not empty, escaped and cut.
func words(all ...string) []string {
	var out []string
	for _, s := range all {
		if s != "" {
			out = append(out, plain(s, 80))
		}
	}
	return out
}

func by(s string) string {
	if s == "" {
		return ""
	}
	return "by " + s
}

func to(s string) string {
	if s == "" {
		return ""
	}
	return "to " + s
}

// marks are what must catch the eye: trust, verdict, producer, doubt.
func marks(r *apiv1.EventRow, ev *eventv1.Event) []string {
	var out []string
	if t := event.Trusts.Name(ev.GetTrust()); t != "" {
		out = append(out, "["+t+"]")
	}
	if r.GetVerdict() != "accepted" {
		out = append(out, "["+strings.ToUpper(r.GetVerdict())+"]")
	}
	if p := r.GetProducer(); p != eventv1.ProducerClass_PRODUCER_CLASS_AGENT && p != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
		out = append(out, "["+event.Producers.Name(p)+"]")
	}
	if r.GetSuspect() {
		out = append(out, "[KEY IN DOUBT]")
	}
	return out
}

// openedWidth is how much of a disclosed value a screen line shows, in runes.
const openedWidth = 400

// printOpened shows disclosed content under its event.
func printOpened(a *app, r *apiv1.EventRow, indent string) {
	for _, f := range r.GetOpened() {
		text := f.GetState()
		if f.GetState() == "disclosed" {
			text = plain(strings.ToValidUTF8(string(f.GetValue()), "�"), openedWidth)
		}
		fmt.Fprintf(a.out, "%s%s: %s\n", indent, plain(f.GetPath(), 60), text)
	}
}
