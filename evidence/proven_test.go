package evidence

import (
	"errors"
	"slices"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// provenOf is the record of a message outside a range, which shows the leaves and events at some places of it.
func (w *world) provenOf(m *stored, events bool, places ...uint32) *provenRecord {
	r := &provenRecord{first: m.First, statement: m.Statement, signature: m.Signature}
	for i, b := range m.Leaves {
		if events {
			leaf, err := chain.ParseLeaf(b)
			w.must(err)
			if r.hashes = append(r.hashes, leaf.Event); m.Events[i].Bytes != nil {
				r.hashes[i] = chain.EventHash(m.Events[i].Bytes)
			}
		}
	}
	for _, i := range places {
		var e []byte
		if events {
			e = m.Events[i].Bytes
		}
		path, err := chain.ProveInclusion(w.t.Context(), chain.LeafNodes{Leaves: w}, m.First+chain.Index(i), w.chain.Size())
		w.must(err)
		r.shown = append(r.shown, provenLeaf{i, m.Leaves[i], path, e})
	}
	return r
}

// proving is a verification that has got as far as the records outside the range.
func (w *world) proving(policy *Policy) *verification {
	v := newVerification(policy, VerifyOptions{})
	head, err := w.chain.Checkpoint(w.origin)
	w.must(err)
	v.head.Checkpoint, v.scope = head, &Scope{Tenant: w.tenant, Origin: w.origin, Size: head.Size}
	if policy != nil {
		v.system = &policy.SystemKey
	}
	v.note, err = w.checkpoint()
	w.must(err)
	return v
}

// prove takes a record as provenFile does.
func (v *verification) prove(r *provenRecord, next, begin, end chain.Index, check func(*proven) error) (*proven, error) {
	p := &proven{record: *r}
	if err := p.read(v.scope, &next, begin, end); err != nil {
		return p, err
	}
	return p, errors.Join(v.included(p), check(p))
}

// begun has folded the messages before one, which are Custody's own.
func (w *world) begun(t *testing.T, policy *Policy, n int) *verification {
	t.Helper()
	v := w.proving(policy)
	for _, m := range w.messages[:n] {
		if !m.system {
			continue
		}
		places := make([]uint32, len(m.Leaves))
		for i := range places {
			places[i] = uint32(i)
		}
		p, err := v.prove(w.provenOf(m, true, places...), 0, 0, v.scope.Size, v.checkSystem)
		w.must(err)
		v.applySystem(p)
	}
	return v
}

// What is shown of Custody's own from outside the range stands in its place in the log, is whole, and is signed.
func TestWrongRecordsOfCustody(t *testing.T) {
	type at struct{ begin, end chain.Index }
	here := at{0, 100}
	for name, test := range map[string]struct {
		tell func(w *world, d *draft) // edits the third message of Custody, of two events; its leaves are 4 and 5
		show []uint32
		edit func(w *world, r *provenRecord)
		at   at
		want error
	}{
		"right":             {nil, []uint32{0, 1}, nil, here, nil},
		"the second":        {nil, []uint32{1}, nil, here, nil},
		"at the edges":      {nil, []uint32{0, 1}, nil, at{4, 6}, nil},
		"before the edge":   {nil, []uint32{0, 1}, nil, at{5, 100}, errProvenOrder},
		"after the edge":    {nil, []uint32{0, 1}, nil, at{0, 5}, errProvenOrder},
		"no statement":      {nil, []uint32{0}, func(_ *world, r *provenRecord) { r.statement = r.statement[:9] }, here, errAny},
		"of another tenant": {func(_ *world, d *draft) { d.statement.Tenant = "umbrella" }, []uint32{0}, nil, here, errForeign},
		"a hash too few":    {nil, []uint32{0}, func(_ *world, r *provenRecord) { r.hashes = r.hashes[:1] }, here, errRoot},
		"another count":     {func(_ *world, d *draft) { d.statement.Count = 3 }, []uint32{0}, nil, here, errRoot},
		"at another place":  {nil, []uint32{0}, func(_ *world, r *provenRecord) { r.first-- }, at{0, 100}, errLeafBatch},
		"another hash":      {nil, []uint32{0}, func(_ *world, r *provenRecord) { r.hashes[1][0] ^= 1 }, here, errRoot},
		"no leaf":           {nil, []uint32{0, 1}, func(_ *world, r *provenRecord) { r.shown[1].leaf = r.shown[1].leaf[1:] }, here, chain.ErrLeaf},
		"another's leaf":    {nil, []uint32{0}, func(w *world, r *provenRecord) { r.shown[0].leaf = w.leaves[3] }, here, errLeafBatch},
		"of another log": {nil, []uint32{0}, func(_ *world, r *provenRecord) {
			r.shown[0].leaf = slices.Clone(r.shown[0].leaf)
			r.shown[0].leaf[1] ^= 1
		}, here, errLeafBatch},
		"leaf of another place":      {leafOf(func(e *chain.Entry) { e.Position = 3 }), []uint32{0}, nil, here, errLeafBatch},
		"leaf of another batch":      {leafOf(func(e *chain.Entry) { e.Batch[0] ^= 1 }), []uint32{0}, nil, here, errLeafBatch},
		"leaf of another event":      {leafOf(func(e *chain.Entry) { e.Event[0] ^= 1 }), []uint32{0}, nil, here, errLeafBatch},
		"leaf of another kind":       {leafOf(func(e *chain.Entry) { e.Kind = chain.KindData }), []uint32{0}, nil, here, errKind},
		"filed under another":        {leafOf(func(e *chain.Entry) { e.Instance[0] ^= 1 }), []uint32{0}, nil, here, errTag},
		"refused by the log":         {leafOf(func(e *chain.Entry) { e.Verdict = chain.KeyInvalid }), []uint32{0}, nil, here, errProvenShape},
		"another event":              {nil, []uint32{0}, func(w *world, r *provenRecord) { r.shown[0].event = w.messages[1].Events[0].Bytes }, here, errEventBytes},
		"no event":                   {nil, []uint32{0, 1}, func(_ *world, r *provenRecord) { r.shown[1].event = nil }, here, errProvenShape},
		"no hashes":                  {nil, []uint32{0}, func(_ *world, r *provenRecord) { r.hashes = nil }, here, errProvenShape},
		"an event of another tenant": {func(_ *world, d *draft) { d.events[0].Tenant = "umbrella" }, []uint32{0}, nil, here, errAny},
		"another path":               {nil, []uint32{0, 1}, func(_ *world, r *provenRecord) { r.shown[1].path[0][0] ^= 1 }, here, errAny},
		"another signature":          {nil, []uint32{0}, func(_ *world, r *provenRecord) { r.signature = make([]byte, len(r.signature)) }, here, signer.ErrSignature},
		"another key": {func(w *world, d *draft) {
			d.signer = w.key()
			id := d.signer.ID()
			d.statement.KeyId = id[:]
			d.verdict = chain.Accepted
		}, []uint32{0}, nil, here, errUnknownKey},
	} {
		w := newWorld(t, "acme")
		w.agent("support-1")
		c := w.custody
		hold := func(name string) *eventv1.Event {
			return c.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: name, Scope: "tenant"}}})
		}
		c.batch([]*eventv1.Event{hold("a"), hold("b")}, func(d *draft) {
			if test.tell != nil {
				test.tell(w, d)
			}
		})
		w.clock("11:00").access()
		v := w.begun(t, w.policy(), 3)
		r := w.provenOf(w.messages[3], true, test.show...)
		if test.edit != nil {
			test.edit(w, r)
		}
		if _, err := v.prove(r, 0, test.at.begin, test.at.end, v.checkSystem); !is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if _, err := v.prove(r, 5, 0, 100, v.checkSystem); !errors.Is(err, errProvenOrder) {
			t.Errorf("%s, not in order: %v", name, err)
		}
	}
}

