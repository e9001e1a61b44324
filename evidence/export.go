package evidence

import (
	"bytes"
	"cmp"
	"context"
	_ "embed" // VERIFY.md
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

//go:embed VERIFY.md
var verifyText []byte

// ErrReader says that a Reader's answers do not belong together.
var ErrReader = errors.New("log was read wrongly")

// ErrPath says that a field is to be withheld that no record of the scope has: somebody who mistypes a path would disclose what he means to
// withhold.
var ErrPath = errors.New("no record has such a field")

// ExportOptions are how to export.
type ExportOptions struct {
	Tool     Tool
	Disclose Disclose
	// Frameworks are those of controls.json, by id: "soc2", "eu-ai-act", "owasp-asi", "custody"; all if there are none,
	// none for NoFramework.
	Frameworks []string
	Dir        string                   // for temporary files, about as large as the bundle; os.TempDir if empty
	Held       [][]byte                 // signed checkpoints that the requester holds: the bundle proves that it continues them
	Progress   func(done, total uint64) // events so far; may be nil
	Stamp      Stamper                  // stamps the export's signature; nil is nobody
}

// Stamper returns an RFC 3161 response over a message, nil if there is none to be had. An error ends the export.
type Stamper func(ctx context.Context, message []byte) ([]byte, error)

// Summary is what an export has written.
type Summary struct {
	Scope      Scope
	Disclosure Disclosure
	Emitters   []Emitter
	Manifest   chain.Hash        // SHA-256 of manifest.json
	Rows       map[string]uint64 // of each file of populations/
}

// Export writes the bundle of what the log received in [scope.From, scope.To) to w, signed with key. Of the scope it takes
// Tenant, Origin, From, To, Grace, Instance, Run, Requester, Purpose and ExportedAt. The caller has appended the record of this export to the log before, and the
// reader's checkpoint covers it, so that there is a leaf after the range. Memory does not grow with the number of events. On an error what was
// written is not a bundle.
func Export(ctx context.Context, w io.Writer, r Reader, scope Scope, key signer.Exporter, o ExportOptions) (Summary, error) {
	x := newExport(r, scope, key, o)
	summary, err := x.run(ctx, w)
	if err := errors.Join(err, x.close()); err != nil {
		return Summary{}, fmt.Errorf("export evidence of %s: %w", scope.Tenant, err)
	}
	return summary, nil
}

// export is one bundle on its way.
type export struct {
	reader    Reader
	nodes     *nodeCache
	scope     Scope
	head      chain.Checkpoint
	options   ExportOptions
	key       signer.Exporter
	files     []*staged // in the order of layout
	numbering *numbering
	emitters  map[signer.KeyID]bool // whose batch before the range was asked for
	before    []provenRecord
	count     Disclosure
	reasons   reasons
	registry  *registry.State // as far as the bundle shows it
	derived   *derivation
	story     *story
	next      chain.Index           // of the range
	own       map[signer.KeyID]bool // keys of the scope's instance, if it names one
	cited     map[chain.Index]bool  // tombstones of erased fields
	erased    map[string]bool       // their subjects and runs, as scopes of holds

	sealed map[string]bool // paths of the sealed fields that were met

	expiries     expiries // that apply; read when the first content is missing
	expiriesRead bool
}

func newExport(r Reader, scope Scope, key signer.Exporter, o ExportOptions) *export {
	return &export{
		reader: r, nodes: newNodeCache(r), scope: scope, options: o, key: key, numbering: newNumbering(), emitters: map[signer.KeyID]bool{},
		files: make([]*staged, len(layout)), own: map[signer.KeyID]bool{}, cited: map[chain.Index]bool{}, erased: map[string]bool{},
		registry: registry.New(), story: newStory(), sealed: map[string]bool{},
	}
}

// steps are what is done between the reading of the log's state and the signatures, in this order.
func (x *export) steps() []func(context.Context) error {
	return []func(context.Context) error{
		x.anchors, x.keysBefore, x.producers, x.leafBefore, x.messages, x.withheldPaths, x.leafAfter, x.neighbours, x.keysAfter, x.span, x.consistency, x.accounts,
	}
}

func (x *export) run(ctx context.Context, w io.Writer) (Summary, error) {
	for _, step := range append([]func(context.Context) error{x.begin}, x.steps()...) {
		if err := step(ctx); err != nil {
			return Summary{}, err
		}
	}
	sum, err := x.sign(ctx)
	if err != nil {
		return Summary{}, err
	}
	return Summary{x.scope, x.count, x.numbering.report(), sum, x.derived.counts()}, writeContainer(w, x.files)
}

func (x *export) close() error {
	var all []error
	for _, f := range x.files {
		all = append(all, f.close())
	}
	return errors.Join(all...)
}

// begin places the scope in the log, and opens the files that grow.
func (x *export) begin(ctx context.Context) error {
	note, err := x.place(ctx)
	if err != nil {
		return err
	}
	x.next = x.scope.Begin
	x.put(fileCheckpoint, note)
	return x.openFiles()
}

// place reads the checkpoint and says which of its leaves the scope is.
func (x *export) place(ctx context.Context) (note []byte, err error) {
	if note, err = x.reader.Checkpoint(ctx); err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	head, err := readHead(note)
	if err != nil {
		return nil, err
	}
	if head.Origin != x.scope.Origin {
		return nil, fmt.Errorf("checkpoint of %q: %w", head.Origin, chain.ErrOrigin)
	}
	x.head = head
	s := &x.scope
	s.Version, s.TimeBasis, s.Size = ScopeVersion, basisReceived, head.Size
	for _, text := range []*string{&s.Requester, &s.Purpose, &x.options.Tool.Name} { // JSON has no other text
		*text = valid8(*text)
	}
	if s.Begin, s.End, err = x.reader.Bounds(ctx, s.From, s.until(), s.Size); err != nil {
		return nil, fmt.Errorf("read bounds: %w", err)
	}
	return note, s.check()
}

func valid8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// readHead reads the tree head of a signed note without its signatures.
func readHead(note []byte) (chain.Checkpoint, error) {
	text, _, found := bytes.Cut(note, []byte("\n\n"))
	if !found || len(note) > maxSmallFile {
		return chain.Checkpoint{}, fmt.Errorf("read checkpoint: %w", signer.ErrNote)
	}
	return chain.ParseCheckpoint(append(slices.Clip(text), '\n'))
}

func (x *export) openFiles() (err error) {
	for i, l := range layout {
		if l.mediaType != typeRecords && l.mediaType != typeCSV {
			continue
		}
		if x.files[i], err = stageFile(x.options.Dir); err != nil {
			return err
		}
	}
	return x.openDerivation()
}

func placeOf(name string) int {
	return slices.IndexFunc(layout, func(l member) bool { return l.name == name })
}

func (x *export) put(name string, b []byte)     { x.files[placeOf(name)] = stageBytes(b) }
func (x *export) file(name string) *staged      { return x.files[placeOf(name)] }
func (x *export) digest(name string) chain.Hash { return x.file(name).digest() }

// write appends one record.
func (x *export) write(name string, encode func([]byte) []byte) error {
	if err := x.file(name).record(encode); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (x *export) writeLeaf(leaf []byte) error {
	if len(leaf) != chain.LeafSize {
		return fmt.Errorf("leaf of %d bytes: %w", len(leaf), ErrReader)
	}
	if err := x.nodes.show(x.scope.shownBegin(), leaf); err != nil {
		return err
	}
	_, err := x.file(fileLeaves).Write(leaf)
	return err
}

func (x *export) leafBefore(ctx context.Context) error {
	if x.scope.Begin == 0 {
		return nil
	}
	return x.boundary(ctx, x.scope.Begin-1)
}

func (x *export) leafAfter(ctx context.Context) error {
	if x.next != x.scope.End {
		return fmt.Errorf("messages end before leaf %d: %w", x.scope.End, ErrReader)
	}
	if x.scope.End == x.scope.Size {
		return nil
	}
	return x.boundary(ctx, x.scope.End)
}

func (x *export) boundary(ctx context.Context, index chain.Index) error {
	leaf, err := x.reader.Leaf(ctx, index)
	if err != nil {
		return fmt.Errorf("read leaf %d: %w", index, err)
	}
	return x.writeLeaf(leaf)
}

// messages writes the range.
func (x *export) messages(ctx context.Context) error {
	if x.scope.Begin == x.scope.End {
		return nil
	}
	for m, err := range x.source(ctx) {
		if err == nil {
			err = x.outside(ctx, m.First)
		}
		if err == nil {
			err = x.message(ctx, m)
		}
		if err != nil {
			return fmt.Errorf("message at leaf %d: %w", x.next, err)
		}
		if x.options.Progress != nil {
			x.options.Progress(uint64(x.next-x.scope.Begin), x.scope.records())
		}
	}
	return errors.Join(x.outside(ctx, x.scope.End), ctx.Err())
}

// part is a message as far as it lies in the range.
type part struct {
	*Message
	from, to  int // its leaves [from, to) are in the range
	statement *eventv1.BatchStatement
	whole     bool
	leaves    []chain.Leaf // of all its leaves
}

func (x *export) part(m *Message) (*part, error) {
	end := m.First + chain.Index(len(m.Leaves))
	if m.First > x.next || end <= x.next || len(m.Events) != len(m.Leaves) {
		return nil, fmt.Errorf("leaves [%d, %d) with %d events: %w", m.First, end, len(m.Events), ErrReader)
	}
	p := &part{Message: m, from: int(x.next - m.First), to: int(min(end, x.scope.End) - m.First)}
	for _, b := range m.Leaves {
		leaf, err := chain.ParseLeaf(b)
		if err != nil {
			return nil, err
		}
		p.leaves = append(p.leaves, leaf)
	}
	p.whole = p.leaves[0].Kind == chain.KindNone
	if len(m.Statement) == 0 {
		return p, nil
	}
	var err error
	p.statement, err = event.ParseStatement(m.Statement)
	return p, err
}

func (x *export) message(ctx context.Context, m *Message) error {
	p, err := x.part(m)
	if err != nil {
		return err
	}
	if !x.scope.whole() && p.statement.GetInstance() != x.scope.Instance {
		return x.outside(ctx, p.First+chain.Index(p.to))
	}
	if err := x.neighbourBefore(ctx, p); err != nil {
		return err
	}
	if err := x.write(fileBatches, p.record().append); err != nil {
		return err
	}
	x.openLog(p)
	var last *eventv1.Event
	for i := p.from; i < p.to; i++ {
		if last, err = x.event(ctx, p, i); err != nil {
			return err
		}
		if err := x.observe(p, i, last); err != nil {
			return err
		}
	}
	x.applyAll(p)
	if p.statement != nil {
		// A contradiction is the log's and stands in the bundle: the verifier names it.
		_ = x.numbering.add(p.numbered(p.to == len(p.Leaves) && closesEpoch(last)))
	}
	x.next = p.First + chain.Index(p.to)
	return nil
}

// record is the message's record in batches/range.bin.
func (p *part) record() *batchRecord {
	r := &batchRecord{first: p.First, form: formEvents, statement: p.Statement, signature: p.Signature}
	if p.whole {
		r.form = formWhole
		return r
	}
	for i := range p.leaves {
		if i < p.from || i >= p.to {
			r.outside = append(r.outside, p.leaves[i].Event)
		}
	}
	return r
}

func (p *part) numbered(closes bool) *numbered {
	return &numbered{p.statement, chain.Hash(event.BatchDigest(p.Statement)), p.leaves[p.from].Verdict, p.from > 0, closes}
}

// event writes leaf i of a message with what there is of it, and returns the event if it is here and right.
func (x *export) event(ctx context.Context, p *part, i int) (parsed *eventv1.Event, err error) {
	if err := x.writeLeaf(p.Leaves[i]); err != nil {
		return nil, err
	}
	x.count.Records++
	e := &p.Events[i]
	record := eventRecord{state: stateHere, bytes: e.Bytes}
	switch e.Missing {
	case Held:
		record.state, record.bytes = stateHeld, nil
		x.count.Held++
	case Expired:
		if record, err = x.missing(ctx, &p.leaves[i]); err != nil {
			return nil, err
		}
	default:
		if e.Bytes == nil && !p.whole {
			return nil, fmt.Errorf("event %d is not there: %w", i, ErrReader)
		}
		x.count.Clear++
	}
	if record.state == stateHere && !p.whole {
		if parsed = e.Parsed; parsed == nil {
			parsed, _ = event.Parse(e.Bytes) // if the store gave other bytes than were signed, the verifier will say so
		}
	}
	if x.hides(p, &record, parsed) {
		record, parsed = eventRecord{state: stateOutside}, nil
		x.count.Outside++
		x.count.Clear--
	}
	if err := x.write(fileEvents, record.append); err != nil || parsed == nil {
		return nil, err
	}
	return parsed, x.openings(p.leaves[i].Index, parsed, e.Openings)
}

// openings writes one record for each sealed field.
func (x *export) openings(index chain.Index, e *eventv1.Event, openings []Opening) error {
	for i, s := range e.GetSealed() {
		at := slices.IndexFunc(openings, func(o Opening) bool { return o.Path == s.GetPath() })
		var opening *Opening
		if at >= 0 {
			opening = &openings[at]
		}
		record, err := x.opening(e, s, opening)
		if err != nil {
			return err
		}
		record.index, record.field = index, uint16(i)
		if err := x.write(fileOpenings, record.append); err != nil {
			return err
		}
	}
	return nil
}

// opening is the record of one sealed field: disclosed only if it matches what was signed.
func (x *export) opening(e *eventv1.Event, s *eventv1.Sealed, o *Opening) (openingRecord, error) {
	x.sealed[s.GetPath()] = true
	reason := x.options.Disclose.reason(s.GetPath())
	if o != nil && o.Load != nil && reason == "" {
		o = o.loaded()
	}
	switch {
	case o != nil && o.Erased && o.Tombstone >= x.scope.Size:
		reason = reasonErasedLater
	case o != nil && o.Erased:
		x.count.FieldsErased++
		x.cited[o.Tombstone], x.erased["subject/"+s.GetSubject()], x.erased["run/"+e.GetRun()] = true, true, true
		x.reasons.erased(o.Tombstone)
		return openingRecord{state: stateErased, tombstone: o.Tombstone, generation: o.Generation}, nil
	case reason != "":
	case o == nil:
		reason = reasonAbsent
	case opens(e, s, &openingRecord{salt: o.Salt[:], value: o.Value}) != nil:
		reason = reasonDamaged
	default:
		x.count.FieldsDisclosed++
		x.story.open(o.Path, o.Value)
		return openingRecord{state: stateHere, salt: o.Salt[:], value: o.Value}, nil
	}
	x.count.FieldsWithheld++
	place, err := x.reasons.field(reason)
	return openingRecord{state: stateWithheld, reason: place}, err
}

// withheldPaths refuses, before anything is handed out, to withhold what is nowhere.
func (x *export) withheldPaths(context.Context) error {
	for _, path := range slices.Sorted(maps.Keys(x.options.Disclose.Withhold)) {
		if !x.sealed[path] {
			return fmt.Errorf("withhold %q: %w", path, ErrPath)
		}
	}
	return nil
}

// loaded is the opening of an object with its value, nil if the value cannot be had.
func (o *Opening) loaded() *Opening {
	value := o.Load()
	if value == nil {
		return nil
	}
	return &Opening{Path: o.Path, Salt: o.Salt, Value: value}
}

// span writes the hashes on both sides of the leaves that are shown.
func (x *export) span(ctx context.Context) error {
	span, err := chain.ProveSpan(ctx, x.nodes, x.scope.shownBegin(), x.scope.shownEnd(), x.scope.Size)
	if err != nil {
		return err
	}
	return x.putJSON(fileRange, span)
}

func (x *export) putJSON(name string, v any) error {
	b, err := marshalJSON(v)
	if err != nil {
		return err
	}
	x.put(name, b)
	return nil
}

// accounts writes the files that people read.
func (x *export) accounts(context.Context) error {
	x.put(fileVerify, verifyPage(x.key.Algorithm()))
	return errors.Join(
		x.putJSON(fileScope, &x.scope),
		x.putJSON(fileEmitters, emittersFile{1, x.numbering.report()}),
		x.putJSON(fileRedactions, x.reasons.file(&x.count)),
		x.putJSON(fileControls, x.derived.exam.answer()),
		x.putReport(),
	)
}

// sign writes the files that the export key signs.
func (x *export) sign(ctx context.Context) (chain.Hash, error) {
	custody, err := makeCustodyFile(x.key, &x.scope, x.digest(fileScope), x.options.Tool)
	if err != nil {
		return chain.Hash{}, err
	}
	x.put(fileCustody, custody)
	if err := x.finishFiles(); err != nil {
		return chain.Hash{}, err
	}
	list, err := makeManifest(x.files, x.count)
	if err != nil {
		return chain.Hash{}, err
	}
	x.put(fileManifest, list)
	sum := x.digest(fileManifest)
	envelope, err := makeStatementFile(x.key, sum, &x.scope)
	if err == nil && x.options.Stamp != nil {
		envelope, err = stampStatementFile(ctx, envelope, x.options.Stamp)
	}
	x.put(fileStatement, envelope)
	return sum, err
}

// finishFiles ends the files that grow.
func (x *export) finishFiles() error {
	for i, f := range x.files {
		if err := f.finish(); err != nil {
			return fmt.Errorf("write %s: %w", layout[i].name, err)
		}
	}
	return nil
}

// byFirst sorts records by their place in the log.
func byFirst(a, b provenRecord) int { return cmp.Compare(a.first, b.first) }
