package evidence

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// VerifyOptions are how to verify.
type VerifyOptions struct {
	Workers  int                      // goroutines that hash and check signatures; as many as there are cores if 0
	Held     [][]byte                 // signed checkpoints of the log that the auditor holds: the bundle must continue them
	Receipts []signer.KeptReceipt     // of the log's operator, that somebody holds: the log must keep them; at most 65,536 are kept in memory
	Progress func(done, total uint64) // records so far; may be nil

	RevocationLists []*x509.RevocationList // to which time stamps are held, beside those that they carry

	watch  func(index chain.Index, e *eventv1.Event) // sees every event that is here and right, in order; also of a bundle that turns out to be changed; may be nil
	Events []event.ID                                // whose times the verdict bounds
}

// Verify checks a bundle of size bytes against a policy, offline, in one pass and in memory that does not grow with it. Without a policy
// it checks integrity only. Whatever is wrong with the bundle stands in the verdict; an error says that r could not be read or
// the context has ended. The contents of r must not change meanwhile.
func Verify(ctx context.Context, r io.ReaderAt, size int64, policy *Policy, o VerifyOptions) (Verdict, error) {
	v := newVerification(policy, o)
	v.later = onceFiles
	err := v.run(ctx, r, size)
	if errors.Is(err, errContents) {
		v = newVerification(policy, o)
		err = v.run(ctx, r, size)
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("verify evidence: %w", err)
	}
	return v.verdict(), nil
}

func newVerification(policy *Policy, o VerifyOptions) *verification {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return &verification{
		policy: policy, options: o, findings: newFindings(rulesWith(len(o.Receipts) > 0), policy != nil), registry: registry.New(), numbering: newNumbering(),
		tombstones: map[chain.Index]tombstone{}, erasures: map[erasure]*claimed{}, signers: map[signer.KeyID]*activity{},
		threads: map[threadID]*thread{}, dated: map[event.ID]datedEvent{}, promised: newPromised(o.Receipts),
	}
}

// verification is one bundle under examination.
type verification struct {
	policy  *Policy // nil: integrity only
	options VerifyOptions
	*findings

	container *container
	manifest  *manifest
	later     []string   // files that are held to the manifest after they were read
	digest    chain.Hash // of the manifest
	scope     *Scope
	said      *Redactions
	note      []byte // the checkpoint
	head      signer.SignedCheckpoint
	exporter  signer.KeyID // whose signature the statement says it has; zero if it does not say
	handlings []handling
	history   []History

	system     *signer.PublicKey // signs Custody's own records; nil before the genesis, if there is no policy
	registry   *registry.State
	publicKeys sync.Map // signer.KeyID → signer.PublicKey: what workers know
	numbering  *numbering
	emitters   []Emitter
	derived    *derivation
	comparers  []*comparer
	controls   Controls
	current    chain.Index // the record that is derived from now

	count      Disclosure
	reasons    *reasons
	verdicts   [chain.Malformed + 1]uint64
	vantage    Vantage
	clock      Clock
	arrivals   Arrivals
	signers    map[signer.KeyID]*activity
	threads    map[threadID]*thread // of the scope's run
	witnessed  *Witnessing          // of the checkpoint; nil if the policy names no witnesses
	stamps     []TimeStamp          // of the checkpoint
	anchored   []anchored
	dated      map[event.ID]datedEvent // of the events that were asked about
	tombstones map[chain.Index]tombstone
	erasures   map[erasure]*claimed
	expiries   expiries
	expired    *expiredLeaf // the last that is shown as expired; nil if none is
	promised   *promised    // nil if there are no receipts
	receipts   *Receipts    // what came of them; nil before
}

// activity is where in the range a key has signed.
type activity struct{ first, last chain.Index }

// tombstone is an erasure that the log holds.
type tombstone struct {
	subject    string
	generation uint32
	holds      []string // scopes of the holds on instances and runs that were in force
}

// erasure is a claim that content of a subject was erased by a leaf.
type erasure struct {
	tombstone chain.Index
	subject   string
}

// claimed is how far an erasure is said to reach, and where first and last.
type claimed struct {
	generation  uint32
	index, last chain.Index
	places      map[string]chain.Index // where first of each instance and run, by the scope of a hold on it
}

