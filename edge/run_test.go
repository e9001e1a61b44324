package edge_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// agent runs a task against a server and returns what arrived.
func agent(t *testing.T, o edge.RunOptions, task func(context.Context, *edge.Run)) (*edgetest.Server, []*eventv1.Event) {
	t.Helper()
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, run := e.Run(t.Context(), o)
	task(ctx, run)
	flush(t, e)
	shut(t, e)
	return server, server.Events(instance)
}

// story writes events as lines: number, action, what it concerns, trust, and causes by number.
func story(events []*eventv1.Event) (lines []string) {
	number := make(map[string]int)
	for i, e := range events {
		number[string(e.GetId())] = i + 1
		line := fmt.Sprint(i+1, " ", event.Action(e))
		if x := e.GetExecution(); x != nil {
			line += " " + x.GetTool()
		}
		if e.GetTrust() != 0 {
			line += " " + event.Trusts.Name(e.GetTrust())
		}
		for _, c := range e.GetCauses() {
			line += fmt.Sprintf(" %s:%d", event.Relations.Name(c.GetRelation()), number[string(c.GetId())])
		}
		lines = append(lines, line)
	}
	return lines
}

func nothing(context.Context) (string, error) { return "", nil }

func TestARunTellsItsStory(t *testing.T) {
	options := edge.RunOptions{
		ID: "run-1", Principal: "user-7", OnBehalfOf: []string{"role-support"}, Workflow: "support", Goal: "answer the customer", Model: "m1",
		SystemPrompt: "be kind", Tools: []edge.Tool{{Name: "lookup", Connector: "crm", Consequence: edge.Low, Result: edge.Trusted}},
	}
	var found string
	server, events := agent(t, options, func(ctx context.Context, run *edge.Run) {
		ctx = edge.Input(ctx, "e-mail", "where is my order?", edge.Untrusted, edge.Details{Subject: "customer-9"})
		found, _ = edge.Call(ctx, "lookup", map[string]string{"order": "42"}, func(context.Context) (string, error) { return "shipped", nil })
		ctx = edge.Retrieve(ctx, "kb", "how to answer", edge.Trusted)
		if _, err := edge.Validated(ctx, "injection-scan", edge.OK, ""); err != nil {
			t.Error(err)
		}
		if _, err := edge.Call(ctx, "send_email", "bye", nothing, edge.CallOptions{Consequence: edge.High, Destination: "example.com"}); err != nil {
			t.Error(err)
		}
		if err := run.End(edge.OK); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		"1 identity.run_started",
		"2 data.input_received untrusted",
		"3 execution.proposed lookup untrusted input:2",
		"4 execution.decided lookup untrusted decision:3 input:2",
		"5 execution.started lookup untrusted decision:3 decision:4 input:2",
		"6 execution.finished lookup untrusted decision:5",
		"7 data.document_retrieved trusted decision:6 input:2",
		"8 data.document_retrieved trusted input:2",
		"9 execution.validated injection-scan untrusted input:2 retrieved:7 retrieved:8",
		"10 execution.proposed send_email checked input:2 retrieved:7 retrieved:8",
		"11 execution.decided send_email checked decision:10 input:2",
		"12 execution.started send_email checked decision:10 decision:11 input:2",
		"13 execution.finished send_email checked decision:12",
		"14 identity.run_ended",
	}
	if diff := cmp.Diff(want, story(events)); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	for i, e := range events {
		if e.GetRun() != "run-1" || e.GetRunSeq() != uint64(i+1) || e.GetPrincipal() != "user-7" || len(e.GetOnBehalfOf()) != 1 {
			t.Errorf("event %d: %v", i+1, e)
		}
	}
	opened := map[int]string{0: "goal", 1: "content", 2: "arguments", 6: "result"}
	for i, want := range map[int]string{0: "answer the customer", 1: "where is my order?", 2: `{"order":"42"}`, 6: found} {
		if got := server.Opened(events[i], opened[i]); got != want {
			t.Errorf("%s of event %d is %q, want %q", opened[i], i+1, got, want)
		}
	}
	checkDetails(t, events)
}

// checkDetails looks at fields that are set once.
func checkDetails(t *testing.T, events []*eventv1.Event) {
	t.Helper()
	prompt := sha256.Sum256([]byte("be kind"))
	if x := events[0].GetIdentity(); string(x.GetSystemPromptDigest()) != string(prompt[:]) || len(x.GetToolListDigest()) == 0 || x.GetRuntime().GetHost() == "" {
		t.Errorf("run started: %v", x)
	}
	proposed, started := events[2].GetExecution(), events[4].GetExecution()
	if proposed.GetConnector() != "crm" || proposed.GetConsequence() != edge.Low || proposed.GetCall() != started.GetCall() {
		t.Errorf("proposed %v, started %v", proposed, started)
	}
	if sealed := events[2].GetSealed()[0].GetDigest(); string(proposed.GetArgumentsDigest()) != string(sealed) ||
		string(started.GetArgumentsDigest()) != string(sealed) {
		t.Error("the stages of a call do not hold the digest of its arguments")
	}
	if end := events[len(events)-1].GetIdentity(); end.GetLastRunSeq() != uint64(len(events)) || end.GetOutcome() != edge.OK {
		t.Errorf("run ended: %v", end)
	}
}

func TestGateAndApproval(t *testing.T) {
	gate := func(r edge.Ruling) edge.Gate {
		return func(context.Context, *edge.Proposal) (edge.Ruling, error) { return r, nil }
	}
	answer := func(c edge.Consent, err error) edge.Approver {
		return func(context.Context, *edge.Proposal) (edge.Consent, error) { return c, err }
	}
	needs := gate(edge.Ruling{Decision: edge.NeedsApproval, Policy: "p/1"})
	tests := map[string]struct {
		options edge.RunOptions
		err     error
		story   []string
	}{
		"allowed": {
			edge.RunOptions{Gate: gate(edge.Ruling{Decision: edge.Allow, Policy: "p/1"})},
			nil,
			[]string{"2 execution.proposed pay", "3 execution.decided pay decision:2", "4 execution.started pay decision:2 decision:3", "5 execution.finished pay decision:4"},
		},
		"blocked": {
			edge.RunOptions{Gate: gate(edge.Ruling{Decision: edge.Deny, Policy: "p/1", Reason: "no"})},
			edge.ErrBlocked,
			[]string{"2 execution.proposed pay", "3 execution.decided pay decision:2"},
		},
		"gate fails": {
			edge.RunOptions{Gate: func(context.Context, *edge.Proposal) (edge.Ruling, error) { return edge.Ruling{}, errGate }},
			errGate,
			[]string{"2 execution.proposed pay", "3 execution.decided pay decision:2"},
		},
		"approved": {
			edge.RunOptions{Gate: needs, Approve: answer(edge.Consent{Approved: true, Approver: "boss", Shown: "pay 5?"}, nil)},
			nil,
			[]string{
				"2 execution.proposed pay", "3 execution.decided pay decision:2", "4 approval.requested decision:3", "5 approval.approved decision:4",
				"6 execution.started pay decision:2 decision:3 approval:5", "7 execution.finished pay decision:6",
			},
		},
		"rejected": {
			edge.RunOptions{Gate: needs, Approve: answer(edge.Consent{Approver: "boss", Shown: "pay 5?"}, nil)},
			edge.ErrRejected,
			[]string{"2 execution.proposed pay", "3 execution.decided pay decision:2", "4 approval.requested decision:3", "5 approval.rejected decision:4"},
		},
		"no answer": {
			edge.RunOptions{Gate: needs, Approve: answer(edge.Consent{}, context.DeadlineExceeded)},
			edge.ErrRejected,
			[]string{"2 execution.proposed pay", "3 execution.decided pay decision:2", "4 approval.requested decision:3", "5 approval.expired decision:4"},
		},
		"nobody to ask": {
			edge.RunOptions{Gate: needs},
			edge.ErrRejected,
			[]string{"2 execution.proposed pay", "3 execution.decided pay decision:2", "4 approval.requested decision:3", "5 approval.expired decision:4"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ran := false
			server, events := agent(t, test.options, func(ctx context.Context, _ *edge.Run) {
				moderate := edge.CallOptions{Consequence: edge.Moderate}
				_, err := edge.Call(ctx, "pay", 5, func(context.Context) (int, error) { ran = true; return 0, nil }, moderate)
				if !errors.Is(err, test.err) || ran != (test.err == nil) {
					t.Errorf("ran %v, error %v", ran, err)
				}
			})
			if diff := cmp.Diff(test.story, story(events)[1:]); diff != "" {
				t.Errorf("story (-want +got):\n%s", diff)
			}
			checkApproval(t, server, events)
		})
	}
}

var errGate = errors.New("gate is broken")

// checkApproval: an answer holds the digest of what was shown, and names the proposal.
func checkApproval(t *testing.T, server *edgetest.Server, events []*eventv1.Event) {
	t.Helper()
	for _, e := range events {
		x := e.GetApproval()
		if x.GetApprover() == "" {
			continue
		}
		shown := sha256.Sum256([]byte(server.Opened(e, "shown")))
		if string(x.GetShownDigest()) != string(shown[:]) || string(x.GetSubjectEvent()) != string(events[1].GetId()) {
			t.Errorf("approval %v", x)
		}
	}
}

func TestAFailedCall(t *testing.T) {
	tests := map[string]struct {
		err     error
		outcome edge.Outcome
	}{
		"error":     {errors.New("mail server says no"), edge.Failed},
		"cancelled": {context.Canceled, edge.Cancelled},
		"timed out": {fmt.Errorf("send: %w", context.DeadlineExceeded), edge.TimedOut},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server, events := agent(t, edge.RunOptions{}, func(ctx context.Context, _ *edge.Run) {
				ctx, cancel := context.WithCancel(ctx)
				_, err := edge.Call(ctx, "send", 1, func(context.Context) (int, error) { cancel(); return 0, test.err })
				if !errors.Is(err, test.err) {
					t.Errorf("got %v", err)
				}
			})
			failed := events[4]
			if event.Action(failed) != "execution.failed" || failed.GetExecution().GetOutcome() != test.outcome {
				t.Errorf("recorded %v", failed)
			}
			if got := server.Opened(failed, "error"); got != test.err.Error() {
				t.Errorf("sealed error %q", got)
			}
		})
	}
}

