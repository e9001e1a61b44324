package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// chooser says whether an accepted system event at a place of the log is shown.
type chooser func(chain.Index, *eventv1.Event) bool

// decides reports whether a system event changes how others are judged or what may be opened.
func decides(_ chain.Index, e *eventv1.Event) bool {
	switch e.GetSystem().GetDetail().(type) {
	case *eventv1.System_Genesis, *eventv1.System_Instance, *eventv1.System_Manifest, *eventv1.System_Key, *eventv1.System_Grant,
		*eventv1.System_Rule, *eventv1.System_Hold, *eventv1.System_Erasure, *eventv1.System_ExportKey:
		return true
	}
	return false
}

// mattersLater reports whether a system event after a range still says something about it: that a key was in doubt or replaced, that
// content is erased or no longer kept, or that it could not be while a hold was in force; or, of a range before everything, how the log begins.
func (x *export) mattersLater(_ chain.Index, e *eventv1.Event) bool {
	switch e.GetSystem().GetDetail().(type) {
	case *eventv1.System_Genesis, *eventv1.System_Key, *eventv1.System_Hold, *eventv1.System_Erasure, *eventv1.System_ExportKey:
		return true
	case *eventv1.System_Expiry:
		return x.count.Expired > 0
	}
	return false
}

func (x *export) keysBefore(ctx context.Context) error {
	if !x.scope.whole() {
		return nil
	}
	return x.admission(ctx, fileKeysBefore, 0, x.scope.Begin, decides)
}

// keysAfter writes the system events after the range, and all of them for a part of a tenant: only then is known which erasures the part
// rests on.
func (x *export) keysAfter(ctx context.Context) error {
	s := &x.scope
	if s.whole() {
		return x.admission(ctx, fileKeysAfter, s.End, s.Size, x.mattersLater)
	}
	return errors.Join(
		x.admission(ctx, fileKeysBefore, 0, s.Begin, x.concerns),
		x.admission(ctx, fileKeysRange, s.Begin, s.End, x.concerns),
		x.admission(ctx, fileKeysAfter, s.End, s.Size, x.concerns),
	)
}

// admission writes the system events of [begin, end) that choose picks, each with its proof.
func (x *export) admission(ctx context.Context, name string, begin, end chain.Index, choose chooser) error {
	if begin == end {
		return nil
	}
	for m, err := range x.reader.Admission(ctx, begin, end) {
		if err == nil {
			err = x.admissionMessage(ctx, name, m, begin, end, choose)
		}
		if err != nil {
			return fmt.Errorf("read system events: %w", err)
		}
	}
	return ctx.Err()
}

func (x *export) admissionMessage(ctx context.Context, name string, m *Message, begin, end chain.Index, choose chooser) error {
	r := &provenRecord{first: m.First, statement: m.Statement, signature: m.Signature}
	for i, b := range m.Leaves {
		leaf, err := chain.ParseLeaf(b)
		if err != nil {
			return err
		}
		r.hashes = append(r.hashes, leaf.Event)
		e, chosen := chooseEvent(m, i, &leaf, choose)
		if !chosen || leaf.Index < begin || leaf.Index >= end {
			continue
		}
		x.applyBefore(leaf.Index, e)
		if err := x.show(ctx, r, uint32(i), b, e); err != nil {
			return err
		}
	}
	if len(r.shown) == 0 {
		return nil
	}
	return x.write(name, r.append)
}

// chooseEvent returns the bytes of an accepted event if choose picks it.
func chooseEvent(m *Message, i int, leaf *chain.Leaf, choose chooser) (b []byte, chosen bool) {
	if leaf.Verdict != chain.Accepted || i >= len(m.Events) {
		return nil, false
	}
	e, err := event.Parse(m.Events[i].Bytes)
	return m.Events[i].Bytes, err == nil && choose(leaf.Index, e)
}

// show adds a leaf with its proof, and the event if there is one, to a record.
func (x *export) show(ctx context.Context, r *provenRecord, position uint32, leaf, event []byte) error {
	path, err := chain.ProveInclusion(ctx, x.nodes, r.first+chain.Index(position), x.scope.Size)
	if err != nil {
		return err
	}
	r.shown = append(r.shown, provenLeaf{position, leaf, path, event})
	return nil
}

// neighbourBefore shows, once for each emitter, the batch that its first one in the range continues.
func (x *export) neighbourBefore(ctx context.Context, p *part) error {
	if p.statement == nil || x.emitters[signer.KeyID(p.statement.GetKeyId())] {
		return nil
	}
	key := signer.KeyID(p.statement.GetKeyId())
	x.emitters[key] = true
	if x.scope.Begin == 0 {
		return nil
	}
	m, err := x.reader.Before(ctx, key, x.scope.Begin)
	if err != nil || m == nil {
		return err
	}
	record, n, err := x.neighbour(ctx, m)
	if err != nil {
		return fmt.Errorf("batch before the range: %w", err)
	}
	x.before = append(x.before, record)
	x.numbering.known(n)
	return nil
}

// neighbours ends every emitter with its first batch after the range, and writes the batches on both sides.
func (x *export) neighbours(ctx context.Context) error {
	var after []provenRecord
	for key, e := range x.numbering.emitters {
		record, n, err := x.neighbourAfter(ctx, key)
		if err != nil {
			return fmt.Errorf("batch after the range: %w", err)
		}
		if n != nil {
			after = append(after, record)
		}
		e.finish(n)
	}
	if err := x.writeProven(fileBefore, x.before); err != nil {
		return err
	}
	return x.writeProven(fileAfter, after)
}

func (x *export) writeProven(name string, records []provenRecord) error {
	slices.SortFunc(records, byFirst)
	for i := range records {
		if err := x.write(name, records[i].append); err != nil {
			return err
		}
	}
	return nil
}

func (x *export) neighbourAfter(ctx context.Context, key signer.KeyID) (r provenRecord, n *numbered, err error) {
	if x.scope.End == x.scope.Size {
		return r, nil, nil
	}
	m, err := x.reader.After(ctx, key, x.scope.End, x.scope.Size)
	if err != nil || m == nil {
		return r, nil, err
	}
	return x.neighbour(ctx, m)
}

// neighbour proves the first leaf of a batch outside the range.
func (x *export) neighbour(ctx context.Context, m *Message) (r provenRecord, n *numbered, err error) {
	statement, err := event.ParseStatement(m.Statement)
	if err != nil {
		return r, nil, err
	}
	if len(m.Leaves) == 0 {
		return r, nil, fmt.Errorf("no leaf: %w", ErrReader)
	}
	leaf, err := chain.ParseLeaf(m.Leaves[0])
	if err != nil {
		return r, nil, err
	}
	r = provenRecord{first: m.First, statement: m.Statement, signature: m.Signature}
	n = &numbered{statement, chain.Hash(event.BatchDigest(m.Statement)), leaf.Verdict, false, false}
	return r, n, x.show(ctx, &r, 0, m.Leaves[0], nil)
}
