package evidence

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// MaxReceipts is how many receipts a bundle is held to at a time: of a busy agent's week, in about 100 MB of memory.
const MaxReceipts = 1 << 16

// ReadReceipts reads a file of receipts, as an emitter keeps them: one signer.KeptReceipt a line, the last one with its newline. The
// error is signer.ErrReceipt, and names the line.
func ReadReceipts(r io.Reader) (list []signer.KeptReceipt, err error) {
	lines := bufio.NewReaderSize(r, signer.MaxKeptReceipt+1)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return list, nil
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("read receipts: %w", err)
		case len(list) == MaxReceipts:
			return nil, fmt.Errorf("read receipts: more than %d, please split the file: %w", MaxReceipts, signer.ErrReceipt)
		}
		kept, err := signer.ParseKeptReceipt(line)
		if err != nil {
			return nil, fmt.Errorf("read receipts: line %d: %w", len(list)+1, err)
		}
		list = append(list, kept)
	}
}

// What a receipt says of the log.
const (
	ReceiptPresent   = "present"   // the log holds what it is for
	ReceiptUndecided = "undecided" // this bundle does not show whether it does
	ReceiptMissing   = "missing"   // the log does not hold it, and should
	ReceiptUnsigned  = "unsigned"  // it is none: not signed by the log's system key, or of something else
)

// Why a receipt is undecided.
const (
	BeforeRange = "before-range" // its records may stand before those of the bundle
	AfterRange  = "after-range"  // they may stand after those, or Custody had still time for them there
	NotProven   = "not-proven"   // the records of the bundle are not shown to be all of the log's
)

// Receipts are what came of holding the log to receipts.
type Receipts struct {
	Present   uint64    `json:"present"`
	Undecided uint64    `json:"undecided"`
	Missing   uint64    `json:"missing"`
	Unsigned  uint64    `json:"unsigned"`
	List      []Receipt `json:"list"` // in the order given
}

// Receipt is what came of one of them. The fields from Batch on are absent if it is unsigned.
type Receipt struct {
	Number   int           `json:"number"` // from 1, in the order given
	Result   string        `json:"result"`
	Why      string        `json:"why,omitempty"`
	Record   *chain.Index  `json:"record,omitempty"` // a record of the log that it is for
	Batch    chain.Hash    `json:"batch,omitzero"`
	Instance string        `json:"instance,omitempty"`
	KeyID    *signer.KeyID `json:"key_id,omitempty"`
	Epoch    uint64        `json:"epoch,omitempty"`
	First    uint64        `json:"first,omitempty"` // number that its producer gave to the first of its records
	Count    uint32        `json:"count,omitempty"`
	Taken    Instant       `json:"taken,omitempty"`    // when Custody took them, by its own clock
	Deadline Instant       `json:"deadline,omitempty"` // by when it promised to have them in the log
}

// promised looks for the batches of receipts among the leaves that are shown.
type promised struct {
	kept  []signer.KeptReceipt
	first map[chain.Hash]*chain.Index // by batch digest: the first leaf that was found
	last  chain.Hash                  // of the leaf before: most stand in batches
}

// newPromised expects every batch. Whether a receipt is one is seen later, when the system key is known.
func newPromised(kept []signer.KeptReceipt) *promised {
	if len(kept) == 0 {
		return nil
	}
	p := &promised{kept: kept, first: make(map[chain.Hash]*chain.Index, len(kept))}
	for i := range kept {
		p.first[event.BatchDigest(kept[i].Statement)] = nil
	}
	return p
}

// see takes a leaf.
func (p *promised) see(l *chain.Leaf) {
	if l.Batch == p.last {
		return
	}
	p.last = l.Batch
	if found, wanted := p.first[l.Batch]; wanted && (found == nil || l.Index < *found) {
		index := l.Index
		p.first[l.Batch] = &index
	}
}

