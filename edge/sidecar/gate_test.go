package sidecar_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/edge/sidecar"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// program is a program that speaks with a sidecar line by line.
type program struct {
	t   *testing.T
	in  *bufio.Scanner
	out io.WriteCloser
	end chan error
}

// line is whatever the sidecar writes.
type line struct {
	OK        bool   `json:"ok"`
	ID        string `json:"id"`
	Field     string `json:"field"`
	Error     string `json:"error"`
	Call      string `json:"call"`
	Decision  string `json:"decision"`
	Reason    string `json:"reason"`
	Contained *[]struct{ ID, Target, Level string }
	Stop      *struct{ Call, Reason string }
}

func newProgram(t *testing.T, e *edge.Emitter) *program {
	read, theirs := io.Pipe()
	ours, write := io.Pipe()
	p := &program{t: t, in: bufio.NewScanner(read), out: write, end: make(chan error, 1)}
	go func() {
		err := sidecar.Serve(t.Context(), e, ours, theirs)
		_ = theirs.Close()
		p.end <- err
	}()
	return p
}

func (p *program) says(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.out, text+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) hears() (l line) {
	p.t.Helper()
	if !p.in.Scan() {
		p.t.Fatal("the sidecar says nothing more")
	}
	if err := json.Unmarshal(p.in.Bytes(), &l); err != nil {
		p.t.Fatalf("%s: %v", p.in.Text(), err)
	}
	return l
}

func (p *program) asks(text string) line { p.says(text); return p.hears() }

func (p *program) leaves() {
	p.t.Helper()
	_ = p.out.Close()
	if err := <-p.end; err != nil {
		p.t.Error(err)
	}
}

func question(call, tool, class string) string {
	return fmt.Sprintf(`{"ask":{"call":%q,"tool":%q,"consequence":%q},"run":"r","principal":"p","trust":"untrusted","sealed":{"arguments":"{\"to\":1}"}}`, call, tool, class)
}

func contain(server *edgetest.Server, level string) {
	server.Control(&apiv1.Control{Contained: []*apiv1.Contained{{Id: "c-1", Target: "run/acme/r", Level: level}}})
}

func story(t *testing.T, server *edgetest.Server, e *edge.Emitter) (lines []string) {
	t.Helper()
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ev := range server.Events(instance) {
		x := ev.GetExecution()
		words := []string{event.Action(ev), x.GetCall(), event.Decisions.Name(x.GetDecision()), event.Outcomes.Name(x.GetOutcome()), event.Trusts.Name(ev.GetTrust())}
		lines = append(lines, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
	}
	return lines
}

func TestAProgramAsksBeforeItActs(t *testing.T) {
	server, e := emitter(t)
	p := newProgram(t, e)
	cause := p.asks(`{"run":"r","trust":"untrusted","data":{"action":"input_received","source":"e-mail"}}`)
	allowed := p.asks(strings.Replace(question("c1", "send", "high"), `"run"`, fmt.Sprintf(`"causes":[{"id":%q,"relation":"input"}],"run"`, cause.ID), 1))
	if !allowed.OK || allowed.Decision != "allow" || allowed.Call != "c1" || allowed.ID == "" {
		t.Fatalf("asked: %+v", allowed)
	}
	if again := p.asks(question("c1", "send", "low")); again.OK || again.Field != "ask.call" {
		t.Errorf("asked again: %+v", again)
	}
	if done := p.asks(`{"done":{"call":"c1","outcome":"ok"},"sealed":{"result":"sent"}}`); !done.OK || done.ID == "" || done.Reason != "" {
		t.Errorf("done: %+v", done)
	}
	if again := p.asks(`{"done":{"call":"c1","outcome":"ok"}}`); again.OK || again.Field != "done.call" {
		t.Errorf("done again: %+v", again)
	}
	p.asks(question("c2", "send", "low"))
	if failed := p.asks(`{"done":{"call":"c2","outcome":"timeout"},"sealed":{"error":"no answer"}}`); !failed.OK {
		t.Errorf("failed: %+v", failed)
	}
	p.asks(question("c3", "send", "low"))
	p.leaves() // without a word about c3
	want := []string{
		"data.input_received untrusted",
		"execution.proposed c1 untrusted", "execution.decided c1 allow untrusted", "execution.started c1 untrusted",
		"execution.finished c1 ok untrusted", "data.document_retrieved untrusted",
		"execution.proposed c2 untrusted", "execution.decided c2 allow untrusted", "execution.started c2 untrusted", "execution.failed c2 timeout untrusted",
		"execution.proposed c3 untrusted", "execution.decided c3 allow untrusted", "execution.started c3 untrusted", "execution.failed c3 error untrusted",
	}
	if diff := cmp.Diff(want, story(t, server, e)); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	all := server.Events(instance)
	proposed := all[1]
	if got := proposed.GetCauses(); len(got) != 1 || event.ID(got[0].GetId()).String() != cause.ID || got[0].GetRelation() != eventv1.Relation_RELATION_INPUT {
		t.Errorf("causes %v", got)
	}
	if proposed.GetRun() != "r" || proposed.GetPrincipal() != "p" || server.Opened(proposed, "arguments") != `{"to":1}` || server.Opened(all[5], "result") != "sent" {
		t.Errorf("proposed %v", proposed)
	}
}

// TestAContainmentIsPushed: the program hears of it while it does something else, and the gate says that nothing runs only when the
// program says so.
func TestAContainmentIsPushed(t *testing.T) {
	server, e := emitter(t)
	p := newProgram(t, e)
	p.says(`{"watch":true}`)
	first, second := p.hears(), p.hears()
	if second.Contained == nil {
		first, second = second, first
	}
	if !first.OK || len(*second.Contained) != 0 {
		t.Fatalf("heard %+v, %+v", first, second)
	}
	p.asks(question("c1", "send", "low"))
	contain(server, "pause")
	var stop, in line
	for range 2 {
		if l := p.hears(); l.Stop != nil {
			stop = l
		} else {
			in = l
		}
	}
	if stop.Stop == nil || stop.Stop.Call != "c1" || !strings.Contains(stop.Stop.Reason, "pause of run/acme/r (c-1)") {
		t.Errorf("stop %+v", stop)
	}
	if in.Contained == nil || len(*in.Contained) != 1 || (*in.Contained)[0].Level != "pause" {
		t.Errorf("contained %+v", in)
	}
	stopping := func(n uint32) func() bool {
		return func() bool {
			all := server.Renewals()
			last := all[len(all)-1]
			return last.GetControl() == 2 && last.GetStopping() == n
		}
	}
	eventually(t, stopping(1))
	if l := p.asks(question("c2", "send", "low")); l.Decision != "block" || !strings.Contains(l.Reason, "contained") {
		t.Errorf("asked: %+v", l)
	}
	if l := p.asks(`{"done":{"call":"c1","outcome":"cancelled"}}`); !l.OK || !strings.Contains(l.Reason, "contained") {
		t.Errorf("done: %+v", l)
	}
	eventually(t, stopping(0))
	contain(server, "restrict")
	p.hears()
	if l := p.asks(question("c3", "send", "high")); l.Decision != "needs_approval" {
		t.Errorf("asked: %+v", l)
	}
	p.leaves()
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never")
		}
	}
}