// under is a hold that covers content which a tombstone is said to have erased, and the first such content.
func (t *tombstone) under(c *claimed) (scope string, index chain.Index, found bool) {
	for _, scope := range t.holds {
		if index, found := c.places[scope]; found {
			return scope, index, true
		}
	}
	return "", 0, false
}

// stopped says that nothing further can be examined; what is wrong was recorded.
var errStopped = errors.New("stopped")

func (v *verification) run(ctx context.Context, r io.ReaderAt, size int64) error {
	err := v.steps(ctx, r, size)
	if err == nil && len(v.later) > 0 && v.manifest != nil {
		err = errors.Join(v.container.checkOnce(v.manifest), ctx.Err())
	}
	return err
}

func (v *verification) steps(ctx context.Context, r io.ReaderAt, size int64) error {
	for _, step := range []func() error{
		func() error { return v.openContainer(r, size) },
		v.checkManifest,
		v.readAccounts,
		v.checkSigned,
		v.checkCheckpoint,
		v.checkWitnesses,
		v.checkTimestamp,
		v.checkBoundaries,
		v.keysBefore,
		v.keysRange,
		v.batchesBefore,
		func() error { return v.walk(ctx) },
		v.batchesAfter,
		v.keysAfter,
		v.checkExporter,
		v.checkSelection,
		v.checkErasures,
		v.checkConsistency,
		v.checkAccounts,
		v.checkReceipts,
	} {
		if err := errors.Join(step(), ctx.Err()); errors.Is(err, errStopped) {
			return ctx.Err()
		} else if err != nil {
			return err
		}
	}
	return nil
}

// stop records a failure of a check and stops, unless the error is the file's.
func (v *verification) stop(check string, err error, ours ...error) error {
	for _, our := range ours {
		if errors.Is(err, our) {
			v.fail(check, err)
			return errStopped
		}
	}
	return err
}

func (v *verification) openContainer(r io.ReaderAt, size int64) (err error) {
	v.examine(CheckContainer, 1)
	v.container, err = openContainer(r, size)
	return v.stop(CheckContainer, err, ErrContainer)
}

func (v *verification) checkManifest() error {
	file, err := v.container.read(fileManifest)
	if err != nil {
		return err
	}
	v.examine(CheckManifest, uint64(len(layout)))
	v.digest = sha256Of(file)
	if v.manifest, err = checkList(v.container, file); err == nil {
		err = checkContents(v.container, v.manifest, v.later...)
	}
	if errors.Is(err, ErrContainer) {
		return v.stop(CheckContainer, err, ErrContainer)
	}
	v.done(CheckContainer)
	if err := v.stop(CheckManifest, err, ErrManifest, ErrJSON); err != nil {
		return err
	}
	v.done(CheckManifest)
	return nil
}

// readAccounts reads what the bundle says about itself.
func (v *verification) readAccounts() error {
	scope, err := v.container.read(fileScope)
	if err != nil {
		return err
	}
	if v.scope, err = parseScope(scope); err != nil {
		v.scope = nil
		return v.stop(CheckFormat, fmt.Errorf("%s: %w", fileScope, err), ErrJSON, ErrScope)
	}
	redactions, err := v.container.read(fileRedactions)
	if err != nil {
		return err
	}
	if v.said, err = parseRedactions(redactions); err != nil {
		return v.stop(CheckFormat, fmt.Errorf("%s: %w", fileRedactions, err), ErrJSON, ErrRedactions)
	}
	v.reasons = v.said.recounter()
	return nil
}

// checkSigned checks what the export key signs.
func (v *verification) checkSigned() error {
	var key *signer.ExportKey
	if v.policy != nil {
		key = &v.policy.ExportKey
	}
	v.do(CheckPolicy, v.checkPolicy())
	envelope, err := v.container.read(fileStatement)
	if err != nil {
		return err
	}
	v.exporter = statementSigner(envelope)
	v.do(CheckEnvelope, checkStatementFile(envelope, key, v.digest, v.scope))
	scope, err1 := v.container.read(fileScope)
	custody, err2 := v.container.read(fileCustody)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	v.handlings, err = readCustodyFile(custody, key, v.scope, sha256Of(scope))
	v.do(CheckCustody, err)
	return nil
}

