package evidence

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// numberedAs is a batch of one emitter: numbers first to last of an epoch.
func numberedAs(epoch, first, last uint64, verdict chain.Verdict, edits ...func(*numbered)) *numbered {
	n := &numbered{
		statement: &eventv1.BatchStatement{
			KeyId: make([]byte, 32), Instance: "support-1", EpochNo: epoch, Epoch: []byte{byte(epoch)}, FirstSeq: first, Count: uint32(last - first + 1),
		},
		digest: batchDigest(epoch, last), verdict: verdict,
	}
	if first > 1 {
		before := batchDigest(epoch, first-1)
		n.statement.PrevBatch = before[:]
	}
	for _, edit := range edits {
		edit(n)
	}
	return n
}

// batchDigest is that of the batch with the last number of an epoch.
func batchDigest(epoch, last uint64) chain.Hash { return chain.Hash{byte(epoch), byte(last)} }

// after names the end of the epoch before.
func after(last uint64, digest chain.Hash) func(*numbered) {
	return func(n *numbered) {
		n.statement.PreviousEpoch = &eventv1.EpochEnd{LastSeq: last, LastDigest: digest[:]}
	}
}

func isCut(n *numbered) { n.cut = true }

// follower is the first batch of the second epoch, which names the end of the first: number 5.
func follower(verdict chain.Verdict) *numbered {
	return numberedAs(2, 1, 1, verdict, after(5, batchDigest(1, 5)))
}

// What a numbering makes of batches, one after the other. The first five numbers were accepted before.
func TestNumbering(t *testing.T) {
	const yes = chain.Accepted
	other := chain.Hash{99}
	for name, test := range map[string]struct {
		batch *numbered
		want  error
		ends  string   // of the first epoch
		gaps  []span   // that are missing in the first epoch
		more  []span   // in the second
		skips bool     // epochs are missing
		late  uint64   // events
		not   position // the place that it has, if it is not follows
	}{
		"the next":                        {batch: numberedAs(1, 6, 7, yes)},
		"the next, held":                  {batch: numberedAs(1, 6, 7, chain.Held)},
		"the next, as a gap":              {batch: numberedAs(1, 6, 7, chain.Gap), want: errNoGap},
		"the next, late":                  {batch: numberedAs(1, 6, 7, chain.Late), want: errNotLate},
		"the next, as another story":      {batch: numberedAs(1, 6, 7, chain.Equivocation), want: errNoReason},
		"later ones":                      {batch: numberedAs(1, 8, 9, chain.Gap), gaps: []span{{6, 7}}, not: leavesGap},
		"later ones, accepted":            {batch: numberedAs(1, 8, 9, yes), want: errNotGap, gaps: []span{{6, 7}}, not: leavesGap},
		"later ones, cut":                 {batch: numberedAs(1, 8, 9, yes, isCut), gaps: []span{{6, 7}}, not: leavesGap},
		"later ones, with no key":         {batch: numberedAs(1, 8, 9, chain.KeyInvalid), gaps: []span{{6, 7}}, not: leavesGap},
		"later ones, as another story":    {batch: numberedAs(1, 8, 9, chain.Equivocation), want: errNoReason, not: leavesGap},
		"the same":                        {batch: numberedAs(1, 1, 5, yes), want: errDuplicate, not: isHead},
		"used ones":                       {batch: numberedAs(1, 2, 3, chain.Late), want: errReused, late: 2, not: before},
		"used ones, as another story":     {batch: numberedAs(1, 2, 3, chain.Equivocation), not: before},
		"of an epoch before":              {batch: numberedAs(0, 2, 3, chain.Late), late: 2, not: before},
		"of an epoch before, with no key": {batch: numberedAs(0, 2, 3, chain.KeyInvalid), late: 2, not: before},
		"of an epoch before, accepted":    {batch: numberedAs(0, 2, 3, yes), want: errNotLate, late: 2, not: before},
		"of another history":              {batch: numberedAs(1, 6, 7, yes, func(n *numbered) { n.statement.PrevBatch = other[:] }), want: errConflict, not: conflicts},
		"of an epoch of that number":      {batch: numberedAs(1, 6, 7, yes, func(n *numbered) { n.statement.Epoch = other[:] }), want: errConflict, not: conflicts},
		"an epoch":                        {batch: follower(yes), ends: endSuccessor},
		"an epoch, from its third":        {batch: numberedAs(2, 3, 3, chain.Gap, after(5, batchDigest(1, 5))), ends: endSuccessor, more: []span{{1, 2}}, not: leavesGap},
		"an epoch after nothing":          {batch: numberedAs(2, 1, 1, chain.Gap), ends: endOpen, skips: true, not: leavesGap},
		"an epoch after another end":      {batch: numberedAs(2, 1, 1, chain.Gap, after(5, other)), ends: endOpen, skips: true, not: leavesGap},
		"an epoch after an earlier end":   {batch: numberedAs(2, 1, 1, chain.Gap, after(3, batchDigest(1, 5))), ends: endOpen, skips: true, not: leavesGap},
		"an epoch after a later end":      {batch: numberedAs(2, 1, 1, chain.Gap, after(7, other)), ends: endOpen, gaps: []span{{6, 7}}, not: leavesGap},
		"the epoch after the next":        {batch: numberedAs(3, 1, 1, chain.Gap, after(5, batchDigest(1, 5))), ends: endOpen, skips: true, not: leavesGap},
		"the one after, after more":       {batch: numberedAs(3, 1, 1, chain.Gap, after(7, other)), ends: endOpen, skips: true, not: leavesGap},
	} {
		nu := newNumbering()
		if err := nu.add(numberedAs(1, 1, 5, yes)); err != nil {
			t.Fatal(err)
		}
		e := nu.of(test.batch)
		if test.not == unplaced {
			test.not = follows
		}
		if at := e.place(test.batch); at != test.not {
			t.Errorf("%s: place %d, want %d", name, at, test.not)
		}
		if err := nu.add(test.batch); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		first, more := e.epochs[0], []span(nil)
		if len(e.epochs) > 1 {
			more = e.epochs[1].missing()
		}
		if diff := cmp.Diff(test.gaps, first.missing(), cmp.AllowUnexported(span{})) + cmp.Diff(test.more, more, cmp.AllowUnexported(span{})); diff != "" {
			t.Errorf("%s: missing: %s", name, diff)
		}
		if first.ends != test.ends || e.skipped != test.skips || e.late != test.late {
			t.Errorf("%s: ends %q, skipped %t, %d late", name, first.ends, e.skipped, e.late)
		}
	}
}

