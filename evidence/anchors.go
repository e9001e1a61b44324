package evidence

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
)

// AnchorReader is what others have said about the log of a Reader.
type AnchorReader interface {
	// Timestamp returns an RFC 3161 response over the signed note that Checkpoint returns; nil if there is none.
	Timestamp(ctx context.Context) ([]byte, error)
	// Anchors returns, in ascending order of size, earlier checkpoints that others have confirmed: the newest with at most begin
	// leaves, and those with more than begin and at most size leaves, or a selection of at most MaxAnchors of them.
	Anchors(ctx context.Context, begin, size chain.Index) ([]Anchor, error)
}

// Anchor is a checkpoint that others have confirmed.
type Anchor struct {
	Note      []byte // signed note
	Timestamp []byte // RFC 3161 response over the note; nil if there is none
}

// anchorRecord is a record of log/anchors.bin.
type anchorRecord struct {
	Anchor
	path []chain.Hash // consistency proof to the bundle's checkpoint
}

func (r *anchorRecord) append(b []byte) []byte {
	for _, part := range [][]byte{r.Note, r.Timestamp} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return appendHashes(b, r.path)
}

func parseAnchorRecord(b []byte) (r anchorRecord, err error) {
	c := cursor{b: b}
	r.Note = c.take(int(c.uint32()))
	r.Timestamp = c.take(int(c.uint32()))
	r.path = c.hashes(len(c.b) / chain.HashSize)
	if c.end() != nil || len(r.path) > maxPath || len(r.Timestamp) > timestamp.MaxResponse {
		return r, ErrRecord
	}
	return r, nil
}

// anchors writes what others have said of the log before the bundle's checkpoint.
func (x *export) anchors(ctx context.Context) error {
	stamp, err := x.reader.Timestamp(ctx)
	if err != nil {
		return fmt.Errorf("read time stamp: %w", err)
	}
	x.put(fileTimestamp, stamp)
	list, err := x.reader.Anchors(ctx, x.scope.Begin, x.scope.Size)
	if err != nil {
		return fmt.Errorf("read anchors: %w", err)
	}
	for _, a := range list {
		head, err := readHead(a.Note)
		if err != nil {
			return fmt.Errorf("read anchor: %w", err)
		}
		record := anchorRecord{Anchor: a}
		if record.path, err = chain.ProveConsistency(ctx, x.nodes, head.Size, x.scope.Size); err != nil {
			return fmt.Errorf("anchor of %d leaves: %w", head.Size, err)
		}
		if err := x.write(fileAnchors, record.append); err != nil {
			return err
		}
	}
	return nil
}

// anchored is a state of the log that somebody else vouches for.
type anchored struct {
	size  chain.Index
	from  Instant // the witnesses had seen no more than size leaves then, or later; 0 if none have said so
	until Instant // the state existed by then
	by    string  // who says so, for a person
}

// Witnessing is how many of the policy's witnesses confirm the state of the log.
type Witnessing struct {
	Confirmed int      `json:"confirmed"` // distinct witnesses
	Known     int      `json:"known"`     // to the policy
	Names     []string `json:"names"`     // of those that confirm
	Met       bool     `json:"quorum_met"`
}

// TimeStamp is one RFC 3161 time stamp, of an authority that the policy names.
type TimeStamp struct {
	Of        string  `json:"of"` // ofLog or ofExport
	At        Instant `json:"at"`
	Accuracy  int64   `json:"accuracy"` // ± ns
	Authority string  `json:"authority"`
	Qualified bool    `json:"qualified"` // false: made by an operator's own authority, and marked so

	Revocation timestamp.Revocation `json:"revocation"` // what lists of revoked certificates say
}

// What a time stamp can be of.
const (
	ofLog    = "log"    // the signed state of the log
	ofExport = "export" // the signature of whoever exported the bundle
)

var (
	errQuorum   = errors.New("too few witnesses of the policy have confirmed this state")
	errAnchorAt = errors.New("earlier states are not in ascending order, or later than the bundle's")
)

