package evidence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// aheadJobs is how many messages for each worker wait to be judged: enough to keep workers busy, and so few that what they share stays near
// the processor.
const aheadJobs = 1

// leafFile reads log/leaves.bin from the first leaf of the range.
type leafFile struct {
	r      *bufio.Reader
	before int // leaves before that one
}

func newLeafFile(c *container, s *Scope) *leafFile {
	return &leafFile{c.once(fileLeaves).r, int(s.Begin - s.shownBegin())}
}

// read appends n leaves to room.
func (l *leafFile) read(room []byte, n int) ([]byte, error) {
	if _, err := l.r.Discard(l.before * chain.LeafSize); err != nil {
		return nil, fmt.Errorf("read %s: %w", fileLeaves, err)
	}
	l.before = 0
	room, cut := grow(room, n*chain.LeafSize)
	if _, err := io.ReadFull(l.r, cut); err != nil {
		return nil, fmt.Errorf("read %s: %w", fileLeaves, err)
	}
	return room, nil
}

// walk reads the range once: one goroutine reads messages, workers check each for itself, and the judge takes them in order.
func (v *verification) walk(ctx context.Context) error {
	judge, err := v.newJudge()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	size := aheadJobs * v.options.Workers
	work, order := make(chan *job, size), make(chan *job, size)
	pool := &sync.Pool{New: func() any { return new(job) }}
	g.Go(func() error { return v.feed(ctx, pool, work, order) })
	asked := map[event.ID]bool{}
	for _, id := range v.options.Events {
		asked[id] = true
	}
	for range v.options.Workers {
		w := &worker{scope: v.scope, keys: &v.publicKeys, reasons: len(v.said.Reasons), file: v.container, asked: asked, pair: chain.NewPair()}
		g.Go(func() error { w.loop(work); return nil })
	}
	for j := range order {
		<-j.done
		judge.message(j)
		pool.Put(j)
		if v.options.Progress != nil {
			v.options.Progress(v.count.Records, v.scope.records())
		}
	}
	err = g.Wait()
	if judge.unread != nil {
		return judge.unread
	}
	if err != nil {
		return v.stop(CheckFormat, err, ErrRecord)
	}
	return judge.end()
}

func (w *worker) loop(work <-chan *job) {
	for j := range work {
		w.run(j)
		close(j.done)
	}
}

// feed hands every message to the workers and, in order, to the judge.
func (v *verification) feed(ctx context.Context, pool *sync.Pool, work, order chan<- *job) error {
	defer close(order)
	defer close(work)
	f := newFeeder(v.container, v.scope)
	for ctx.Err() == nil {
		j := pool.Get().(*job)
		j.reset()
		more, err := f.read(j)
		if err != nil || !more {
			return err
		}
		work <- j
		order <- j
	}
	return ctx.Err()
}

// judge holds messages to the state of the log before them.
type judge struct {
	*verification
	links   *chain.Links // nil after the first leaf that does not follow
	rebuild *chain.Rebuild
	fact    fact  // the one that is derived from now
	unread  error // the file could not be read
}

// newJudge begins the chain and the tree with the leaf before the range.
func (v *verification) newJudge() (*judge, error) {
	span := new(chain.Span)
	file, err := v.container.read(fileRange)
	if err != nil {
		return nil, err
	}
	if err := unmarshalJSON(file, span); err != nil {
		return nil, v.stop(CheckFormat, fmt.Errorf("%s: %w", fileRange, err), ErrJSON)
	}
	if span.Begin != v.scope.shownBegin() || span.End != v.scope.shownEnd() || span.Size != v.scope.Size {
		return nil, v.stop(CheckRange, fmt.Errorf("%s: not of the leaves that are shown: %w", fileRange, chain.ErrRange), chain.ErrRange)
	}
	if err := v.openDerivation(); err != nil {
		return nil, err
	}
	j := &judge{verification: v}
	if j.rebuild, err = chain.NewRebuild(*span); err != nil {
		return nil, v.stop(CheckRange, err, chain.ErrRange)
	}
	return j, j.start(span)
}