func (v *verification) checkPolicy() error {
	if v.policy != nil && (v.policy.Tenant != v.scope.Tenant || v.policy.Origin != v.scope.Origin) {
		return fmt.Errorf("bundle of %q in log %q, policy of %q in log %q", v.scope.Tenant, v.scope.Origin, v.policy.Tenant, v.policy.Origin)
	}
	return nil
}

// checkCheckpoint reads the tree head. If its signature does not hold, it is still what the leaves are held against.
func (v *verification) checkCheckpoint() error {
	var err error
	if v.note, err = v.container.read(fileCheckpoint); err != nil {
		return err
	}
	if v.head.Checkpoint, err = readHead(v.note); err != nil {
		return v.stop(CheckFormat, fmt.Errorf("%s: %w", fileCheckpoint, err), chain.ErrCheckpoint, signer.ErrNote)
	}
	v.examine(CheckCheckpoint, 1)
	if v.policy != nil {
		v.openCheckpoint(v.note, v.policy.logKey())
	}
	if v.head.Origin != v.scope.Origin || v.head.Size != v.scope.Size {
		v.fail(CheckCheckpoint, fmt.Errorf("checkpoint of %q with %d leaves, scope of %q with %d",
			v.head.Origin, v.head.Size, v.scope.Origin, v.scope.Size))
		return errStopped
	}
	v.done(CheckCheckpoint)
	return nil
}

// openCheckpoint verifies the signatures of the checkpoint.
func (v *verification) openCheckpoint(note []byte, key signer.PublicKey) {
	var cosigners []signer.Cosigner
	if v.policy != nil {
		cosigners, _ = v.policy.cosigners()
	}
	head, err := signer.OpenCheckpoint(note, v.scope.Origin, key, cosigners...)
	if err != nil {
		v.fail(CheckCheckpoint, err)
		return
	}
	v.head = head
}

// checkBoundaries holds the leaves on both sides of both ends to the time window. Whether they are leaves of the log is the business
// of the walk.
func (v *verification) checkBoundaries() error {
	if want := int64(v.scope.shownEnd()-v.scope.shownBegin()) * chain.LeafSize; v.container.open(fileLeaves).Size() != want {
		v.fail(CheckFormat, fmt.Errorf("%s: %d bytes, want %d", fileLeaves, v.container.open(fileLeaves).Size(), want))
		return errStopped
	}
	s := v.scope
	for _, x := range []struct {
		index  chain.Index
		inside bool // index is the first leaf inside, not the last one outside
		edge   Instant
	}{{s.Begin - 1, false, s.From}, {s.Begin, true, s.From}, {s.End - 1, false, s.until()}, {s.End, true, s.until()}} {
		if x.index >= s.shownEnd() {
			continue // past the last leaf, as is the index before the first
		}
		leaf, _, err := v.leafAt(x.index)
		if errors.Is(err, chain.ErrLeaf) {
			continue // the walk says so
		} else if err != nil {
			return err
		}
		v.examine(CheckBoundaries, 1)
		if (Instant(leaf.Time) >= x.edge) != x.inside {
			v.failAt(CheckBoundaries, x.index, fmt.Errorf("received %s, on the wrong side of %s", Instant(leaf.Time), x.edge))
		}
	}
	v.done(CheckBoundaries)
	return nil
}

// leafAt reads one of the leaves that are shown, and its hash.
func (v *verification) leafAt(index chain.Index) (chain.Leaf, chain.Hash, error) {
	var b [chain.LeafSize]byte
	if err := readAt(v.container.open(fileLeaves), b[:], int64(index-v.scope.shownBegin())*chain.LeafSize); err != nil {
		return chain.Leaf{}, chain.Hash{}, err
	}
	leaf, err := chain.ParseLeaf(b[:])
	return leaf, chain.LeafHash(b[:]), err
}

var (
	errGenesis    = errors.New("leaf 0 is not shown, or no genesis of this log")
	errSystemKey  = errors.New("the genesis names another system key than the policy")
	errLogKey     = errors.New("the genesis names another log key than the policy")
	errNotApplied = errors.New("the genesis does not open this log")
)

// anchor holds the genesis to the policy. From here on the registry says which keys count: none, if it is the genesis of another log.
func (v *verification) anchor(e *eventv1.Event) {
	v.examine(CheckGenesis, 1)
	if err := v.open(e, e.GetSystem().GetGenesis()); err != nil {
		v.fail(CheckGenesis, err)
		return
	}
	v.checkLogKey(e.GetSystem().GetGenesis().GetLogKey())
}