func (p *promised) seeAll(leaves []chain.Leaf) {
	for i := range leaves {
		p.see(&leaves[i])
	}
}

// seeBeside takes the leaves on both sides of the range.
func (v *verification) seeBeside() error {
	for _, index := range []chain.Index{v.scope.shownBegin(), v.scope.End} {
		if index >= v.scope.shownEnd() {
			continue
		}
		leaf, _, err := v.leafAt(index)
		if err == nil {
			v.promised.see(&leaf)
		} else if !errors.Is(err, chain.ErrLeaf) {
			return err
		}
	}
	return nil
}

// checkReceipts says of every receipt whether the log keeps it.
func (v *verification) checkReceipts() error {
	if v.promised == nil {
		return nil
	}
	reach, err := v.reach()
	if err = errors.Join(err, v.seeBeside()); err != nil {
		return err
	}
	v.receipts = &Receipts{List: make([]Receipt, 0, len(v.promised.kept))}
	for i := range v.promised.kept {
		r, err := v.hold(&v.promised.kept[i], reach)
		if err != nil {
			return err
		}
		r.Number = i + 1
		v.tallyReceipt(&r)
		v.receipts.List = append(v.receipts.List, r)
	}
	v.done(CheckReceipts, CheckOmission)
	return nil
}

var (
	errOmitted      = errors.New("the log does not hold the batch, and its deadline has passed")
	errOtherBatch   = errors.New("the receipt is for another batch than the one beside it")
	errNoSystemKey  = errors.New("the log's system key is not known")
	errOtherReceipt = errors.New("the receipt is of another tenant")
)

func (v *verification) tallyReceipt(r *Receipt) {
	v.examine(CheckReceipts, 1)
	switch r.Result {
	case ReceiptPresent:
		v.receipts.Present++
	case ReceiptUndecided:
		v.receipts.Undecided++
	case ReceiptMissing:
		v.receipts.Missing++
		v.fail(CheckOmission, fmt.Errorf("receipt %d: batch %s: %w", r.Number, r.Batch, errOmitted))
	case ReceiptUnsigned:
		v.receipts.Unsigned++
		v.fail(CheckReceipts, fmt.Errorf("receipt %d: %s", r.Number, r.Why))
	}
	if r.Result == ReceiptPresent || r.Result == ReceiptMissing {
		v.examine(CheckOmission, 1)
	}
}

// hold says what came of one receipt. The error is the bundle's file's.
func (v *verification) hold(kept *signer.KeptReceipt, reach Instant) (Receipt, error) {
	promise, statement, err := v.openReceipt(kept)
	if err != nil {
		return Receipt{Result: ReceiptUnsigned, Why: err.Error()}, nil
	}
	keyID := signer.KeyID(statement.GetKeyId())
	r := Receipt{
		Batch: promise.Batch, Instance: statement.GetInstance(), KeyID: &keyID, Epoch: statement.GetEpochNo(),
		First: statement.GetFirstSeq(), Count: statement.GetCount(), Taken: Instant(promise.Time), Deadline: Instant(promise.Deadline),
	}
	if r.Record = v.promised.first[promise.Batch]; r.Record != nil {
		r.Result = ReceiptPresent
		return r, nil
	}
	after, err := v.signedWithin(statement.GetLastSeen())
	r.Result = ReceiptUndecided
	switch {
	case err != nil:
		return r, err
	case v.failed(CheckChain) || v.failed(CheckRange) || v.failed(CheckCheckpoint):
		r.Why = NotProven
	case r.Deadline >= reach:
		r.Why = AfterRange
	case !after:
		r.Why = BeforeRange
	default:
		r.Result = ReceiptMissing
	}
	return r, nil
}

