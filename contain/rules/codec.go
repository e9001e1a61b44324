package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// errSnapshot says that bytes are no snapshot that an engine has written.
var errSnapshot = errors.New("not a snapshot of rule state")

// ErrOldSnapshot says that a snapshot was written by another version of Custody. Nothing is lost: the stream is folded again.
var ErrOldSnapshot = errors.New("a snapshot of another version")

// snapshotMagic is how a snapshot begins: what it is, and its version, which counts up whenever the state means something else.
const (
	snapshotKind  = "custody/rules/state/"
	snapshotMagic = snapshotKind + "v5\x00"
)

// A snapshot is the magic, the digest of the set, the counts and the state. Numbers are varints, signed ones zigzag; texts and lists
// come after their length; a map of one tenant is in the order of its keys, a bounded one in its own.

// writer appends the parts of a snapshot, and passes them on when they are many.
type writer struct {
	b   []byte
	out io.Writer // nil keeps all
	err error     // of out, the first
}

// passOn is from how many bytes on they are passed on.
const passOn = 64 << 10

// entry ends an entry.
func (w *writer) entry() {
	if w.out != nil && len(w.b) >= passOn {
		w.flush()
	}
}

func (w *writer) flush() {
	if w.err == nil {
		_, w.err = w.out.Write(w.b)
	}
	w.b = w.b[:0]
}

func (w *writer) number(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) signed(n int64)  { w.b = binary.AppendVarint(w.b, n) }
func (w *writer) raw(b []byte)    { w.b = append(w.b, b...) }
func (w *writer) id(i id)         { w.b = append(w.b, i[:]...) }
func (w *writer) print(p print)   { w.b = append(w.b, p[:]...) }

func (w *writer) text(s string) {
	w.number(uint64(len(s)))
	w.b = append(w.b, s...)
}

// flags packs up to eight booleans, the first into the lowest bit.
func (w *writer) flags(all ...bool) {
	var b byte
	for i, set := range all {
		if set {
			b |= 1 << i
		}
	}
	w.b = append(w.b, b)
}

// reader takes them again. After the first fault it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || size > 1 && r.b[size-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) signed() int64 {
	n := r.number()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *reader) raw(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) text() string { return string(r.raw(r.number())) }
func (r *reader) id() (i id)   { copy(i[:], r.raw(uint64(len(i)))); return i }
func (r *reader) print() (p print) {
	copy(p[:], r.raw(uint64(len(p))))
	return p
}

// flags reads booleans that were packed; more than that are a fault.
func (r *reader) flags(into ...*bool) {
	b := r.raw(1)
	if len(b) == 0 {
		return
	}
	if b[0]>>len(into) != 0 {
		r.fail()
	}
	for i, set := range into {
		*set = b[0]>>i&1 == 1
	}
}

// list reads a length of at most so many parts.
func (r *reader) list(most int) int {
	n := r.number()
	if n > uint64(most) || n > uint64(len(r.b)) { // each part has a byte at least
		r.fail()
		return 0
	}
	return int(n)
}

// write appends the entries in their order.
func (b *bounded[K, V]) write(w *writer, key func(K), value func(V)) {
	w.number(uint64(b.len()))
	for k, v := range b.all() {
		key(k)
		value(*v)
		w.entry()
	}
}

// read takes entries into an empty map.
func (b *bounded[K, V]) read(r *reader, key func() K, value func() V) {
	for range r.list(b.max) {
		k := key()
		if b.has(k) {
			r.fail()
		}
		v := value()
		if r.bad {
			return
		}
		b.set(k, v)
	}
}

// writeMap appends a map in the order of its keys.
func writeMap[V any](w *writer, m map[string]V, value func(V)) {
	w.number(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.text(k)
		value(m[k])
		w.entry()
	}
}

// readMap reads one. Keys that are out of order are a fault.
func readMap[V any](r *reader, most int, value func(key string) V) map[string]V {
	m, last := map[string]V{}, ""
	for i := range r.list(most) {
		k := r.text()
		if i > 0 && k <= last {
			r.fail()
		}
		v := value(k)
		if r.bad {
			break
		}
		m[k], last = v, k
	}
	return m
}

func (w *writer) ids(list []id) {
	w.number(uint64(len(list)))
	for _, i := range list {
		w.id(i)
	}
}

func (r *reader) ids() (list []id) {
	for range r.list(MaxCount) {
		list = append(list, r.id())
	}
	return list
}

// Snapshot is the state after the last leaf, in one encoding.
func (e *Engine) Snapshot() []byte {
	w := &writer{b: make([]byte, 0, e.written+e.written/8)}
	w.snapshot(e.set, e.stats, e.state)
	e.written = len(w.b)
	return w.b
}