// checkWitnesses holds the cosignatures of the checkpoint to the policy's quorum.
func (v *verification) checkWitnesses() error {
	if v.policy == nil {
		v.done(CheckWitnesses)
		return nil
	}
	quorum, err := v.policy.quorum()
	if err != nil {
		return err
	}
	if quorum != nil {
		v.witnessed = witnessing(quorum, v.head.Cosignatures)
		v.examine(CheckWitnesses, uint64(v.witnessed.Known))
		if !v.witnessed.Met {
			v.fail(CheckWitnesses, fmt.Errorf("%w: %d of %d", errQuorum, v.witnessed.Confirmed, v.witnessed.Known))
		}
	}
	v.done(CheckWitnesses)
	return nil
}

// witnessing counts distinct witnesses by their keys.
func witnessing(q *signer.Quorum, list []signer.Cosignature) *Witnessing {
	keys := map[signer.PublicKey]bool{}
	for _, c := range list {
		keys[c.Key] = true
	}
	w := &Witnessing{Confirmed: q.Count(keys), Known: len(q.Witnesses), Names: []string{}, Met: q.Met(keys)}
	for _, known := range q.Witnesses {
		if keys[known.Cosigner.Key] {
			w.Names = append(w.Names, known.Name)
		}
	}
	return w
}

// checkTimestamp holds the time stamp of the checkpoint to the note and to the policy's authorities.
func (v *verification) checkTimestamp() error {
	der, err := v.container.read(fileTimestamp)
	if err != nil {
		return err
	}
	note, err := v.container.read(fileCheckpoint)
	if err != nil {
		return err
	}
	a := v.vouched(note, der, v.head)
	if a.stamp != nil {
		v.stamps = append(v.stamps, *a.stamp)
	}
	v.keepAnchor(a)
	if err := v.checkExportStamp(); err != nil {
		return err
	}
	return v.checkAnchors()
}

// checkExportStamp holds the time stamp of the export's signature, if there is one, to it.
func (v *verification) checkExportStamp() error {
	file, err := v.container.read(fileStatement)
	if err != nil {
		return err
	}
	if der, signature := statementStamp(file); der != nil {
		if stamp := v.examineStamp(der, signature, ofExport); stamp != nil {
			v.stamps = append(v.stamps, *stamp)
		}
	}
	return nil
}

// vouchedFor is a note with what others say of it.
type vouchedFor struct {
	head      signer.SignedCheckpoint
	witnessed *Witnessing
	stamp     *TimeStamp
}

// vouched reads what others say of a note whose signatures were verified. What is wrong with its time stamp is recorded.
func (v *verification) vouched(note, der []byte, head signer.SignedCheckpoint) (a vouchedFor) {
	a.head = head
	if quorum, err := v.quorum(); err == nil && quorum != nil {
		a.witnessed = witnessing(quorum, head.Cosignatures)
	}
	if len(der) > 0 {
		a.stamp = v.examineStamp(der, note, ofLog)
	}
	return a
}

// examineStamp holds a time stamp to what it is of. It returns what it says if the policy's authorities say so.
func (v *verification) examineStamp(der, message []byte, of string) *TimeStamp {
	v.examine(CheckTimestamps, 1)
	revocation := timestamp.RevocationNotChecked
	stamp, err := timestamp.Parse(der)
	if err == nil {
		revocation, err = v.trusted(stamp, message)
	}
	if err != nil {
		v.fail(CheckTimestamps, fmt.Errorf("of the %s: %w", of, err))
		return nil
	}
	if v.policy == nil || len(v.policy.TimestampRoots) == 0 {
		return nil
	}
	return &TimeStamp{of, Instant(stamp.Time.UnixNano()), int64(stamp.Accuracy), stamp.Authority, stamp.Qualified(), revocation}
}

// until is the end of the interval that the stamp states.
func (s *TimeStamp) until() Instant { return s.At + Instant(s.Accuracy) }

func (v *verification) quorum() (*signer.Quorum, error) {
	if v.policy == nil {
		return nil, nil
	}
	return v.policy.quorum()
}

