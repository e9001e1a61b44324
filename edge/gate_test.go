package edge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// inForce is a control with one containment.
func inForce(target, level string) *apiv1.Control {
	return &apiv1.Control{Contained: []*apiv1.Contained{{Id: "c-1", Target: target, Level: level}}}
}

// heard waits until a gate has the server's newest control in force.
func heard(t *testing.T, server *edgetest.Server, version uint64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if all := server.Renewals(); len(all) > 0 && all[len(all)-1].GetControl() == version {
			return
		}
	}
	t.Fatal("the gate does not hear")
}

func TestTheGateDecides(t *testing.T) {
	permissions := []*eventv1.Permission{
		{Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "crm.*", Consequence: edge.Low},
		{Verb: eventv1.PermissionVerb_PERMISSION_VERB_SEND, Tool: "send", Resource: "*.example", Consequence: edge.High},
		{Verb: eventv1.PermissionVerb_PERMISSION_VERB_APPROVE, Tool: "pay", Consequence: edge.Moderate},
		{Verb: eventv1.PermissionVerb_PERMISSION_VERB_TRIGGER, Tool: "*"},
	}
	manifest := func(c *apiv1.Control) *apiv1.Control {
		c.ManifestVersion, c.Permissions = 3, permissions
		return c
	}
	low, high := edge.CallOptions{Consequence: edge.Low}, edge.CallOptions{Consequence: edge.High}
	tests := map[string]struct {
		control  *apiv1.Control
		lease    time.Duration
		tool     string
		options  edge.CallOptions
		decision edge.Decision
		class    edge.Consequence // in the record of the decision's effect
		err      error
	}{
		"nothing in force":           {&apiv1.Control{}, time.Minute, "any", low, edge.Allow, edge.Low, nil},
		"in the manifest":            {manifest(&apiv1.Control{}), time.Minute, "crm.read", low, edge.Allow, edge.Low, nil},
		"not in the manifest":        {manifest(&apiv1.Control{}), time.Minute, "shell", low, edge.Deny, edge.Low, edge.ErrBlocked},
		"the manifest is stricter":   {manifest(&apiv1.Control{}), time.Minute, "send", edge.CallOptions{Consequence: edge.Low, Destination: "a.example"}, edge.Allow, edge.High, nil},
		"another destination":        {manifest(&apiv1.Control{}), time.Minute, "send", edge.CallOptions{Destination: "evil.test"}, edge.Deny, edge.High, edge.ErrBlocked},
		"the manifest wants consent": {manifest(&apiv1.Control{}), time.Minute, "pay", low, edge.NeedsApproval, edge.Moderate, edge.ErrRejected},
		"paused":                     {inForce("tenant/acme", "pause"), time.Minute, "any", low, edge.Deny, edge.Low, edge.ErrContained},
		"another is paused":          {inForce("instance/acme/other", "pause"), time.Minute, "any", low, edge.Allow, edge.Low, nil},
		"restricted, low":            {inForce("tenant/acme", "restrict"), time.Minute, "any", low, edge.Allow, edge.Low, nil},
		"restricted, high":           {inForce("tenant/acme", "restrict"), time.Minute, "any", high, edge.NeedsApproval, edge.High, edge.ErrRejected},
		"no lease, low":              {&apiv1.Control{}, 0, "any", low, edge.Allow, edge.Low, nil},
		"no lease, high":             {inForce("run/acme/another", "pause"), 0, "any", high, edge.Deny, edge.High, edge.ErrBlocked},
		"no lease, moderate":         {&apiv1.Control{ModerateNeedsLease: true, Contained: inForce("run/acme/another", "pause").Contained}, 0, "any", edge.CallOptions{Consequence: edge.Moderate}, edge.Deny, edge.Moderate, edge.ErrBlocked},
		"nobody has classified it":   {inForce("run/acme/another", "pause"), 0, "any", edge.CallOptions{}, edge.Deny, edge.High, edge.ErrBlocked},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			server.Control(test.control)
			server.Lease(test.lease)
			e, _ := emitter(t, server.Join(t, instance))
			ctx, _ := e.Run(t.Context(), edge.RunOptions{})
			ran := false
			_, err := edge.Call(ctx, test.tool, 1, func(context.Context) (int, error) { ran = true; return 0, nil }, test.options)
			if !errors.Is(err, test.err) || ran != (test.err == nil) {
				t.Errorf("ran %v, %v", ran, err)
			}
			flush(t, e)
			shut(t, e)
			decided := server.Events(instance)[2].GetExecution()
			if decided.GetDecision() != test.decision || decided.GetConsequence() != test.class || decided.GetPolicy() == "" {
				t.Errorf("recorded %v", decided)
			}
		})
	}
}