// start sets the chain behind the leaf before the range, if the log has one.
func (j *judge) start(span *chain.Span) error {
	if span.Begin == j.scope.Begin {
		empty, err := chain.New(j.scope.Origin)
		if err == nil {
			j.links = empty.Links()
		}
		return err
	}
	b := make([]byte, chain.LeafSize)
	if err := readAt(j.container.open(fileLeaves), b, 0); err != nil {
		return err
	}
	hash := chain.LeafHash(b)
	if err := j.rebuild.Add(hash); err != nil {
		return err
	}
	j.examine(CheckChain, 1)
	if err := j.resume(span, b, hash); err != nil {
		j.failAt(CheckChain, span.Begin, err)
	}
	return nil
}

func (j *judge) resume(span *chain.Span, b []byte, hash chain.Hash) error {
	tree, err := chain.NewFrontier(span.Begin, span.Left)
	if err != nil {
		return err
	}
	if err := tree.Append(hash); err != nil {
		return err
	}
	c, err := chain.Resume(b, tree.Hashes())
	if err != nil {
		return err
	}
	if c.Origin() != chain.OriginHash(j.scope.Origin) || c.Size() != span.Begin+1 {
		return chain.ErrOrigin
	}
	j.links = c.Links()
	return nil
}

// link takes the next leaf into chain and tree; l is nil if nobody has read it, or nobody can.
func (j *judge) link(index chain.Index, l *chain.Leaf, b []byte, hash chain.Hash) {
	if j.links != nil {
		if err := j.linked(l, b, hash); err != nil {
			j.links = nil
			j.failAt(CheckChain, index, err)
		}
	}
	if err := j.rebuild.Add(hash); err != nil {
		j.fail(CheckRange, err)
	}
}

func (j *judge) linked(l *chain.Leaf, b []byte, hash chain.Hash) error {
	if l == nil {
		parsed, err := chain.ParseLeaf(b)
		if err != nil {
			return err
		}
		l = &parsed
	}
	return j.links.FollowHashed(l, hash)
}

// end takes the leaf after the range and compares the root.
func (j *judge) end() error {
	if j.scope.shownEnd() > j.scope.End {
		b := make([]byte, chain.LeafSize)
		if err := readAt(j.container.open(fileLeaves), b, int64(j.scope.End-j.scope.shownBegin())*chain.LeafSize); err != nil {
			return err
		}
		j.examine(CheckChain, 1)
		j.link(j.scope.End, nil, b, chain.LeafHash(b))
	}
	j.do(CheckRange, j.rebuild.Verify(j.head.Checkpoint))
	j.done(CheckChain, CheckKey, CheckSignature, CheckBatch, CheckContent, CheckEvent, CheckVerdict, CheckNumbering, CheckTag,
		CheckLastSeen, CheckOpening, CheckFormat, CheckSelection)
	return nil
}

// message judges the next message.
func (j *judge) message(m *job) {
	j.examine(CheckChain, uint64(m.size()))
	for i := range m.size() {
		j.link(m.index(i), m.leaf(i), m.encodedLeaf(i), m.leafHashes[i])
	}
	if j.promised != nil {
		j.promised.seeAll(m.leaves)
	}
	for _, p := range m.problems {
		j.failAt(p.check, p.index, p.err)
	}
	if m.unread != nil {
		j.unread = m.unread
	}
	if m.record.form == formOthers {
		j.checkOthers(m)
		return
	}
	j.tally(m)
	if len(m.leaves) < m.size() {
		return // a leaf that cannot be read: nothing rests on it
	}
	if len(m.system) > 0 && m.system[0].index == 0 {
		j.anchor(m.system[0].event)
	}
	j.covered(m)
	if m.statement == nil {
		j.vantage.Unattributed++
		return
	}
	j.producer(m)
	j.lastSeen(m)
	j.numbers(m)
	j.follow(m)
	j.observe(m)
	if j.system == nil || j.system.ID() != signer.KeyID(m.statement.GetKeyId()) {
		return // not Custody's own word, whatever it says
	}
	for _, s := range m.system {
		j.apply(s.index, s.event)
	}
}