// open applies the genesis, if it is this log's.
func (v *verification) open(e *eventv1.Event, g *eventv1.Genesis) error {
	switch {
	case g.GetOrigin() != v.scope.Origin || e.GetTenant() != v.scope.Tenant:
		return errGenesis
	case v.policy != nil && !bytes.Equal(g.GetSystemKey(), v.policy.SystemKey[:]):
		return errSystemKey
	}
	if err := v.registry.Apply(0, e); err != nil {
		return fmt.Errorf("%w: %w", errNotApplied, err)
	}
	key := signer.PublicKey(g.GetSystemKey())
	v.system = &key
	v.publicKeys.Store(key.ID(), key)
	return nil
}

// checkLogKey holds the log key to the policy. Without one it must at least have signed the checkpoint.
func (v *verification) checkLogKey(logKey []byte) {
	switch key, err := signer.ParsePublicKey(logKey); {
	case v.policy != nil && key != v.policy.logKey():
		v.fail(CheckGenesis, errLogKey)
	case err != nil:
		v.fail(CheckCheckpoint, err)
	case v.policy == nil:
		v.openCheckpoint(v.note, key)
	}
}

var errReplaced = errors.New("the statement is by an export key that the log had replaced")

// checkExporter holds the key of the statement to what the log says of export keys. One that the log does not know is the policy's
// business: an export of an earlier state may be by a later key.
func (v *verification) checkExporter() error {
	for _, k := range v.registry.ExportKeys() {
		if signer.KeyID(k.ID) == v.exporter && k.To != registry.Forever {
			v.failAt(CheckKey, chain.Index(k.To-1), fmt.Errorf("%w: %s", errReplaced, v.exporter))
		}
	}
	return nil
}

// checkErasures holds every claim of an erasure to the tombstones, and what is no longer kept to the expiries. A tombstone says nothing about what came after it.
func (v *verification) checkErasures() error {
	for e, c := range v.erasures {
		v.examine(CheckErasure, 1)
		t, found := v.tombstones[e.tombstone]
		hold, index, held := t.under(c)
		switch {
		case !found || t.subject != e.subject || t.generation < c.generation:
			v.failAt(CheckErasure, c.index, fmt.Errorf("record %d is no erasure of this content", e.tombstone))
		case e.tombstone <= c.last:
			v.failAt(CheckErasure, c.last, fmt.Errorf("record %d came before this content", e.tombstone))
		case held:
			v.failAt(CheckErasure, index, fmt.Errorf("record %d came while a hold on %s was in force", e.tombstone, hold))
		}
	}
	v.checkExpired()
	v.done(CheckErasure)
	return nil
}

// checkAccounts compares what the bundle says about itself with what was counted.
func (v *verification) checkAccounts() error {
	if err := errors.Join(v.checkPopulations(), v.checkControls()); err != nil {
		return err
	}
	v.emitters = v.numbering.report()
	err := v.compareJSON(fileEmitters, emittersFile{1, v.emitters})
	if err := v.account(CheckEmitters, err); err != nil {
		return err
	}
	err = v.compareJSON(fileRedactions, v.reasons.file(&v.count))
	if err == nil && v.manifest.Claims != v.count {
		err = fmt.Errorf("%s: claims %+v, counted %+v: %w", fileManifest, v.manifest.Claims, v.count, ErrRedactions)
	}
	return v.account(CheckRedactions, err)
}

func (v *verification) account(check string, err error) error {
	if err != nil && !errors.Is(err, ErrRedactions) {
		return err
	}
	v.do(check, err)
	return nil
}

// compareJSON compares a file with the encoding of what it should say.
func (v *verification) compareJSON(name string, want any) error {
	encoded, err := marshalJSON(want)
	if err != nil {
		return err
	}
	f := v.container.open(name)
	if f.Size() != int64(len(encoded)) {
		return fmt.Errorf("%s: differs from the records: %w", name, ErrRedactions)
	}
	got := make([]byte, len(encoded))
	if _, err := io.ReadFull(f, got); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if !bytes.Equal(got, encoded) {
		return fmt.Errorf("%s: differs from the records: %w", name, ErrRedactions)
	}
	return nil
}