func TestLinesForTheGateThatAreRefused(t *testing.T) {
	id := event.NewID(time.Now(), nil).String()
	tests := map[string]struct{ line, field string }{
		"no call":               {`{"ask":{"tool":"x"},"run":"r"}`, "ask.call"},
		"no tool":               {`{"ask":{"call":"c"},"run":"r"}`, "ask.tool"},
		"no run":                {`{"ask":{"call":"c","tool":"x"}}`, "run"},
		"more than is asked":    {`{"ask":{"call":"c","tool":"x","decision":"allow"},"run":"r"}`, "ask"},
		"two bodies":            {`{"ask":{"call":"c","tool":"x"},"run":"r","data":{"action":"input_received"}}`, "data"},
		"two verbs":             {`{"ask":{"call":"c","tool":"x"},"run":"r","done":{"call":"c"}}`, "done"},
		"a time":                {`{"ask":{"call":"c","tool":"x"},"run":"r","occurred_at":1}`, "ask"},
		"a guess":               {`{"ask":{"call":"c","tool":"x"},"run":"r","causes":[{"id":"` + id + `","relation":"input","basis":"inferred"}]}`, "causes"},
		"a cause without an id": {`{"ask":{"call":"c","tool":"x"},"run":"r","causes":[{"relation":"input"}]}`, "causes"},
		"another sealed":        {`{"ask":{"call":"c","tool":"x"},"run":"r","sealed":{"result":"1"}}`, "sealed.result"},
		"arguments not JSON":    {`{"ask":{"call":"c","tool":"x"},"run":"r","sealed":{"arguments":"to"}}`, "sealed.arguments"},
		"done without a call":   {`{"done":{"outcome":"ok"}}`, "done.call"},
		"done without outcome":  {`{"done":{"call":"c"}}`, "done.outcome"},
		"done with more":        {`{"done":{"call":"c","outcome":"ok","tool":"x"}}`, "done"},
		"done with a run":       {`{"done":{"call":"c","outcome":"ok"},"run":"r"}`, "done"},
		"done seals more":       {`{"done":{"call":"c","outcome":"ok"},"sealed":{"x":""}}`, "sealed.x"},
		"watch false":           {`{"watch":false}`, "watch"},
		"watch with more":       {`{"watch":true,"run":"r"}`, "watch"},
	}
	_, e := emitter(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := serve(t, e, test.line+"\n"); len(got) != 1 || got[0].OK || got[0].Field != test.field {
				t.Errorf("answers %+v", got)
			}
		})
	}
}
