package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

var (
	errProvenOrder = errors.New("not in order, or not on this side of the range")
	errProvenShape = errors.New("not the parts that this file has")
	errForeign     = errors.New("batch of another tenant")
	errUnknownKey  = errors.New("key was never admitted")
	errRoot        = errors.New("events are not those that were signed")
	errLeafBatch   = errors.New("leaf is of another batch or place")
	errEventBytes  = errors.New("event is not the one of its leaf")
	errKind        = errors.New("event is of another kind than its leaf says")
	errTag         = errors.New("leaf is filed under another instance")
)

// proven is a batch outside the range after its proofs were checked.
type proven struct {
	record    provenRecord
	statement *eventv1.BatchStatement
	digest    chain.Hash
	leaves    []chain.Leaf     // of record.shown
	events    []*eventv1.Event // of record.shown; nil where the record has none
}

// provenFile reads a file of records whose leaves are in [begin, end). A record that is not proven is a failure of the
// check admission, and is not used.
func (v *verification) provenFile(name string, begin, end chain.Index, check func(*proven) error, use func(*proven)) error {
	r := newRecords(v.container, name, maxProvenRecord)
	next := chain.Index(0)
	for {
		b, _, err := r.next(nil)
		if b == nil {
			return v.stop(CheckFormat, err, ErrRecord)
		}
		v.examine(CheckAdmission, 1)
		p := new(proven)
		if p.record, err = parseProvenRecord(b); err != nil {
			return v.stop(CheckFormat, r.fail(err), ErrRecord)
		}
		err = p.read(v.scope, &next, begin, end)
		if err == nil {
			err = errors.Join(v.included(p), check(p))
		}
		if err != nil {
			v.failAt(CheckAdmission, p.record.first+chain.Index(p.record.shown[0].position), err)
			continue
		}
		use(p)
	}
}

// read parses the parts of a record and holds them together.
func (p *proven) read(s *Scope, next *chain.Index, begin, end chain.Index) (err error) {
	r := &p.record
	if r.first < *next {
		return errProvenOrder
	}
	*next = r.first + 1
	if p.statement, err = event.ParseStatement(r.statement); err != nil {
		return err
	}
	p.digest = event.BatchDigest(r.statement)
	if p.statement.GetTenant() != s.Tenant {
		return errForeign
	}
	if n := len(r.hashes); n > 0 {
		if root := chain.EventRoot(r.hashes); n != int(p.statement.GetCount()) || !bytes.Equal(root[:], p.statement.GetEventRoot()) {
			return errRoot
		}
	}
	for i := range r.shown {
		if err := p.readLeaf(&r.shown[i], s, begin, end); err != nil {
			return err
		}
	}
	return nil
}

func (p *proven) readLeaf(l *provenLeaf, s *Scope, begin, end chain.Index) error {
	leaf, err := chain.ParseLeaf(l.leaf)
	if err != nil {
		return err
	}
	index := p.record.first + chain.Index(l.position)
	switch {
	case index < begin || index >= end:
		return errProvenOrder
	case leaf.Index != index || leaf.Batch != p.digest || leaf.Position != l.position || leaf.Origin != chain.OriginHash(s.Origin):
		return errLeafBatch
	case l.position >= p.statement.GetCount(), len(p.record.hashes) > 0 && p.record.hashes[l.position] != leaf.Event:
		return errLeafBatch
	}
	e, err := p.readEvent(l, &leaf)
	p.leaves, p.events = append(p.leaves, leaf), append(p.events, e)
	return err
}

func (p *proven) readEvent(l *provenLeaf, leaf *chain.Leaf) (*eventv1.Event, error) {
	if len(l.event) == 0 {
		return nil, nil
	}
	if chain.EventHash(l.event) != leaf.Event {
		return nil, errEventBytes
	}
	e, err := event.ParseMember(p.statement, l.event)
	if err == nil && chain.Kind(event.Kind(e)) != leaf.Kind {
		err = errKind
	}
	return e, err
}

// included proves the leaves of a record against the checkpoint.
func (v *verification) included(p *proven) error {
	for i := range p.record.shown {
		l := &p.record.shown[i]
		if err := chain.VerifyInclusion(l.path, p.leaves[i].Index, v.head.Size, chain.LeafHash(l.leaf), v.head.Root); err != nil {
			return err
		}
	}
	return nil
}

// signedBy checks the batch's signature.
func (p *proven) signedBy(key signer.PublicKey) error {
	return signer.VerifyDSSE(key, signer.PayloadTypeBatch, p.record.statement, p.record.signature)
}

// keysBefore folds the system events before the range into the registry.
func (v *verification) keysBefore() error {
	if v.policy != nil {
		v.system = &v.policy.SystemKey
	}
	return v.provenFile(fileKeysBefore, 0, v.scope.Begin, v.checkSystem, v.applySystem)
}

// keysRange does the same within the range, where the scope is not the whole tenant. Otherwise they stand among the other records.
func (v *verification) keysRange() error {
	check := v.checkSystem
	if v.scope.whole() {
		check = func(*proven) error { return errProvenShape }
	}
	return v.provenFile(fileKeysRange, v.scope.Begin, v.scope.End, check, v.applySystem)
}

