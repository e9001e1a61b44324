package torture

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/stream"
)

// shortWindow is the least time for which JetStream can be told to remember message ids.
const shortWindow = 100 * time.Millisecond

// shortenWindow makes the stopped system's stream forget message ids at once.
func shortenWindow(t testing.TB, dir string) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir, JetStreamMaxStore: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the stream's server does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	events, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	config := events.CachedInfo().Config
	config.Duplicates = shortWindow
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// republish puts a message of the stream into it once more, under an id that nobody has used.
func (l *local) republish(seq uint64) {
	l.t.Helper()
	m, err := l.Node().Stream().Get(l.t.Context(), seq)
	if err == nil {
		_, _, err = l.Node().Stream().Publish(l.t.Context(), stream.Msg{
			Subject: stream.LateSubject(tenant), ID: rand.Text(), ExpectLast: l.streamed(stream.LateSubject(tenant)), Data: m.Data,
		})
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// newForgetful starts a system whose stream forgets message ids at once.
func newForgetful(t testing.TB) *local {
	l := newLocal(t)
	l.Stop()
	shortenWindow(t, filepath.Join(l.DataDir(), "stream"))
	l.Start()
	return l
}

// TestSentAgainAfterTheWindow sends old batches again when the stream has forgotten them, through the door and
// past it, before and after a restart: each has its leaves once.
func TestSentAgainAfterTheWindow(t *testing.T) {
	l := newForgetful(t)
	a := newAgent(t, l.dir).connect()
	var old []*eventv1.SignedBatch
	var places []uint64
	for _, tools := range [][]string{{"one", "two"}, {"three"}, {"four"}} {
		b := a.batch(tools...)
		places = append(places, a.accept(b).GetStreamSeq())
		old = append(old, b)
	}
	a.newEpoch()
	a.accept(a.batch("five"))
	for range 2 {
		for i, b := range old {
			before := l.streamed(stream.LateSubject(tenant))
			await(t, func() bool { // until the stream has forgotten it
				a.receipt(b)
				return l.streamed(stream.LateSubject(tenant)) > before
			})
			l.republish(places[i])
		}
		in := l.inspected()
		if own := in.ofKey(a.id.KeyID[:]); len(own) != len(old)+1 || len(in.wrongNumbers()) > 0 {
			t.Errorf("%d batches, want %d; %q", len(own), len(old)+1, in.wrongNumbers())
		}
		l.Restart()
		a.connect()
	}
}

// TestSameNumbersOtherContent: the second story under used numbers is kept beside the first, and flagged.
func TestSameNumbersOtherContent(t *testing.T) {
	l := newForgetful(t)
	a := newAgent(t, l.dir).connect()
	forged := a.batch("another story")
	genuine := a.batch("one", "two")
	a.accept(genuine)
	a.accept(a.batch("three"))
	second := a.receipt(forged)
	in := l.inspected()
	first := in.ofKey(a.id.KeyID[:])
	if len(first) != 2 || len(first[0].Events) != 2 || first[0].Verdict != chain.Accepted.String() {
		t.Errorf("the first story is kept as %+v", first)
	}
	flagged := in.wrongNumbers()
	if len(flagged) != 1 || !strings.Contains(flagged[0], chain.Equivocation.String()) ||
		!strings.HasPrefix(flagged[0], fmt.Sprintf("message %d,", second.GetStreamSeq())) {
		t.Errorf("flagged are %q", flagged)
	}
	a.accept(a.batch("and on"))
}

// newEpoch opens the next epoch behind what was sent.
func (a *agent) newEpoch() {
	a.previous = &eventv1.EpochEnd{LastSeq: a.seq, LastDigest: a.prev}
	a.epochNo, a.epoch, a.seq, a.prev = a.epochNo+1, [16]byte{byte(a.epochNo + 1)}, 0, nil
}
