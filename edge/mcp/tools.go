package mcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// What a tool is against what it was when it was first seen. Rules see these words as the labels of findings.
const (
	asSeen    = ""
	changed   = "changed"   // its definition is another one
	added     = "added"     // it was not there
	removed   = "removed"   // it is not there any more
	colliding = "colliding" // two tools have its name
	accepted  = "accepted"  // a person has taken the change for good
)

// Detector names the findings about tools, and DetectorVersion its rules.
const (
	Detector        = "mcp-tools"
	DetectorVersion = "1"
)

// pinPolicy names in the record what refuses tools that are not as they were first seen.
const pinPolicy = "custody-mcp-pin/1"

// digest is SHA-256 of a tool's canonical JSON, in hexadecimal.
type digest string

// twoTools stands for tools of one name: it is the digest of neither.
const twoTools digest = "colliding"

// tool is one tool of a list.
type tool struct {
	name   string
	digest digest
	text   []byte // canonical JSON
}

// tools are those of the server: as they were first seen, and as they are now.
type tools struct {
	gateway *gateway

	listing sync.Mutex // held while the gateway itself lists

	mu       sync.Mutex
	pinned   map[string]digest // nil before they are first seen
	before   map[string]digest // what was pinned and is to be replaced
	now      map[string]digest // nil before they are listed, or when the server says that they have changed
	building []tool            // the pages so far of what the client lists
	last     digest            // of the list that was recorded last
	said     map[string]bool   // findings of this session
}

// pinFile is what is kept.
type pinFile struct {
	Tools map[string]digest `json:"tools"`
}

// open reads the tools as they were first seen.
func (t *tools) open() error {
	t.said = map[string]bool{}
	raw, err := os.ReadFile(t.gateway.Pins)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept pinFile
	if err == nil {
		err = json.Unmarshal(raw, &kept)
	}
	if err == nil && kept.Tools == nil {
		err = errors.New("no tools in it")
	}
	if err != nil {
		return fmt.Errorf("tools as first seen: %s: %w", t.gateway.Pins, err)
	}
	if t.pinned = kept.Tools; t.gateway.Repin {
		t.pinned, t.before = nil, kept.Tools
	}
	return nil
}