// keysAfter does the same after the range. By then the genesis must have been seen.
func (v *verification) keysAfter() error {
	if err := v.provenFile(fileKeysAfter, v.scope.End, v.scope.Size, v.checkSystem, v.applySystem); err != nil {
		return err
	}
	if v.registry.Genesis() == nil && !v.failed(CheckGenesis) {
		v.fail(CheckGenesis, errGenesis)
	}
	v.done(CheckGenesis, CheckAdmission)
	return nil
}

// checkSystem holds a record of keys/ to the system key. The genesis is judged before its own batch, because its key signs it.
func (v *verification) checkSystem(p *proven) error {
	if len(p.record.hashes) == 0 || !isSystem(p.statement) {
		return errProvenShape
	}
	if p.leaves[0].Index == 0 && p.events[0] != nil && v.registry.Genesis() == nil {
		v.anchor(p.events[0])
	}
	if v.system == nil || v.system.ID() != signer.KeyID(p.statement.GetKeyId()) {
		return errUnknownKey
	}
	for i := range p.leaves {
		if p.events[i] == nil || p.leaves[i].Verdict != chain.Accepted {
			return errProvenShape
		}
	}
	return errors.Join(p.signedBy(*v.system), v.checkTags(p))
}

func (v *verification) checkTags(p *proven) error {
	tag, known := v.tag(p.statement.GetInstance())
	for i := range p.leaves {
		if !known || p.leaves[i].Instance != tag {
			return errTag
		}
	}
	return nil
}

// tag is what the leaves of an instance carry.
func (v *verification) tag(instance string) (chain.Hash, bool) {
	i, known := v.registry.Instance(instance)
	return chain.InstanceTag(i.Salt, instance), known
}

func (v *verification) applySystem(p *proven) {
	for i, e := range p.events {
		v.apply(p.leaves[i].Index, e)
	}
}

// apply folds an accepted system event into the registry. One that does not apply changes nothing, as in the log itself; the genesis takes
// effect in anchor alone.
func (v *verification) apply(index chain.Index, e *eventv1.Event) {
	if e.GetSystem().GetGenesis() != nil || v.registry.Apply(uint64(index), e) != nil {
		return
	}
	if key := e.GetSystem().GetKey(); len(key.GetPublicKey()) > 0 {
		public := signer.PublicKey(key.GetPublicKey())
		v.publicKeys.Store(public.ID(), public)
	}
	v.expiries.take(index, e, v.registry)
	if x := e.GetSystem().GetErasure(); x != nil {
		v.tombstones[index] = tombstone{x.GetSubject(), x.GetGeneration(), v.indirectHolds()}
	}
}

// batchesBefore takes the batch that each emitter's first one in the range continues.
func (v *verification) batchesBefore() error {
	seen := map[signer.KeyID]bool{}
	check := func(p *proven) error {
		if key := signer.KeyID(p.statement.GetKeyId()); seen[key] {
			return errProvenShape
		}
		return v.checkNeighbour(p)
	}
	return v.provenFile(fileBefore, 0, v.scope.Begin, check, func(p *proven) {
		seen[signer.KeyID(p.statement.GetKeyId())] = true
		v.numbering.known(p.numbered())
	})
}

// batchesAfter ends every emitter with the batch that continues it after the range, where one is shown.
func (v *verification) batchesAfter() error {
	next := map[signer.KeyID]*numbered{}
	check := func(p *proven) error {
		key := signer.KeyID(p.statement.GetKeyId())
		if e := v.numbering.emitters[key]; e == nil || e.begins == "" || next[key] != nil {
			return errProvenShape
		}
		return v.checkNeighbour(p)
	}
	err := v.provenFile(fileAfter, v.scope.End, v.scope.Size, check, func(p *proven) {
		next[signer.KeyID(p.statement.GetKeyId())] = p.numbered()
	})
	for key, e := range v.numbering.emitters {
		if e.begins == "" {
			v.fail(CheckAdmission, fmt.Errorf("%s: key %s signs nothing in the range: %w", fileBefore, key, errProvenShape))
		}
		e.finish(next[key])
	}
	return err
}

func (p *proven) numbered() *numbered {
	return &numbered{p.statement, p.digest, p.leaves[0].Verdict, false, false}
}

// checkNeighbour holds a batch beside the range to the key that the log admitted for its instance.
func (v *verification) checkNeighbour(p *proven) error {
	key, known := v.registry.Key([32]byte(p.statement.GetKeyId()))
	switch {
	case len(p.record.shown) != 1 || p.leaves[0].Position != 0 || p.events[0] != nil || len(p.record.hashes) > 0:
		return errProvenShape
	case p.leaves[0].Kind == chain.KindNone || p.leaves[0].Verdict == chain.Late:
		return errProvenShape
	case !known || key.Instance != p.statement.GetInstance():
		return errUnknownKey
	case p.leaves[0].Verdict != chain.KeyInvalid && !key.ValidAt(uint64(p.leaves[0].Index)):
		return errUnknownKey
	}
	return errors.Join(p.signedBy(signer.PublicKey(key.PublicKey)), v.checkTags(p))
}

// indirectHolds are the scopes of the holds in force on instances and runs. The registry cannot know what content they cover; the records of the
// range say.
func (v *verification) indirectHolds() (scopes []string) {
	for _, h := range v.registry.Holds() {
		if strings.HasPrefix(h.Scope, "instance/") || strings.HasPrefix(h.Scope, "run/") {
			scopes = append(scopes, h.Scope)
		}
	}
	return scopes
}