func leafOf(edit func(*chain.Entry)) func(*world, *draft) {
	return func(_ *world, d *draft) { d.leaf = edit }
}

// The genesis is judged once, where it is shown, and nothing else for it.
func TestGenesisIsJudgedOnce(t *testing.T) {
	w := exported(t)
	genesis, own, agent := w.messages[0], w.messages[1], w.messages[3]
	for name, test := range map[string]struct {
		policy *Policy
		m      *stored
		events bool
		again  bool
		want   error
		judged uint64
	}{
		"the genesis":                             {w.policy(), genesis, true, false, nil, 0},
		"the genesis, without a policy":           {nil, genesis, true, false, nil, 0},
		"twice":                                   {w.policy(), genesis, true, true, nil, 0},
		"without its event":                       {w.policy(), genesis, false, false, errProvenShape, 0},
		"another first":                           {w.policy(), own, true, false, errTag, 0},
		"another first, without a policy":         {nil, own, true, false, errUnknownKey, 0},
		"an agent's, as if it were Custody's own": {w.policy(), agent, true, false, errProvenShape, 0},
	} {
		v := w.proving(test.policy)
		r := w.provenOf(test.m, true, 0)
		if !test.events {
			r.shown[0].event = nil
		}
		_, err := v.prove(r, 0, 0, 100, v.checkSystem)
		if test.again {
			_, err = v.prove(r, 0, 0, 100, v.checkSystem)
		}
		if !errors.Is(err, test.want) || v.checks[CheckGenesis].Failures != test.judged {
			t.Errorf("%s: %v, want %v; the genesis fails %d times: %s", name, err, test.want, v.checks[CheckGenesis].Failures, v.checks[CheckGenesis].Detail)
		}
	}
}