// TestHighConsequenceWaitsForTheReceipt: what is of high consequence does not begin while Custody gives no receipt for the
// record of its start; what is not, begins.
func TestHighConsequenceWaitsForTheReceipt(t *testing.T) {
	server := edgetest.New(t)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, run := e.Run(t.Context(), edge.RunOptions{})
	flush(t, e)
	server.Judge(func(edgetest.Batch) edgetest.Verdict { return edgetest.Verdict{Hang: true} })
	ran := map[eventv1.Consequence]bool{}
	for _, consequence := range []eventv1.Consequence{edge.Moderate, edge.High} {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := edge.Call(short, "send", 1, func(context.Context) (int, error) { ran[consequence] = true; return 0, nil }, edge.CallOptions{Consequence: consequence})
		cancel()
		if high := consequence == edge.High; ran[consequence] == high || errors.Is(err, context.DeadlineExceeded) != high {
			t.Errorf("%v: ran %v, %v", consequence, ran[consequence], err)
		}
	}
	server.Judge(func(edgetest.Batch) edgetest.Verdict { return edgetest.Verdict{} })
	server.Stop()
	server.Start()
	_ = run.End(edge.OK)
	shut(t, e)
}

// TestNothingHappensUnrecorded: a helper that could not record stops the next call.
func TestNothingHappensUnrecorded(t *testing.T) {
	ran := false
	act := func(context.Context) (int, error) { ran = true; return 0, nil }
	if _, err := edge.Call(t.Context(), "send", 1, act); !errors.Is(err, edge.ErrNoRun) || ran {
		t.Errorf("outside a run: ran %v, %v", ran, err)
	}
	agent(t, edge.RunOptions{}, func(ctx context.Context, run *edge.Run) {
		ctx = edge.Input(ctx, strings.Repeat("x", event.MaxText+1), "hello", edge.Untrusted)
		var field *event.FieldError
		if _, err := edge.Call(ctx, "send", 1, act); !errors.As(err, &field) || field.Field != "data.source" || ran {
			t.Errorf("after a failed input: ran %v, %v", ran, err)
		}
		if err := run.End(edge.OK); !errors.As(err, &field) {
			t.Errorf("end: %v", err)
		}
	})
}

