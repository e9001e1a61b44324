package torture

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/ledger"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// tenant is the one that everything happens in.
const tenant = "acme"

// audit is everything that the log of the tenant holds, as readers see it, and what check says of it.
type audit struct {
	Failed    string // why there is no audit
	Committed uint64
	Problems  []string // of check, over all tenants
	Leaves    uint64   // rows, counted by the store
	Rows, IDs uint64   // events and distinct ids, counted by the store
	Batches   []batch  // in the order of the log
}

// batch is one message that got leaves.
type batch struct {
	StreamSeq uint64
	Key       string
	Digest    string
	Epoch     string
	EpochNo   uint64
	First     uint64
	Prev      string
	Named     string // the end of the epoch before, as the statement names it
	Verdict   string // of its first leaf
	Events    []seen
}

// seen is one event.
type seen struct{ ID, Note string }

// last is the batch's last number.
func (b *batch) last() uint64 { return b.First + uint64(len(b.Events)) - 1 }

// inspect waits until everything in the stream is committed, and audits it.
func inspect(ctx context.Context, n *node.Node) audit {
	a := new(audit)
	for _, step := range []func(context.Context, *node.Node) error{a.catchUp, a.check, a.read, a.count} {
		if err := step(ctx, n); err != nil {
			a.Failed = fmt.Sprintf("%v; ledger %+v", err, n.Ledger().Status())
			break
		}
	}
	return *a
}

func (a *audit) catchUp(ctx context.Context, n *node.Node) error {
	state, err := n.Stream().State(ctx)
	if err != nil {
		return err
	}
	a.Committed = state.Last
	return n.Ledger().WaitCommitted(ctx, state.Last)
}

func (a *audit) check(ctx context.Context, n *node.Node) error {
	end, err := n.Ledger().Check(ctx, nil, func(p ledger.Progress) {
		if p.Problem != nil {
			a.Problems = append(a.Problems, p.Problem.String())
		}
	})
	if err == nil && end.Events != end.TotalEvents {
		a.Problems = append(a.Problems, fmt.Sprintf("checked %d of %d events", end.Events, end.TotalEvents))
	}
	return err
}

func (a *audit) read(ctx context.Context, n *node.Node) error {
	for m, err := range n.Store().Messages(ctx, tenant, 0) {
		if err != nil {
			return err
		}
		b, err := batchOf(m)
		if err != nil {
			return fmt.Errorf("message %d: %w", m.StreamSeq, err)
		}
		a.Batches = append(a.Batches, b)
	}
	return nil
}

func batchOf(m *store.Stored) (batch, error) {
	leaf, err := chain.ParseLeaf(m.Leaves[0])
	b := batch{StreamSeq: m.StreamSeq, Verdict: leaf.Verdict.String(), Digest: hex.EncodeToString(m.BatchDigest[:])}
	if err != nil || m.Batch == nil {
		return b, err
	}
	st, err := event.ParseStatement(m.Batch.GetStatement())
	if err != nil {
		return b, err
	}
	b.Key, b.Epoch, b.EpochNo, b.First = hex.EncodeToString(st.GetKeyId()), hex.EncodeToString(st.GetEpoch()), st.GetEpochNo(), st.GetFirstSeq()
	b.Prev, b.Named = hex.EncodeToString(st.GetPrevBatch()), endName(st.GetPreviousEpoch().GetLastSeq(), hex.EncodeToString(st.GetPreviousEpoch().GetLastDigest()))
	for _, encoded := range m.Batch.GetEvents() {
		e, err := event.Parse(encoded)
		if err != nil {
			return b, err
		}
		b.Events = append(b.Events, seenOf(e))
	}
	return b, nil
}

func seenOf(e *eventv1.Event) seen {
	return seen{hex.EncodeToString(e.GetId()), e.GetData().GetResource()}
}

func endName(seq uint64, digest string) string { return fmt.Sprint(seq, " ", digest) }

// count lets the store itself count.
func (a *audit) count(ctx context.Context, n *node.Node) error {
	query := strings.ReplaceAll(`SELECT count(), uniqExact(id), (SELECT count() FROM db.leaves WHERE tenant = {t:String} AND stream_seq <= {head:UInt64})
		FROM db.events WHERE tenant = {t:String} AND stream_seq <= {head:UInt64}`, "db.", n.Store().Database()+".")
	return n.Store().Conn().QueryRow(ctx, query, clickhouse.Named("t", tenant), clickhouse.Named("head", fmt.Sprint(a.Committed))).
		Scan(&a.Rows, &a.IDs, &a.Leaves)
}

// positions counts each event.
func (a *audit) positions() map[string]int {
	count := make(map[string]int)
	for _, b := range a.Batches {
		for _, e := range b.Events {
			count[e.ID]++
		}
	}
	return count
}

// ofKey are one key's batches.
func (a *audit) ofKey(key []byte) (own []batch) {
	name := hex.EncodeToString(key)
	for _, b := range a.Batches {
		if b.Key == name {
			own = append(own, b)
		}
	}
	return own
}

// wrongNumbers says where a key's batches do not follow each other.
func (a *audit) wrongNumbers() (wrong []string) {
	newest := make(map[string]*batch)
	for i := range a.Batches {
		b := &a.Batches[i]
		if why := b.follows(newest[b.Key]); why != "" {
			wrong = append(wrong, fmt.Sprintf("message %d, key %.8s, epoch %d, %d to %d: %s", b.StreamSeq, b.Key, b.EpochNo, b.First, b.last(), why))
		}
		newest[b.Key] = b
	}
	return wrong
}

// follows says why a batch does not continue the one before it under the same key; nil is none.
func (b *batch) follows(before *batch) string {
	switch {
	case b.Verdict != chain.Accepted.String():
		return "is " + b.Verdict
	case before == nil && (b.EpochNo != 1 || b.First != 1):
		return "is the first"
	case before == nil:
		return ""
	case b.EpochNo == before.EpochNo && (b.Epoch != before.Epoch || b.First != before.last()+1 || b.Prev != before.Digest):
		return fmt.Sprintf("does not continue %d", before.last())
	case b.EpochNo == before.EpochNo:
		return ""
	case b.EpochNo != before.EpochNo+1 || b.First != 1 || b.Named != endName(before.last(), before.Digest):
		return fmt.Sprintf("does not follow epoch %d, which ended with %d", before.EpochNo, before.last())
	}
	return ""
}
