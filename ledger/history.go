package ledger

import "context"

// Range asks for a batch that holds any of an emitter's sequence numbers First to Last of one epoch.
type Range struct {
	Tenant      string
	KeyID       [32]byte
	EpochNo     uint64
	First, Last uint64
	Before      uint64 // stream sequence: only messages before it count
}

// History answers from what is committed: the digest of the batch with the greatest numbers among those that
// overlap the range. Batches that got the verdict equivocation or malformed do not count. An answer that was
// once given for a range never changes.
type History interface {
	BatchOverlapping(ctx context.Context, r Range) (digest [32]byte, found bool, err error)
}

// pending holds the batches that were folded and are not committed yet, so that History need not know them.
type pending struct {
	spans map[pendingKey][]span
	order []pendingRef // in stream order
}

type pendingKey struct {
	tenant  string
	key     [32]byte
	epochNo uint64
}

type span struct {
	first, last uint64
	digest      Digest
	seq         uint64 // of the message
}

type pendingRef struct {
	key pendingKey
	seq uint64
}

func newPending() *pending { return &pending{spans: map[pendingKey][]span{}} }

func (p *pending) add(k pendingKey, s span) {
	p.spans[k] = append(p.spans[k], s)
	p.order = append(p.order, pendingRef{k, s.seq})
}

// overlapping is the span with the greatest numbers that overlaps [first, last].
func (p *pending) overlapping(k pendingKey, first, last uint64) (best span, found bool) {
	for _, s := range p.spans[k] {
		if s.first <= last && s.last >= first && (!found || s.first > best.first) {
			best, found = s, true
		}
	}
	return best, found
}

// forget drops what is committed: messages up to seq.
func (p *pending) forget(seq uint64) {
	n := 0
	for ; n < len(p.order) && p.order[n].seq <= seq; n++ {
		k := p.order[n].key
		if p.spans[k] = p.spans[k][1:]; len(p.spans[k]) == 0 {
			delete(p.spans, k)
		}
	}
	p.order = append(p.order[:0], p.order[n:]...)
}