// TestLongRunsKeepTheirCauses: with more content than an event may name, every document is still an ancestor of what is
// done in the end.
func TestLongRunsKeepTheirCauses(t *testing.T) {
	const documents = 150
	_, events := agent(t, edge.RunOptions{}, func(ctx context.Context, _ *edge.Run) {
		ctx = edge.Input(ctx, "chat", "read it all", edge.Trusted)
		for i := range documents {
			trust := edge.Trusted
			if i == 3 {
				trust = edge.Untrusted
			}
			ctx = edge.Retrieve(ctx, "kb", fmt.Sprint("document ", i), trust)
		}
		if _, err := edge.Call(ctx, "send", 1, nothing); err != nil {
			t.Error(err)
		}
	})
	byID := make(map[string]*eventv1.Event)
	for _, e := range events {
		byID[string(e.GetId())] = e
	}
	proposed := events[documents+2]
	ancestors := make(map[string]bool)
	var walk func(*eventv1.Event)
	walk = func(e *eventv1.Event) {
		for _, c := range e.GetCauses() {
			if !ancestors[string(c.GetId())] {
				ancestors[string(c.GetId())] = true
				walk(byID[string(c.GetId())])
			}
		}
	}
	walk(proposed)
	if event.Action(proposed) != "execution.proposed" || len(ancestors) != documents+1 || proposed.GetTrust() != edge.Untrusted {
		t.Errorf("%s has %d ancestors and trust %v, want %d", event.Action(proposed), len(ancestors), proposed.GetTrust(), documents+1)
	}
}