// A batch beside the range is shown by its first leaf alone, and is of a key that was admitted for its instance there.
func TestWrongNeighbours(t *testing.T) {
	for name, test := range map[string]struct {
		tell   func(w *world, d *draft) // edits the agent's batch of two
		events bool
		show   []uint32
		want   error
	}{
		"right":               {nil, false, []uint32{0}, nil},
		"two leaves":          {nil, false, []uint32{0, 1}, errProvenShape},
		"its second leaf":     {nil, false, []uint32{1}, errProvenShape},
		"with its event":      {nil, true, []uint32{0}, errProvenShape},
		"with all hashes":     {nil, true, []uint32{0}, errProvenShape},
		"with an event alone": {nil, false, []uint32{0}, errProvenShape},
		"late":                {func(_ *world, d *draft) { d.verdict = chain.Late }, false, []uint32{0}, errProvenShape},
		"no event at all":     {leafOf(func(e *chain.Entry) { e.Kind = chain.KindNone }), false, []uint32{0}, errProvenShape},
		"filed under another": {leafOf(func(e *chain.Entry) { e.Instance[0] ^= 1 }), false, []uint32{0}, errTag},
		"of another instance": {func(_ *world, d *draft) { d.statement.Instance = "billing-1" }, false, []uint32{0}, errUnknownKey},
		"of nobody's key": {func(w *world, d *draft) {
			d.signer = w.key()
			id := d.signer.ID()
			d.statement.KeyId = id[:]
			d.verdict = chain.Accepted
		}, false, []uint32{0}, errUnknownKey},
		"of a revoked key":     {func(_ *world, d *draft) { d.verdict = chain.Accepted }, false, []uint32{0}, errUnknownKey},
		"refused for its key":  {func(_ *world, d *draft) {}, false, []uint32{0}, nil},
		"signed by a stranger": {func(w *world, d *draft) { d.signer = w.key() }, false, []uint32{0}, signer.ErrSignature},
	} {
		w := newWorld(t, "acme")
		w.agent("billing-1")
		a := w.agent("support-1")
		if name == "of a revoked key" || name == "refused for its key" {
			w.revoke(a, 0)
		}
		events := []*eventv1.Event{a.call("customer", "{}"), a.call("customer", "{}")}
		a.batch(events, func(d *draft) {
			if test.tell != nil {
				test.tell(w, d)
			}
		})
		last := len(w.messages) - 1
		w.clock("11:00").access()
		v := w.begun(t, w.policy(), last)
		r := w.provenOf(w.messages[last], test.events, test.show...)
		switch name {
		case "with all hashes":
			r.shown[0].event = nil
		case "with an event alone":
			r.shown[0].event = w.messages[last].Events[0].Bytes
		}
		if _, err := v.prove(r, 0, 0, 100, v.checkNeighbour); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A place beyond those of the batch is none, though a leaf says so.
func TestPlaceBeyondTheBatch(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	a.send(2)
	digest := event.BatchDigest(w.messages[3].Statement)
	a.send(1, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Batch, e.Position = digest, 2 } })
	w.clock("11:00").access()
	v := w.begun(t, w.policy(), 3)
	r := w.provenOf(w.messages[3], false)
	x := w.provenOf(w.messages[4], false, 0)
	x.shown[0].position = 2
	r.shown = x.shown
	if _, err := v.prove(r, 0, 0, 100, func(*proven) error { return nil }); !errors.Is(err, errLeafBatch) {
		t.Errorf("%v", err)
	}
}

// The holds that the registry cannot follow are those on instances and runs.
func TestIndirectHolds(t *testing.T) {
	w := newWorld(t, "acme")
	for i, scope := range []string{"tenant", "instance/support-1", "run/ticket-1", "subject/customer"} {
		w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: string(rune('a' + i)), Scope: scope}}}))
	}
	v := w.begun(t, w.policy(), len(w.messages))
	if got := v.indirectHolds(); len(got) != 2 || !slices.Contains(got, "instance/support-1") || !slices.Contains(got, "run/ticket-1") {
		t.Error(got)
	}
}