// tally adds up what the worker counted.
func (j *judge) tally(m *job) {
	c, n := &j.count, &m.count
	c.Records += uint64(len(m.events))
	c.Clear += n.Clear
	c.Held += n.Held
	c.Withheld += n.Withheld
	c.Expired += n.Expired
	c.Outside += n.Outside
	j.clock.Ahead += m.ahead
	j.arrivals.Late += m.arrivals.Late
	j.arrivals.Later += m.arrivals.Later
	for _, s := range m.dated {
		j.dated[s.id] = s
	}
	j.examine(CheckContent, n.Clear)
	j.examine(CheckEvent, n.Clear)
	for i := range m.leaves {
		if m.events[i].state != stateOutside {
			j.verdicts[m.leaves[i].Verdict]++
		}
	}
	if n.Expired > 0 {
		j.expire(m)
	}
	j.tallyReasons(m)
	j.tallyFields(m)
	for _, e := range m.erasures {
		j.claim(e)
	}
}

func (j *judge) tallyReasons(m *job) {
	for i := range m.events {
		if e := &m.events[i]; e.state == stateWithheld && int(e.reason) < len(j.reasons.list) {
			j.reasons.list[e.reason].Records++
		}
	}
	for i := range m.openings {
		if o := &m.openings[i]; o.state == stateWithheld && int(o.reason) < len(j.reasons.list) {
			j.reasons.list[o.reason].Fields++
		}
	}
}

func (j *judge) tallyFields(m *job) {
	before := j.count.FieldsDisclosed
	for i := range m.openings {
		switch m.openings[i].state {
		case stateHere:
			j.count.FieldsDisclosed++
		case stateErased:
			j.count.FieldsErased++
			j.reasons.erased(m.openings[i].tombstone)
		case stateWithheld:
			j.count.FieldsWithheld++
		}
	}
	j.examine(CheckOpening, j.count.FieldsDisclosed-before)
}

// claim remembers an erasure once for each tombstone and subject, with the instances and runs whose content it is said to have erased.
func (j *judge) claim(e erasureClaim) {
	c := j.erasures[e.erasure]
	if c == nil {
		c = &claimed{index: e.index, places: map[string]chain.Index{}}
		j.erasures[e.erasure] = c
	}
	c.generation, c.last = max(c.generation, e.generation), e.index
	for _, scope := range [...]string{"instance/" + e.instance, "run/" + e.run} {
		if _, known := c.places[scope]; !known {
			c.places[scope] = e.index
		}
	}
}

var (
	errInstance  = errors.New("key of another instance")
	errNotValid  = errors.New("key does not count at this place of the log, and the log accepted it")
	errIsValid   = errors.New("key counts at this place of the log, and the log refused it")
	errMixed     = errors.New("judgements within one batch do not go together")
	errWeakKey   = errors.New("key binds nobody")
	errLaterSeen = errors.New("refers to a record that came after it")
	errOtherSeen = errors.New("refers to a record that the log does not hold in that place")
)

// producer holds a batch to its key, its instance and its signature.
func (j *judge) producer(m *job) {
	j.examine(CheckKey, 1)
	j.examine(CheckBatch, 1)
	key, known := j.registry.Key([32]byte(m.statement.GetKeyId()))
	if err := j.admitted(m, key, known); err != nil {
		j.failAt(CheckKey, m.from, err)
	}
	if known {
		j.signature(m, signer.PublicKey(key.PublicKey))
		j.keyVerdict(m, key)
	}
	j.attribute(m, key)
	tag, filed := j.tag(m.statement.GetInstance())
	j.examine(CheckTag, uint64(len(m.leaves)))
	for i := range m.leaves {
		if !filed || m.leaves[i].Instance != tag {
			j.failAt(CheckTag, m.index(i), errTag)
		}
	}
}

func (j *judge) admitted(m *job, key registry.Key, known bool) error {
	switch {
	case m.statement.GetTenant() != j.scope.Tenant:
		return errForeign
	case !known:
		return errUnknownKey
	case key.Instance != m.statement.GetInstance():
		return errInstance
	}
	if j.signers[signer.KeyID(key.ID)] != nil {
		return nil
	}
	if _, err := signer.ParsePublicKey(key.PublicKey[:]); err != nil {
		return fmt.Errorf("%w: %w", errWeakKey, err)
	}
	return nil
}