// trusted holds a time stamp to its note and, if the policy names authorities, to them.
func (v *verification) trusted(stamp *timestamp.Stamp, note []byte) (timestamp.Revocation, error) {
	if v.policy == nil || len(v.policy.TimestampRoots) == 0 {
		return timestamp.RevocationNotChecked, stamp.Of(note)
	}
	roots, err := v.policy.roots()
	if err != nil {
		return timestamp.RevocationNotChecked, err
	}
	return stamp.Verify(note, roots, v.options.RevocationLists...)
}

// keepAnchor remembers the times that others give, each the safer end: a quorum has confirmed once its last witness has, and had seen
// nothing newer before its first.
func (v *verification) keepAnchor(a vouchedFor) {
	if w := a.witnessed; w != nil && w.Met && w.Confirmed > 0 {
		first, last := v.witnessTimes(a.head.Cosignatures)
		v.anchored = append(v.anchored, anchored{a.head.Size, first, last, fmt.Sprintf("%d of %d witnesses", w.Confirmed, w.Known)})
	}
	if a.stamp != nil && a.stamp.Qualified {
		v.anchored = append(v.anchored, anchored{size: a.head.Size, until: a.stamp.until(), by: "the time stamp of " + a.stamp.Authority})
	}
}

// witnessTimes are the first and the last time at which a witness of the policy has cosigned.
func (v *verification) witnessTimes(list []signer.Cosignature) (first, last Instant) {
	for _, c := range list {
		if at := instantOf(c.Seconds); !v.policy.isTimeKey(c.Key) {
			if first == 0 || at < first {
				first = at
			}
			last = max(last, at)
		}
	}
	return first, last
}

// maxSeconds is the last whole second that an Instant can tell.
const maxSeconds = 9_223_372_036

// instantOf is a time in seconds; one that no Instant can tell is the last that can.
func instantOf(seconds int64) Instant { return Instant(min(seconds, maxSeconds)) * 1e9 }

// checkAnchors holds every earlier state that is shown to the bundle's.
func (v *verification) checkAnchors() error {
	r := newRecords(v.container, fileAnchors, maxAnchorRecord)
	last, count := chain.Index(0), 0
	for {
		b, _, err := r.next(nil)
		if err == nil && b == nil {
			break
		}
		record := anchorRecord{}
		if err == nil {
			record, err = parseAnchorRecord(b)
		}
		if count++; err == nil && count > MaxAnchors {
			err = ErrRecord
		}
		if err != nil {
			return v.stop(CheckFormat, r.fail(err), ErrRecord)
		}
		if last, err = v.anchor1(&record, last); err != nil {
			v.fail(CheckAnchors, err)
		}
	}
	v.done(CheckAnchors, CheckTimestamps)
	return nil
}

// anchor1 checks one earlier state and returns its size.
func (v *verification) anchor1(r *anchorRecord, last chain.Index) (chain.Index, error) {
	v.examine(CheckAnchors, 1)
	head, err := v.openAnchor(r.Note)
	if err != nil {
		return last, err
	}
	if head.Size < last || head.Size > v.head.Size {
		return last, fmt.Errorf("%d records after %d: %w", head.Size, last, errAnchorAt)
	}
	if err := chain.VerifyConsistency(r.path, head.Size, v.head.Size, head.Root, v.head.Root); err != nil {
		return head.Size, err
	}
	v.keepAnchor(v.vouched(r.Note, r.Timestamp, head))
	return head.Size, nil
}

// openAnchor verifies the signatures of an earlier state, if there is a policy.
func (v *verification) openAnchor(note []byte) (head signer.SignedCheckpoint, err error) {
	if v.policy == nil {
		if head.Checkpoint, err = readHead(note); err == nil && head.Origin != v.scope.Origin {
			err = chain.ErrOrigin
		}
		return head, err
	}
	cosigners, err := v.policy.cosigners()
	if err != nil {
		return head, err
	}
	return signer.OpenCheckpoint(note, v.scope.Origin, v.policy.logKey(), cosigners...)
}

// parseRoots reads the certificates of a policy.
func parseRoots(list [][]byte) (roots []*x509.Certificate, err error) {
	for i, der := range list {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("time-stamp root %d: %w", i+1, err)
		}
		roots = append(roots, c)
	}
	return roots, nil
}