// TestLeaseCountsFromItsRequest: whatever the server thinks, the gate stops in time by its own clock.
func TestLeaseCountsFromItsRequest(t *testing.T) {
	server := edgetest.New(t)
	const ttl = 200 * time.Millisecond
	server.Lease(ttl)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{})
	high := edge.CallOptions{Consequence: edge.High}
	if _, err := edge.Call(ctx, "any", 1, nothing, high); err != nil {
		t.Fatal(err)
	}
	server.Lease(0) // from now on it lends none; what was lent runs out, or is taken back by the next answer
	time.Sleep(ttl)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := edge.Call(short, "any", 1, nothing, high); !errors.Is(err, edge.ErrBlocked) {
		t.Errorf("after the lease: %v", err)
	}
	server.Lease(time.Minute)
	if _, err := edge.Call(ctx, "any", 1, nothing, high); err != nil {
		t.Errorf("with a new lease: %v", err)
	}
	shut(t, e)
}

// TestALongLeaseMustBeSigned: what says that it lasts over a restart is taken from Custody's key alone, and for this connection.
func TestALongLeaseMustBeSigned(t *testing.T) {
	server := edgetest.New(t)
	server.Lease(2 * time.Minute)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{})
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	high := edge.CallOptions{Consequence: edge.High}
	if _, err := edge.Call(short, "any", 1, nothing, high); !errors.Is(err, edge.ErrBlocked) {
		t.Errorf("under a long lease that nobody has signed: %v", err)
	}
	server.Lease(time.Minute)
	if _, err := edge.Call(ctx, "any", 1, nothing, high); err != nil {
		t.Errorf("under a plain lease: %v", err)
	}
	shut(t, e)
}

// TestWhatRunsIsCancelledAndThenSaid: the gate says that it is closed, and how many calls have not ended; then that all have.
func TestWhatRunsIsCancelledAndThenSaid(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{ID: "r"})
	begun, ended, mayEnd := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		_, err := edge.Call(ctx, "any", 1, func(ctx context.Context) (int, error) {
			close(begun)
			<-ctx.Done()
			<-mayEnd // it takes its time
			return 0, ctx.Err()
		}, edge.CallOptions{Consequence: edge.High})
		ended <- err
	}()
	<-begun
	server.Control(inForce("run/acme/r", "quarantine"))
	heard(t, server, 2)
	all := server.Renewals()
	if last := all[len(all)-1]; last.GetStopping() != 1 || len(last.GetRunning()) != 1 || last.GetRunning()[0].GetRun() != "r" {
		t.Errorf("while it runs: %v", last)
	}
	close(mayEnd)
	if err := <-ended; !errors.Is(err, edge.ErrContained) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		all = server.Renewals()
		if last := all[len(all)-1]; last.GetControl() == 2 && last.GetStopping() == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("at the end: %v", last)
		}
	}
	shut(t, e)
}

// TestWhatCameAfterTheDecision: a containment that comes while a call is being decided and recorded holds at its start too, and counts as
// a refusal under it. Who was allowed by one of Custody's approvers goes on under a restriction.
func TestWhatCameAfterTheDecision(t *testing.T) {
	tests := map[string]struct {
		level string
		class edge.Consequence
		err   error
	}{
		"pause":             {"pause", edge.Low, edge.ErrContained},
		"restrict, high":    {"restrict", edge.High, edge.ErrContained},
		"restrict, milder":  {"restrict", edge.Moderate, nil},
		"restrict of other": {"", edge.High, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			e, _ := emitter(t, server.Join(t, instance))
			late := func(context.Context, *edge.Proposal) (edge.Ruling, error) { // runs after Custody's own decision
				if test.level == "" {
					server.Control(inForce("instance/acme/other", "restrict"))
				} else {
					server.Control(inForce("tenant/acme", test.level))
				}
				heard(t, server, 2)
				return edge.Ruling{Decision: edge.Allow}, nil
			}
			ctx, _ := e.Run(t.Context(), edge.RunOptions{Gate: late})
			ran := false
			_, err := edge.Call(ctx, "any", 1, func(context.Context) (int, error) { ran = true; return 0, nil }, edge.CallOptions{Consequence: test.class})
			if !errors.Is(err, test.err) || ran != (test.err == nil) {
				t.Errorf("ran %v, %v", ran, err)
			}
			if test.err != nil {
				refusedUnder(t, server, "c-1")
			}
			shut(t, e)
		})
	}
}