// save keeps the tools as they were first seen, in one step.
func (t *tools) save() error {
	path := t.gateway.Pins
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // gone if all went well
	_, err = temp.Write(append(encode(pinFile{t.pinned}), '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// doubt notes that the tools are others now.
func (t *tools) doubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = nil
}

// page takes one page of what the client lists, and returns it as the client may see it.
func (t *tools) page(first bool, raw json.RawMessage) (json.RawMessage, error) {
	list, next, err := readPage(raw)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if first {
		t.building = nil
	}
	if len(t.building)+len(list) > maxTools {
		return nil, fmt.Errorf("more than %d tools", maxTools)
	}
	t.building = append(t.building, list...)
	if next == "" {
		if err := t.complete(t.building); err != nil {
			return nil, err
		}
		t.building = nil
	}
	return t.show(raw, list)
}

// show leaves out of a page what the agent must not see. The mutex is held.
func (t *tools) show(raw json.RawMessage, list []tool) (json.RawMessage, error) {
	if !t.gateway.Pin || t.pinned == nil {
		return raw, nil
	}
	kept := []json.RawMessage{}
	for _, x := range list {
		if t.compare(x.name, x.digest) == asSeen {
			kept = append(kept, x.text)
		}
	}
	if len(kept) == len(list) {
		return raw, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	members["tools"] = encode(kept)
	return encode(members), nil
}

// complete takes a whole list: it is pinned if it is the first one, and recorded if it is news. The mutex is held.
func (t *tools) complete(list []tool) error {
	slices.SortStableFunc(list, func(a, b tool) int { return strings.Compare(a.name, b.name) })
	t.now = map[string]digest{}
	for _, x := range list {
		if d, twice := t.now[x.name]; twice && d != x.digest {
			x.digest = twoTools
		}
		t.now[x.name] = x.digest
	}
	if t.pinned == nil {
		t.pinned = maps.Clone(t.now)
		if err := t.save(); err != nil {
			return fmt.Errorf("keep the tools as first seen: %w", err)
		}
	}
	return t.record(list)
}

// differences are the labels of the tools that are not as they were, by name. The mutex is held.
func (t *tools) differences() map[string]string {
	found := map[string]string{}
	for name, d := range t.now {
		if label := t.compare(name, d); label != asSeen {
			found[name] = label
		}
		if old, was := t.before[name]; t.before != nil && (!was || old != d) && d != twoTools {
			found[name] = accepted
		}
	}
	for name := range t.pinned {
		if _, is := t.now[name]; !is {
			found[name] = removed
		}
	}
	return found
}

// compare is what a tool is against what it was. The mutex is held.
func (t *tools) compare(name string, d digest) string {
	was, known := t.pinned[name]
	switch {
	case d == twoTools || was == twoTools || t.now[name] == twoTools:
		return colliding
	case !known:
		return added
	case was != d:
		return changed
	}
	return asSeen
}

// record records a list that is another than the last one, and what is found in it. The mutex is held.
func (t *tools) record(list []tool) error {
	texts := make([]json.RawMessage, len(list))
	for i, x := range list {
		texts[i] = x.text
	}
	content := encode(texts)
	sum := sha256.Sum256(content)
	if d := digest(hex.EncodeToString(sum[:])); d == t.last {
		return nil
	} else {
		t.last = d
	}
	found := t.differences()
	ev := dataEvent(&eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_RESOURCE_READ, Source: t.gateway.Connector, Resource: listTools,
		ContentDigest: sum[:], Bytes: uint64(len(content)), Direction: eventv1.Direction_DIRECTION_IN,
	})
	ev.Plain.Trust = trustOf(found)
	ev.Sealed = []edge.Content{edge.Cut(edge.Content{Path: "tools", MediaType: jsonType, Value: content})}
	ctx := context.WithoutCancel(t.gateway.session)
	id, err := t.gateway.Emitter.Record(ctx, ev)
	if err != nil {
		return err
	}
	return t.report(ctx, id, found)
}

// trustOf a list: as it was first seen it is the operator's own configuration; anything else anybody could have written.
func trustOf(found map[string]string) edge.Trust {
	for _, label := range found {
		if label != accepted && label != removed {
			return edge.Untrusted
		}
	}
	return edge.Trusted
}

// report records what was found, each once a session. The mutex is held.
func (t *tools) report(ctx context.Context, list event.ID, found map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(found)) {
		key := found[name] + "\x00" + name + "\x00" + string(t.now[name])
		if t.said[key] {
			continue
		}
		t.said[key] = true
		t.gateway.Log.WarnContext(ctx, "a tool of the server is not as it was first seen",
			slog.String("tool", event.Escape(name)), slog.String("is", found[name]))
		ev := dataEvent(&eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_CONTENT_FINDING, Source: t.gateway.Connector, Resource: event.Cut(name, event.MaxText),
			Detector: Detector, DetectorVersion: DetectorVersion, Label: found[name],
		})
		ev.Plain.Causes = append(ev.Plain.Causes, &eventv1.Cause{
			Id: list[:], Relation: eventv1.Relation_RELATION_RETRIEVED, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED,
		})
		if _, err := t.gateway.Emitter.Record(ctx, ev); err != nil {
			return err
		}
	}
	return nil
}

// dataEvent is about the server, and caused by nothing that the agent has read.
func dataEvent(x *eventv1.Data) *edge.Event {
	return &edge.Event{Plain: &eventv1.Event{Causes: []*eventv1.Cause{}, Body: &eventv1.Event_Data{Data: x}}}
}