func (w *writer) snapshot(set *Set, stats Stats, s *state) {
	w.raw([]byte(snapshotMagic))
	digest := set.Digest()
	w.raw(digest[:])
	for _, n := range stats.all() {
		w.number(*n)
	}
	w.state(s)
}

// Restore goes on from a snapshot that was made with the same rules.
func Restore(set *Set, data []byte) (*Engine, error) {
	e, r, digest := New(set), &reader{b: data}, set.Digest()
	if err := r.magic(); err != nil {
		return nil, fmt.Errorf("read rule state: %w", err)
	}
	if got := r.raw(uint64(len(digest))); string(got) != string(digest[:]) {
		return nil, errors.New("read rule state: it belongs to other rules")
	}
	var stats Stats
	for _, n := range stats.all() {
		*n = r.number()
	}
	e.readState(r)
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("read rule state: %w", errSnapshot)
	}
	e.stats, e.written = stats, len(data)
	e.lookUp()
	return e, nil
}

// magic reads how a snapshot begins.
func (r *reader) magic() error {
	switch magic := string(r.raw(uint64(len(snapshotMagic)))); {
	case magic == snapshotMagic:
		return nil
	case strings.HasPrefix(magic, snapshotKind):
		return ErrOldSnapshot
	}
	return errSnapshot
}

// all are the counts in the order of a snapshot.
func (s *Stats) all() []*uint64 {
	return []*uint64{&s.Events, &s.Firings, &s.Excepted, &s.Failed, &s.Dropped}
}

func (w *writer) state(s *state) {
	w.number(s.Next)
	w.signed(s.Now)
	s.Runs.write(w, w.runKey, w.run)
	writeMap(w, s.Instances, w.instance)
	s.Memories.write(w, w.text, func(m memory) {
		w.text(m.Instance)
		w.id(m.Source)
	})
	s.Credentials.write(w, w.text, w.text)
	s.Bound.write(w, w.text, func(none) {})
	writeMap(w, s.Rules, w.rule)
	writeMap(w, s.Modes, func(m ruleMode) {
		w.number(uint64(m.Version))
		w.raw(m.Digest[:])
		w.text(m.Mode)
	})
}

// maxMap bounds the maps that are as large as the log made them: instances of a tenant.
const maxMap = 1 << 24

func (e *Engine) readState(r *reader) {
	s := e.state
	s.Next, s.Now = r.number(), r.signed()
	s.Runs.read(r, r.runKey, func() *run { return e.readRun(r) })
	s.Instances = readMap(r, maxMap, func(string) *instance { return e.readInstance(r) })
	s.Memories.read(r, r.text, func() memory { return memory{r.text(), r.id()} })
	s.Credentials.read(r, r.text, r.text)
	s.Bound.read(r, r.text, func() none { return none{} })
	s.Rules = readMap(r, MaxRules, func(string) *ruleState { return e.readRule(r) })
	s.Modes = readMap(r, maxModes, func(string) ruleMode {
		m := ruleMode{Version: uint32(r.number())}
		copy(m.Digest[:], r.raw(uint64(len(m.Digest))))
		m.Mode = r.text()
		return m
	})
}

func (w *writer) runKey(k runKey) {
	w.text(k.Instance)
	w.text(k.Run)
}

func (r *reader) runKey() runKey { return runKey{r.text(), r.text()} }

func (w *writer) run(x *run) {
	w.text(x.Workflow)
	x.Tainted.write(w, w.id, w.id)
	x.Untrusted.write(w, w.print, w.id)
	x.Trusted.write(w, w.print, func(struct{}) {})
	x.Calls.write(w, w.text, w.call)
	x.Proposals.write(w, w.id, w.text)
	for _, n := range []uint64{x.Started, x.Retries, x.Cost} {
		w.number(n)
	}
	w.id(x.Source)
	w.flags(x.Sensitive)
}

func (e *Engine) readRun(r *reader) *run {
	x := e.newRun()
	x.Workflow = r.text()
	x.Tainted.read(r, r.id, r.id)
	x.Untrusted.read(r, r.print, r.id)
	x.Trusted.read(r, r.print, func() (none struct{}) { return none })
	x.Calls.read(r, r.text, r.call)
	x.Proposals.read(r, r.id, r.text)
	for _, n := range []*uint64{&x.Started, &x.Retries, &x.Cost} {
		*n = r.number()
	}
	x.Source = r.id()
	r.flags(&x.Sensitive)
	return x
}

