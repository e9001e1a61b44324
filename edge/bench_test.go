package edge_test

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// BenchmarkRecord is the way of an event into the spool: those of the whole system's benchmark, about 400 bytes with two sealed
// fields and three fingerprints.
// Nothing is delivered meanwhile.
func BenchmarkRecord(b *testing.B) {
	e := offline(b)
	ctx := b.Context()
	b.ReportAllocs()
	start := cpu(b)
	agent := workload.NewAgent(1)
	for b.Loop() {
		id, err := e.Record(ctx, agent.Next())
		if err != nil {
			b.Fatal(err)
		}
		agent.Caused(id)
	}
	report(b, start)
}

// BenchmarkAgent is what of BenchmarkRecord is the agent's.
func BenchmarkAgent(b *testing.B) {
	b.ReportAllocs()
	start := cpu(b)
	agent := workload.NewAgent(1)
	for b.Loop() {
		agent.Next()
		agent.Caused(causeOfBenchmark)
	}
	report(b, start)
}

func BenchmarkRecordParallel(b *testing.B) {
	e := offline(b)
	ctx := b.Context()
	b.SetParallelism(8)
	b.ReportAllocs()
	start := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := e.Record(ctx, sendEmail(i)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	report(b, start)
}

// report counts by the processor's time, because a machine that is shared makes the clock's useless.
func report(b *testing.B, start time.Duration) {
	b.ReportMetric(float64(b.N)/(cpu(b)-start).Seconds(), "events/core-s")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// offline is an emitter whose server is gone.
func offline(b *testing.B) *edge.Emitter {
	b.Helper()
	server := edgetest.New(b)
	e, err := edge.Open(b.Context(), edge.Config{Dir: server.Join(b, instance), SpoolMaxBytes: 1 << 40, CloseTimeout: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	server.Stop()
	b.Cleanup(func() { _ = e.Close(b.Context()) })
	return e
}

var causeOfBenchmark = event.ID{0, 1, 2, 3, 4, 5, 0x70, 7, 0x80, 9}

func sendEmail(i int) *edge.Event {
	return &edge.Event{
		Plain: &eventv1.Event{
			Run: "run-42", Principal: "user-7f3a", Trust: eventv1.Trust_TRUST_UNTRUSTED,
			Causes: []*eventv1.Cause{{
				Id: causeOfBenchmark[:], Relation: eventv1.Relation_RELATION_INPUT, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED,
			}},
			Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{
				Action: eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED, Call: "call-1", Tool: "send_email",
				Connector: "mail", Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Destination: "example.com",
			}},
		},
		Sealed: []edge.Content{
			{Path: "arguments", MediaType: "application/json", Subject: "customer-9", Value: fmt.Appendf(nil,
				`{"to":"alice@example.com","subject":"Your order %d","body":"Parcel R4K9-22X7 is on its way to you"}`, i%1000)},
			{Path: "goal", MediaType: "text/plain", Value: []byte("answer bob@example.com about the refund")},
		},
	}
}

// BenchmarkDeliver is the whole way: recorded, signed, sent over TLS, checked by a server in this process, and receipted.
func BenchmarkDeliver(b *testing.B) {
	server := edgetest.New(b)
	e, err := edge.Open(b.Context(), edge.Config{Dir: server.Join(b, instance), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close(b.Context()) }()
	b.ReportAllocs()
	start := cpu(b)
	agent := workload.NewAgent(1)
	for b.Loop() {
		if _, err := e.Record(b.Context(), agent.Next()); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	report(b, start)
}