func (j *judge) signature(m *job, key signer.PublicKey) {
	j.examine(CheckSignature, 1)
	if m.signature == unchecked {
		m.verify(key)
	}
	if m.signature == invalid {
		j.failAt(CheckSignature, m.from, signer.ErrSignature)
	}
}

// keyVerdict compares the judgement of each leaf with whether the key counts where the message begins.
func (j *judge) keyVerdict(m *job, key registry.Key) {
	j.examine(CheckVerdict, uint64(len(m.leaves)))
	counts, late := key.ValidAt(uint64(m.record.first)), m.leaves[0].Verdict == chain.Late
	for i := range m.leaves {
		switch v := m.leaves[i].Verdict; {
		case v == chain.Equivocation:
		case counts && v == chain.KeyInvalid:
			j.failAt(CheckVerdict, m.index(i), errIsValid)
		case !counts && v != chain.KeyInvalid:
			j.failAt(CheckKey, m.index(i), errNotValid)
		case late != (v == chain.Late):
			j.failAt(CheckVerdict, m.index(i), errMixed)
		}
	}
}

// attribute counts who says so.
func (j *judge) attribute(m *job, key registry.Key) {
	n := uint64(len(m.leaves)) - m.count.Outside
	counts := key.ValidAt(uint64(m.record.first)) && m.record.form == formEvents
	switch {
	case !counts:
		j.vantage.Unattributed += n
	case key.Producer == eventv1.ProducerClass_PRODUCER_CLASS_AGENT:
		j.vantage.SelfReported += n
	case key.Producer == eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY:
		j.vantage.GatewayObserved += n
	case key.Producer == eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER:
		j.vantage.Imported += n
	case key.Producer == eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY:
		j.vantage.Custody += n
	}
	a := j.signers[signer.KeyID(m.statement.GetKeyId())]
	if a == nil {
		a = &activity{first: m.from}
		j.signers[signer.KeyID(m.statement.GetKeyId())] = a
	}
	a.last = m.to - 1
}

// lastSeen checks that the batch was made after a leaf that it names: the leaf must be older, and the one that it was.
func (j *judge) lastSeen(m *job) {
	seen := m.statement.GetLastSeen()
	if seen == nil {
		return
	}
	j.examine(CheckLastSeen, 1)
	index := chain.Index(seen.GetIndex())
	if index >= m.record.first {
		j.failAt(CheckLastSeen, m.from, errLaterSeen)
		return
	}
	if index < j.scope.shownBegin() {
		return
	}
	leaf, hash, err := j.leafAt(index)
	if err != nil && !errors.Is(err, chain.ErrLeaf) {
		j.unread = err
		return
	}
	if err != nil || hash != chain.Hash(seen.GetLeafHash()) {
		j.failAt(CheckLastSeen, m.from, errOtherSeen)
	} else if leaf.Time-m.statement.GetCreatedAt() > maxAhead {
		j.clock.Behind += uint64(len(m.leaves))
	}
}

// numbers holds the batch to its emitter's numbering.
func (j *judge) numbers(m *job) {
	j.examine(CheckNumbering, 1)
	err := j.numbering.add(&numbered{m.statement, m.digest, m.leaves[0].Verdict, m.from > m.record.first, m.closes})
	if err != nil {
		j.failAt(CheckNumbering, m.from, err)
	}
}

// silent counts the keys that could have signed in the range and did not.
func (v *verification) silent() (n int) {
	for _, k := range v.registry.Keys() {
		if k.From < uint64(v.scope.End) && k.To > uint64(v.scope.Begin) && v.signers[signer.KeyID(k.ID)] == nil {
			n++
		}
	}
	return n
}

// suspects lists the keys whose records in the range are in doubt.
func (v *verification) suspects() []Suspect {
	var list []Suspect
	for _, k := range v.registry.Keys() {
		a := v.signers[signer.KeyID(k.ID)]
		if a != nil && k.SuspectAt(uint64(a.last)) {
			list = append(list, Suspect{signer.KeyID(k.ID), k.Instance, max(uint64(a.first), k.SuspectFrom), uint64(a.last)})
		}
	}
	return list
}