func (w *writer) call(c call) {
	w.text(c.Tool)
	w.text(c.Class)
	w.text(c.Basis)
	w.flags(c.Permitted, c.Proposed, c.Decided, c.Allowed, c.Rejected, c.Approved, c.Used)
	w.signed(c.ApprovedUntil)
	w.text(c.Approver)
	w.text(c.Arguments)
}

func (r *reader) call() (c call) {
	c.Tool, c.Class, c.Basis = r.text(), r.text(), r.text()
	r.flags(&c.Permitted, &c.Proposed, &c.Decided, &c.Allowed, &c.Rejected, &c.Approved, &c.Used)
	c.ApprovedUntil, c.Approver, c.Arguments = r.signed(), r.text(), r.text()
	return c
}

func (w *writer) instance(i *instance) {
	w.flags(i.Manifest)
	w.number(uint64(len(i.Permissions)))
	for _, p := range i.Permissions {
		w.permission(p)
	}
	i.Trusted.write(w, w.print, func(struct{}) {})
}

func (e *Engine) readInstance(r *reader) *instance {
	i := e.newInstance()
	if r.flags(&i.Manifest); i.Manifest {
		e.state.Manifests++
	}
	for range r.list(event.MaxPermissions) {
		i.Permissions = append(i.Permissions, r.permission())
	}
	i.Trusted.read(r, r.print, func() (none struct{}) { return none })
	return i
}

func (w *writer) permission(p *eventv1.Permission) {
	w.number(uint64(p.GetVerb()))
	w.text(p.GetTool())
	w.text(p.GetResource())
	w.number(uint64(p.GetConsequence()))
	w.text(p.GetConnector())
}

func (r *reader) permission() *eventv1.Permission {
	return &eventv1.Permission{
		Verb: eventv1.PermissionVerb(r.enum(int32(eventv1.PermissionVerb_PERMISSION_VERB_TRIGGER))), Tool: r.text(), Resource: r.text(),
		Consequence: eventv1.Consequence(r.enum(int32(eventv1.Consequence_CONSEQUENCE_HIGH))), Connector: r.text(),
	}
}

// enum reads a number that is no larger than most.
func (r *reader) enum(most int32) int32 {
	n := r.number()
	if n > uint64(most) {
		r.fail()
		return 0
	}
	return int32(n)
}

func (w *writer) rule(s *ruleState) {
	s.Partial.write(w, w.text, w.partial)
	s.Windows.write(w, w.text, w.window)
	s.Seen.write(w, w.text, func(b *baselined) {
		w.signed(b.Since)
		w.number(b.Events)
		b.Values.write(w, w.text, func(struct{}) {})
	})
	s.Deadlines.write(w, w.text, w.due)
}

func (e *Engine) readRule(r *reader) *ruleState {
	s := e.newRuleState()
	s.Partial.read(r, r.text, r.partial)
	s.Windows.read(r, r.text, func() *window { return e.readWindow(r) })
	s.Seen.read(r, r.text, func() *baselined {
		b := e.newBaselined()
		b.Since, b.Events = r.signed(), r.number()
		b.Values.read(r, r.text, func() (none struct{}) { return none })
		return b
	})
	s.Deadlines.read(r, r.text, r.due)
	return s
}

func (w *writer) partial(p partial) {
	w.number(uint64(len(p.Steps)))
	for _, s := range p.Steps {
		w.signed(s.Since)
		w.ids(s.Evidence)
	}
}

func (r *reader) partial() (p partial) {
	for range r.list(MaxSteps) {
		p.Steps = append(p.Steps, reached{r.signed(), r.ids()})
	}
	return p
}

func (w *writer) window(x *window) {
	w.number(uint64(len(x.Hits)))
	for _, h := range x.Hits {
		w.signed(h.Time)
		w.text(h.Value)
		w.id(h.Event)
	}
}

func (e *Engine) readWindow(r *reader) *window {
	x := &window{age: age{e.frozen}}
	for range r.list(MaxCount) {
		x.Hits = append(x.Hits, hit{r.signed(), r.text(), r.id()})
	}
	return x
}

func (w *writer) due(d due) {
	w.signed(d.At)
	w.id(d.Cause)
	w.number(d.Subject.Index)
	w.text(d.Subject.Instance)
	w.text(d.Subject.Run)
	w.text(d.Subject.Action)
	w.flags(d.Subject.Imported)
}

func (r *reader) due() (d due) {
	d.At, d.Cause = r.signed(), r.id()
	d.Subject = subject{Index: r.number(), Instance: r.text(), Run: r.text(), Action: r.text()}
	r.flags(&d.Subject.Imported)
	return d
}