// openReceipt verifies a receipt and what it is for.
func (v *verification) openReceipt(kept *signer.KeptReceipt) (signer.Receipt, *eventv1.BatchStatement, error) {
	if v.system == nil {
		return signer.Receipt{}, nil, errNoSystemKey
	}
	key, err := signer.NoteVerifier(v.scope.Origin, *v.system)
	if err != nil {
		return signer.Receipt{}, nil, err
	}
	promise, err := signer.OpenReceipt([]byte(kept.Note), key)
	if err != nil {
		return signer.Receipt{}, nil, err
	}
	statement, err := event.ParseStatement(kept.Statement)
	switch {
	case err != nil:
		return promise, nil, err
	case promise.Batch != event.BatchDigest(kept.Statement):
		return promise, nil, errOtherBatch
	case promise.Origin != v.scope.Origin || statement.GetTenant() != v.scope.Tenant:
		return promise, nil, errOtherReceipt
	}
	return promise, statement, nil
}

// reach is a time, by the log's clock, before which everything that the log held stands before the end of what is shown: that of the last
// leaf or, where the log ends there, that of the newest signature which the policy accepts under its state.
func (v *verification) reach() (at Instant, err error) {
	if v.scope.shownEnd() > v.scope.shownBegin() {
		leaf, _, err := v.leafAt(v.scope.shownEnd() - 1)
		if err != nil && !errors.Is(err, chain.ErrLeaf) {
			return 0, err
		}
		at = Instant(leaf.Time)
	}
	if v.scope.shownEnd() < v.scope.Size {
		return at, nil
	}
	for _, c := range v.head.Cosignatures {
		at = max(at, instantOf(c.Seconds))
	}
	return at, nil
}

// signedWithin reports whether a batch cannot stand before the leaves that are shown: they begin with the log, or its producer knew one of
// them, by its hash, when it signed.
func (v *verification) signedWithin(seen *eventv1.LastSeen) (bool, error) {
	index := chain.Index(seen.GetIndex())
	switch {
	case v.scope.shownBegin() == 0:
		return true, nil
	case index < v.scope.shownBegin() || index >= v.scope.shownEnd(): // also where none is named
		return false, nil
	}
	_, hash, err := v.leafAt(index)
	if err != nil && !errors.Is(err, chain.ErrLeaf) {
		return false, err
	}
	return err == nil && hash == chain.Hash(seen.GetLeafHash()), nil
}

// receipts says to a person what came of the receipts.
func (v *Verdict) receipts(p *page) {
	if v.Receipts == nil {
		return
	}
	p.section("RECEIPTS")
	for _, s := range []said{
		{v.Receipts.Present, "kept: the log holds the records that they are for"},
		{v.Receipts.Undecided, "of which these records do not show whether the log keeps them"},
		{v.Receipts.Missing, "broken: the log does not hold the records that they are for"},
		{v.Receipts.Unsigned, "no receipts of this log: they are not signed with its key, or for something else"},
	} {
		if s.count > 0 {
			p.item("%s %s", count(s.count, "receipt", "receipts"), s.what)
		}
	}
	lines := 0
	for i := range v.Receipts.List {
		text := v.Receipts.List[i].text()
		if text == "" {
			continue
		}
		if lines++; lines > maxLines {
			p.item("and others")
			break
		}
		p.item("%s", text)
	}
}

// text says what is remarkable about a receipt.
func (r *Receipt) text() string {
	if r.Result == ReceiptUnsigned {
		return fmt.Sprintf("receipt %d: not a receipt of this log", r.Number)
	}
	of := fmt.Sprintf("receipt %d, numbers %d to %d of %s, taken %s: ", r.Number, r.First, r.First+uint64(r.Count)-1,
		event.Escape(r.Instance), instantText(r.Taken))
	switch {
	case r.Result == ReceiptMissing:
		return of + "MISSING, promised until " + instantText(r.Deadline)
	case r.Why == BeforeRange:
		return of + "may stand before the period"
	case r.Why == AfterRange:
		return of + "promised until " + instantText(r.Deadline) + ", and these records do not reach so far"
	case r.Why == NotProven:
		return of + "nothing can be said, see above"
	}
	return ""
}
