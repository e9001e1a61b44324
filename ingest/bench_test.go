package ingest

import (
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/internal/bench/workload"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// batchEvents is how many events a measured batch has.
const batchEvents = 256

// BenchmarkCheck is the computing on one batch of the benchmark's events, as it came off the connection, up to the stream
// message: decode, hash, verify, validate, hold openings to their commitments and fingerprints, scan, encrypt, encode.
func BenchmarkCheck(b *testing.B) {
	door, emitter := benchDoor(b, newSite(b, siteConfig{}))
	received := encodedBatch(b, emitter)
	codec, cpu := NewCodec(), cpuTime()
	b.ReportAllocs()
	for b.Loop() {
		request := new(apiv1.EmitRequest)
		if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(received)}, request); err != nil {
			b.Fatal(err)
		}
		if _, r := door.check(b.Context(), &batch{signed: request.GetBatch()}); r != nil {
			b.Fatal(r)
		}
	}
	reportPerEvent(b, cpu)
}

// BenchmarkTake is BenchmarkCheck with the stream, which leaves syncing to the operating system here, and the receipt. The
// benchmark's own making of batches is in allocations, and not in the time.
func BenchmarkTake(b *testing.B) {
	door, emitter := benchDoor(b, newSite(b, siteConfig{}))
	codec := NewCodec()
	var spent int64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		received := encodedBatch(b, emitter)
		b.StartTimer()
		began, request := cpuTime(), new(apiv1.EmitRequest)
		if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(received)}, request); err != nil {
			b.Fatal(err)
		}
		if answer := door.answer(b.Context(), request); answer.GetReceipt() == nil {
			b.Fatal(answer)
		}
		spent += cpuTime() - began
	}
	b.ReportMetric(float64(spent)/float64(b.N)/batchEvents, "cpu-ns/event")
}

// BenchmarkEmit is the whole way of batches over TLS into the stream, with the sender in the same process.
func BenchmarkEmit(b *testing.B) {
	s := newSite(b, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	emitter := benchEmitter(b, s, a)
	var spent int64
	for b.Loop() {
		b.StopTimer()
		signed, err := emitter.Batch(batchEvents)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := cpuTime()
		a.accept(signed)
		spent += cpuTime() - began
	}
	b.ReportMetric(float64(spent)/float64(b.N)/batchEvents, "cpu-ns/event")
}

// benchDoor is a session of an emitter that has just connected.
func benchDoor(b *testing.B, s *site) (*session, *workload.Emitter) {
	b.Helper()
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1")
	member, _ := s.admission.Lookup("acme", a.key.ID())
	door := &session{service: s.door, member: member, emitter: emitter{tenant: "acme", instance: "support-1", keyID: a.key.ID(), key: member.Key}}
	if err := door.open(b.Context()); err != nil {
		b.Fatal(err)
	}
	return door, benchEmitter(b, s, a)
}

func benchEmitter(b *testing.B, s *site, a *agent) *workload.Emitter {
	b.Helper()
	e := workload.NewEmitter("acme", "support-1", 1)
	e.Key = a.key
	e.UseFingerprintKey(ok(s.vault.FingerprintKey("acme"))(b))
	return e
}

// encodedBatch is the emitter's next batch as the connection has it.
func encodedBatch(b *testing.B, e *workload.Emitter) []byte {
	b.Helper()
	signed, err := e.Batch(batchEvents)
	if err != nil {
		b.Fatal(err)
	}
	return ok(protobuf.MarshalOptions{Deterministic: true}.Marshal(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Batch{Batch: signed}}))(b)
}

// reportPerEvent says what processor time an event took since cpu.
func reportPerEvent(b *testing.B, cpu int64) {
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/batchEvents, "cpu-ns/event")
}

// cpuTime is what this process has used of all processors, in nanoseconds: on a shared machine it says more than the clock.
func cpuTime() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

var _ apiv1.IngestServiceServer = (*Service)(nil)