// Who shows more records beside the range than it needs, or other ones, or cuts a file of them.
func TestSurplusBesideTheRange(t *testing.T) {
	w := newWorld(t, "acme")
	a, b := w.agent("support-1"), w.agent("billing-1")
	b.send(1)
	a.send(1).send(1)
	w.clock("09:00")
	a.send(1)
	w.clock("11:00")
	c := w.custody
	hold := c.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: "h", Scope: "tenant"}}})
	c.say(c.systemEvent(&eventv1.System{Actor: "auditor", Detail: &eventv1.System_Access{Access: &eventv1.Access{Method: "Export"}}}), hold)
	a.send(1).send(1)
	b.send(1)
	w.access()
	bundle := w.bundle("08:30", "10:30")
	silent := len(w.messages)
	more := func(name string, places ...int) func(map[string][]byte) {
		return editRecords(name, func(list [][]byte) [][]byte {
			for _, i := range places {
				list = append(list, w.provenOf(w.messages[i], false, 0).append(nil))
			}
			slices.SortFunc(list, slices.Compare) // by the first leaf
			return list
		})
	}
	of := func(key signer.KeyID) (places []int) {
		for i, m := range w.messages[:silent] {
			if m.key == key {
				places = append(places, i)
			}
		}
		return places
	}
	ours, theirs := of(a.key.ID()), of(b.key.ID())
	cut := editRecord(fileKeysBefore, 1, func([]byte) []byte { return []byte{0} })
	for name, test := range map[string]struct {
		edit  func(map[string][]byte)
		check string
		exit  int
	}{
		"nothing":                            {func(map[string][]byte) {}, "", ExitVerified},
		"two before":                         {more(fileBefore, ours[0]), CheckAdmission, ExitKeys},
		"two after":                          {more(fileAfter, ours[4]), CheckAdmission, ExitKeys},
		"one before of who signs nothing":    {more(fileBefore, theirs[0]), CheckAdmission, ExitKeys},
		"one after of who signs nothing":     {more(fileAfter, theirs[1]), CheckAdmission, ExitKeys},
		"one of Custody's own, of no format": {cut, CheckFormat, ExitFormat},
		"one after, of no format":            {editRecord(fileAfter, 0, func([]byte) []byte { return []byte{0} }), CheckFormat, ExitFormat},
		"Custody's after, of no format":      {editRecord(fileKeysAfter, 0, func([]byte) []byte { return []byte{0} }), CheckFormat, ExitFormat},
	} {
		v := verify(t, repack(t, w.export, bundle, test.edit), w.policy())
		if v.Exit != test.exit || test.check != "" && v.Check(test.check).Result != Failed {
			t.Errorf("%s: exit %d, want %d\n%s", name, v.Exit, test.exit, details(v))
		}
		if last := v.Check(CheckRedactions).Result; (last == NotRun) != (test.check == CheckFormat) {
			t.Errorf("%s: what comes after it is %s", name, last)
		}
	}
	unsigned := repack(t, w.export, bundle, editProven(fileKeysAfter, 0, func(r *provenRecord) { r.signature[9] ^= 1 }))
	v := verify(t, unsigned, w.policy())
	files, records := unpack(t, bundle), uint64(0)
	for _, name := range []string{fileKeysBefore, fileKeysAfter, fileBefore, fileAfter} {
		records += uint64(len(splitRecords(files[name])))
	}
	if c := v.Check(CheckAdmission); len(c.Records) != 1 || c.Records[0] != uint64(w.messages[ours[2]+1].First)+1 || c.Examined != records {
		t.Errorf("%+v, want record %d of %d", c, w.messages[ours[2]+1].First+1, records)
	}
}

// What Custody files before the log has a beginning is filed under nobody, though its leaf carries the tag of an instance without a salt.
func TestFiledBeforeTheBeginning(t *testing.T) {
	w := newWorld(t, "acme")
	c := w.custody
	c.batch([]*eventv1.Event{c.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: "a", Scope: "tenant"}}})}, func(d *draft) {
		d.leaf = func(e *chain.Entry) { e.Instance = chain.InstanceTag([32]byte{}, c.instance) }
	})
	v := w.proving(w.policy())
	if _, err := v.prove(w.provenOf(w.messages[1], true, 0), 0, 0, 100, v.checkSystem); !errors.Is(err, errTag) {
		t.Errorf("%v", err)
	}
}