func TestBranchesLearnForThemselves(t *testing.T) {
	_, events := agent(t, edge.RunOptions{}, func(ctx context.Context, _ *edge.Run) {
		ctx = edge.Input(ctx, "chat", "do both", edge.Trusted)
		one, two := edge.Branch(ctx), edge.Branch(ctx)
		read := func(context.Context) (string, error) { return "from the web", nil }
		if _, err := edge.Call(one, "browse", 1, read, edge.CallOptions{Result: edge.Untrusted}); err != nil {
			t.Error(err)
		}
		if _, err := edge.Call(two, "pay", 1, nothing); err != nil {
			t.Error(err)
		}
		if _, err := edge.WriteMemory(one, "notes", "seen"); err != nil {
			t.Error(err)
		}
	})
	want := []string{"8 execution.proposed pay trusted input:2", "12 data.memory_written untrusted input:2 retrieved:7"}
	got := story(events)
	if diff := cmp.Diff(want, []string{got[7], got[11]}); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

func TestCut(t *testing.T) {
	tests := map[string]struct {
		content edge.Content
		size    int
		media   string
	}{
		"fits":                  {edge.Content{Value: make([]byte, event.MaxObject)}, event.MaxObject, ""},
		"text between runes":    {edge.Content{Value: []byte("x" + strings.Repeat("é", event.MaxObject/2))}, event.MaxObject - 1, "text/plain; charset=utf-8; cut-from=16777217"},
		"bytes":                 {edge.Content{Value: append([]byte{0xff}, make([]byte, event.MaxObject)...)}, event.MaxObject, "application/octet-stream; cut-from=16777217"},
		"media type kept":       {edge.Content{MediaType: "text/html", Value: make([]byte, 20<<20)}, event.MaxObject, "text/html; cut-from=20971520"},
		"media type unreadable": {edge.Content{MediaType: ";;", Value: make([]byte, 20<<20)}, event.MaxObject, "application/octet-stream; cut-from=20971520"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := edge.Cut(test.content)
			if len(got.Value) != test.size || got.MediaType != test.media {
				t.Errorf("%d bytes of %q, want %d of %q", len(got.Value), got.MediaType, test.size, test.media)
			}
		})
	}
}
