package main

import (
	"context"
	"encoding/json"
	"strings"
	"os"
	"bufio"
	"sync"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/detect"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

var mu sync.Mutex
var w = bufio.NewWriterSize(os.Stdout, 1<<20)

type sink struct {
	msg  int
	run  *detect.Run
	skip bool
	call string
	out  []any
}

func (s *sink) From(m int) { s.msg = m }
func val(ev *edge.Event, p string) string {
	for _, c := range ev.Sealed { if c.Path == p { return string(c.Value) } }
	return ""
}
func (s *sink) Record(_ context.Context, ev *edge.Event) (event.ID, error) {
	p := ev.Plain
	if p.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED {
		
		s.run = &detect.Run{}
		s.skip = !ids[p.Run] && p.Tenant != "taubench-airline"
		s.out = nil
		s.run.Input(val(ev, "goal"))
	}
	if s.skip { return event.ID{}, nil }
	if x := p.GetExecution(); x != nil {
		s.call = x.Call
		if x.Action == eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED {
			c := s.run.Propose(x.Call, x.Tool, val(ev, "arguments"))
			s.out = append(s.out, map[string]any{"m": s.msg, "c": c})
		}
	}
	if x := p.GetData(); x != nil {
		if x.Action == eventv1.DataAction_DATA_ACTION_INPUT_RECEIVED { s.run.Input(val(ev, "content")) } else { s.run.Document(s.call, x.Source, val(ev, "content")) }
	}
	if p.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		b, _ := json.Marshal(map[string]any{"id": p.Run, "suite": p.Tenant, "calls": s.out})
		mu.Lock(); w.Write(b); w.WriteByte('\n'); mu.Unlock()
	}
	return event.ID{}, nil
}
func (s *sink) Close(context.Context) error { return nil }
var ids = map[string]bool{}
func main() {
	b, _ := os.ReadFile("/tmp/tune/ids.txt")
	for _, i := range strings.Fields(string(b)) { ids[i] = true }

	_, err := importer.Traces(context.Background(), os.Args[1:], importer.Options{Open: func(context.Context, event.TenantID, event.InstanceID) (importer.Sink, error) { return &sink{}, nil }})
	if err != nil { panic(err) }
	w.Flush()
}