// Epochs that were left out stay left out, whatever follows.
func TestSkippedForGood(t *testing.T) {
	nu := newNumbering()
	for _, n := range []*numbered{numberedAs(1, 1, 5, chain.Accepted), numberedAs(3, 1, 1, chain.Gap), numberedAs(4, 1, 1, chain.Accepted, after(1, batchDigest(3, 1)))} {
		if err := nu.add(n); err != nil {
			t.Fatal(err)
		}
	}
	if r := nu.report(); len(r) != 1 || !r[0].Skipped {
		t.Errorf("%+v", r)
	}
}

// How a numbering begins, and what is known of it that is before the range.
func TestBeginnings(t *testing.T) {
	for name, test := range map[string]struct {
		known, batch *numbered
		want         string
		skips        bool
	}{
		"the first":               {nil, numberedAs(1, 1, 2, chain.Accepted), beginFirst, false},
		"the first, late":         {nil, numberedAs(1, 1, 2, chain.Late), beginClaimed, false},
		"a later one":             {nil, numberedAs(1, 3, 4, chain.Accepted), beginClaimed, false},
		"a later one, as a gap":   {nil, numberedAs(1, 3, 4, chain.Gap), beginFirst, false},
		"a later epoch":           {nil, numberedAs(2, 1, 2, chain.Accepted), beginClaimed, false},
		"a later epoch, as a gap": {nil, numberedAs(2, 1, 2, chain.Gap), beginClaimed, true},
		"the next":                {numberedAs(1, 1, 5, chain.Accepted), numberedAs(1, 6, 7, chain.Accepted), beginProven, false},
		"an epoch":                {numberedAs(1, 1, 5, chain.Accepted), follower(chain.Accepted), beginProven, false},
		"an epoch after more":     {numberedAs(1, 1, 5, chain.Accepted), numberedAs(2, 1, 1, chain.Gap, after(7, chain.Hash{})), beginProven, true},
	} {
		nu := newNumbering()
		if test.known != nil {
			nu.known(test.known)
		}
		if r := nu.report(); len(r) != 0 {
			t.Errorf("%s: reported before the range: %+v", name, r)
		}
		if err := nu.add(test.batch); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		nu.of(test.batch).finish(nil)
		if r := nu.report()[0]; r.Begins != test.want || r.Skipped != test.skips {
			t.Errorf("%s: begins %q, skipped %t", name, r.Begins, r.Skipped)
		}
	}
}

// How the last epoch ends.
func TestEnds(t *testing.T) {
	for name, test := range map[string]struct {
		next *numbered
		want string
	}{
		"nothing":            {nil, endOpen},
		"the next":           {numberedAs(1, 6, 6, chain.Accepted), endContinued},
		"the next, held":     {numberedAs(1, 6, 6, chain.Held), endContinued},
		"with no key":        {numberedAs(1, 6, 6, chain.KeyInvalid), endOpen},
		"after a gap":        {numberedAs(1, 7, 7, chain.Gap), endOpen},
		"later, and no gap":  {numberedAs(1, 7, 7, chain.Accepted), endOpen},
		"of another epoch":   {follower(chain.Accepted), endSuccessor},
		"after another end":  {numberedAs(2, 1, 1, chain.Accepted, after(4, batchDigest(1, 5))), endOpen},
		"after another text": {numberedAs(2, 1, 1, chain.Accepted, after(5, batchDigest(1, 4))), endOpen},
	} {
		nu := newNumbering()
		if err := nu.add(numberedAs(1, 1, 5, chain.Accepted)); err != nil {
			t.Fatal(err)
		}
		e := nu.of(numberedAs(1, 1, 5, chain.Accepted))
		if e.finish(test.next); e.newest().ends != test.want {
			t.Errorf("%s: %q, want %q", name, e.newest().ends, test.want)
		}
	}
}