// refusedUnder waits until a gate has said that it refused a call under a containment.
func refusedUnder(t *testing.T, server *edgetest.Server, id string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, r := range server.Renewals() {
			for _, call := range r.GetRefused() {
				if call.GetContainment() == id {
					return
				}
			}
		}
	}
	t.Errorf("no refusal under %s was reported", id)
}

// TestALongNameDoesNotEndTheControlStream: what a renewal says of a call is cut between letters, so that the gate goes on to be heard.
func TestALongNameDoesNotEndTheControlStream(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{})
	tool := "x" + strings.Repeat("ü", 300)
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := edge.Call(ctx, tool, 1, func(ctx context.Context) (int, error) {
			close(begun)
			<-ctx.Done()
			return 0, ctx.Err()
		}, edge.CallOptions{Consequence: edge.High})
		ended <- err
	}()
	<-begun
	server.Control(inForce("tenant/acme", "pause"))
	heard(t, server, 2)
	if err := <-ended; !errors.Is(err, edge.ErrContained) {
		t.Errorf("ended with %v", err)
	}
	if _, err := edge.Call(ctx, tool, 1, nothing, edge.CallOptions{Consequence: edge.High}); !errors.Is(err, edge.ErrContained) {
		t.Errorf("another: %v", err)
	}
	refusedUnder(t, server, "c-1")
	shut(t, e)
}

// TestWithoutGate: who does not want the gate has none, and nothing is recorded as decided.
func TestWithoutGate(t *testing.T) {
	server := edgetest.New(t)
	server.Control(inForce("tenant/acme", "pause"))
	e, err := edge.Open(t.Context(), edge.Config{Dir: server.Join(t, instance), WithoutGate: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, _ := e.Run(t.Context(), edge.RunOptions{})
	if _, err := edge.Call(ctx, "any", 1, nothing, edge.CallOptions{Consequence: edge.Low}); err != nil {
		t.Error(err)
	}
	shut(t, e)
	if len(server.Renewals()) > 0 {
		t.Error("it watches all the same")
	}
}

// TestTheGateSaysWhyThereIsNoLease: whoever reads the agent's log learns whether to look at the network, at the server or at what is in force.
func TestTheGateSaysWhyThereIsNoLease(t *testing.T) {
	high := edge.CallOptions{Consequence: edge.High}
	tests := map[string]struct {
		lease  time.Duration
		before func(*edgetest.Server)
		says   string
	}{
		"refused":     {0, func(s *edgetest.Server) { s.Control(inForce("run/acme/another", "pause")) }, "no lease: refused by Custody"},
		"unreachable": {200 * time.Millisecond, (*edgetest.Server).Stop, "no lease: the server is unreachable since "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			server.Lease(test.lease)
			e, _ := emitter(t, server.Join(t, instance))
			ctx, _ := e.Run(t.Context(), edge.RunOptions{})
			if _, err := edge.Call(ctx, "any", 1, nothing, edge.CallOptions{Consequence: edge.Low}); err != nil { // the gate has heard
				t.Fatal(err)
			}
			test.before(server)
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				_, err := edge.Call(short, "any", 1, nothing, high)
				cancel()
				if errors.Is(err, edge.ErrBlocked) && strings.Contains(err.Error(), test.says) {
					break
				}
				if time.Now().After(end) {
					t.Fatal(err)
				}
			}
			closing, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_ = e.Close(closing) // what is not delivered waits in the spool
		})
	}
}