// gate refuses tools that are not as they were first seen. It is asked after Custody's own gate.
func (t *tools) gate(_ context.Context, p *edge.Proposal) (edge.Ruling, error) {
	if p.Options.Operation != "" { // it is no call of a tool
		return edge.Ruling{Decision: edge.Allow, Policy: pinPolicy}, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d, listed := t.now[p.Tool]
	reason := "the server does not list this tool"
	if listed {
		reason = t.compare(p.Tool, d)
	}
	if reason == asSeen {
		return edge.Ruling{Decision: edge.Allow, Policy: pinPolicy}, nil
	}
	return edge.Ruling{Decision: edge.Deny, Policy: pinPolicy, Reason: "not as it was first seen: " + reason}, nil
}

// ensure lists the tools if nobody has, or if they may have changed since. A list that fails leaves them unknown.
func (t *tools) ensure(ctx context.Context, meta map[string]json.RawMessage) {
	t.listing.Lock()
	defer t.listing.Unlock()
	t.mu.Lock()
	known := t.now != nil
	t.mu.Unlock()
	if known {
		return
	}
	list, err := t.list(ctx, meta)
	if err == nil {
		t.mu.Lock()
		err = t.complete(list)
		t.mu.Unlock()
	}
	if err != nil {
		t.gateway.Log.WarnContext(ctx, "the tools of the server cannot be listed", slog.Any("error", err))
	}
}

// list asks the server for all pages.
func (t *tools) list(ctx context.Context, meta map[string]json.RawMessage) (all []tool, err error) {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	cursor := ""
	for range maxPages {
		raw, err := t.gateway.inquire(ctx, listTools, listParams(meta, cursor))
		if err != nil {
			return nil, err
		}
		page, next, err := readPage(raw)
		if all = append(all, page...); err != nil || next == "" {
			return all, err
		}
		if cursor = next; len(all) > maxTools {
			break
		}
	}
	return nil, fmt.Errorf("more than %d tools or %d pages", maxTools, maxPages)
}

// listParams take what newer protocols want beside every request from the call that waits.
func listParams(meta map[string]json.RawMessage, cursor string) json.RawMessage {
	members := map[string]any{}
	if cursor != "" {
		members["cursor"] = cursor
	}
	if meta = maps.Clone(meta); len(meta) > 0 {
		delete(meta, "progressToken")
		members["_meta"] = meta
	}
	return encode(members)
}

// inquire asks the server something for the gateway itself.
func (g *gateway) inquire(ctx context.Context, method string, params json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &request{method: method, answer: make(chan *message, 1), cancel: cancel}
	id, err := g.ask(r)
	if err != nil {
		return nil, err
	}
	defer g.answered(id)
	if err := g.toServer(id, method, params); err != nil {
		return nil, err
	}
	select {
	case m := <-r.answer:
		if m.err != nil {
			return nil, fmt.Errorf("%s: %s", method, event.Escape(text(m.err, "message")))
		}
		return m.result, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}

// readPage reads one page of a list of tools.
func readPage(raw json.RawMessage) (list []tool, next string, err error) {
	var page struct {
		Tools      []json.RawMessage `json:"tools"`
		NextCursor string            `json:"nextCursor"`
	}
	if err := json.Unmarshal(raw, &page); err != nil {
		return nil, "", fmt.Errorf("list of tools: %w", err)
	}
	for _, each := range page.Tools {
		x := tool{text: canonical(each)}
		if err := json.Unmarshal(each, &struct {
			Name *string `json:"name"`
		}{&x.name}); err != nil || x.name == "" {
			return nil, "", errors.New("list of tools: one has no name")
		}
		sum := sha256.Sum256(x.text)
		x.digest = digest(hex.EncodeToString(sum[:]))
		list = append(list, x)
	}
	return list, page.NextCursor, nil
}

// canonical is one way to write a JSON value: keys in the order of their bytes, no white space, text with no more escapes than
// it needs, numbers as they were written.
func canonical(raw json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return raw // it is part of a message that was parsed before
	}
	return encode(v)
}
