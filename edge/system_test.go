package edge_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/testenv"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestTheRealSystem(t *testing.T) {
	env, dir := system(t)
	e, reported := emitter(t, dir)
	ctx, run := e.Run(t.Context(), edge.RunOptions{Principal: "user-1", Goal: "try it"})
	ctx = edge.Input(ctx, "chat", "hello bob@example.com", edge.Untrusted)
	for i := range 20 {
		options := edge.CallOptions{Result: edge.Untrusted, Consequence: edge.High}
		if _, err := edge.Call(ctx, "tool", fmt.Sprint("argument ", i), nothing, options); err != nil {
			t.Fatal(err)
		}
	}
	record(t, e, 1, 3000)
	if err := run.End(edge.OK); err != nil {
		t.Error(err)
	}
	shut(t, e)
	env.WaitCommitted()
	if len(reported.all) > 0 {
		t.Errorf("reported %v", reported.all)
	}
	if events := received(t, env); len(events) != 3000+20*5+3 {
		t.Errorf("%d events are in the stream", len(events))
	}
}

// TestKilledOnBothSides kills the recording process and the server at random moments.
func TestKilledOnBothSides(t *testing.T) {
	env, dir := system(t)
	e, _ := emitter(t, dir) // the first contact
	shut(t, e)
	next := 1
	for range 3 {
		stopped := make(chan struct{})
		time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { env.Kill(); close(stopped) })
		next = runChild(t, dir, next)
		<-stopped
		env.Start()
	}
	e, _ = emitter(t, dir)
	flush(t, e)
	shut(t, e)
	env.WaitCommitted()
	checkSequence(t, received(t, env), next-1)
}

func system(t *testing.T) (env *testenv.Env, emitterDir string) {
	t.Helper()
	env = testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", instance)
	return env, env.Enrol("acme", instance).Dir
}

// received reads what the emitters have sent from the stream, without events about the emitters themselves.
func received(t *testing.T, env *testenv.Env) (events []*eventv1.Event) {
	t.Helper()
	s := env.Node().Stream()
	state, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	messages := s.Read(1, "")
	defer messages.Close()
	for seq := uint64(0); seq < state.Last; {
		m, err := messages.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seq = m.Seq; !strings.HasPrefix(m.Subject, "custody.ev.acme.") {
			continue
		}
		batch, err := event.ParseStreamBatch(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batch.GetEvents() {
			e, err := event.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if e.GetIdentity().GetEpoch() == nil {
				events = append(events, e)
			}
		}
	}
	return events
}
