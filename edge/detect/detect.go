package detect

import (
	"encoding/json"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Provenance names the detector, and Version its rules.
const (
	Provenance = "provenance"
	Version    = "2"
)

// Watcher follows the runs of one emitter. It is for one goroutine.
type Watcher struct {
	runs  map[string]*run
	order []string // oldest first
}

// NewWatcher begins before the first event.
func NewWatcher() *Watcher { return &Watcher{runs: map[string]*run{}} }

// run is what the detectors keep of one run.
type run struct {
	request   request
	documents []document
	size      int // bytes of documents
	calls     map[string]*fetch
	order     []string            // of calls, oldest first
	ended     map[event.ID]string // stages of calls: what a document's cause is
}

// fetch is a call that may bring content.
type fetch struct{ pointed bool }

// document is untrusted content, in lower case.
type document struct {
	text    string
	pointed bool
	speech  [][2]int // see spoken
}

// Observe takes an event with the clear text of its sealed fields, and returns the findings about it. They lack id and time, which
// the emitter gives them.
func (w *Watcher) Observe(e *eventv1.Event, content func(path string) []byte) []*eventv1.Event {
	if e.GetRun() == "" {
		return nil
	}
	r := w.run(e.GetRun())
	switch b := e.GetBody().(type) {
	case *eventv1.Event_Identity:
		w.identity(r, e, b.Identity, content)
	case *eventv1.Event_Data:
		r.data(e, b.Data, string(content("content")))
	case *eventv1.Event_Execution:
		return r.execution(e, b.Execution, content)
	}
	return nil
}

func (w *Watcher) run(name string) *run {
	r := w.runs[name]
	if r == nil {
		if len(w.order) >= maxRuns {
			delete(w.runs, w.order[0])
			w.order = w.order[1:]
		}
		r = &run{calls: map[string]*fetch{}, ended: map[event.ID]string{}}
		w.runs[name] = r
		w.order = append(w.order, name)
	}
	return r
}

func (w *Watcher) identity(r *run, e *eventv1.Event, x *eventv1.Identity, content func(string) []byte) {
	switch x.GetAction() {
	case eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED:
		if e.GetTrust() == eventv1.Trust_TRUST_TRUSTED {
			r.request.add(string(content("goal")))
		}
	case eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED:
		delete(w.runs, e.GetRun())
		for i, name := range w.order {
			if name == e.GetRun() {
				w.order = append(w.order[:i], w.order[i+1:]...)
				break
			}
		}
	}
}

// data takes in what the run was told, or has read.
func (r *run) data(e *eventv1.Event, x *eventv1.Data, text string) {
	switch {
	case x.GetDirection() == eventv1.Direction_DIRECTION_OUT || text == "":
	case e.GetTrust() == eventv1.Trust_TRUST_TRUSTED:
		r.request.add(text)
	case e.GetTrust() == eventv1.Trust_TRUST_UNTRUSTED:
		r.read(document{text: strings.ToLower(text), pointed: r.pointed(e)})
	}
}

// pointed reports whether the user pointed at the content: a call that it came from has a value of the user's.
func (r *run) pointed(e *eventv1.Event) bool {
	for _, c := range e.GetCauses() {
		if len(c.GetId()) != len(event.ID{}) {
			continue
		}
		if f := r.calls[r.ended[event.ID(c.GetId())]]; f != nil && f.pointed {
			return true
		}
	}
	return false
}

func (r *run) read(d document) {
	if len(d.text) > maxUntrusted {
		d.text = d.text[:maxUntrusted]
	}
	d.speech = spoken(d.text)
	r.documents = append(r.documents, d)
	for r.size += len(d.text); r.size > maxUntrusted; {
		r.size -= len(r.documents[0].text)
		r.documents = r.documents[1:]
	}
}

// execution looks at a proposal, and keeps which call an event is of.
func (r *run) execution(e *eventv1.Event, x *eventv1.Execution, content func(string) []byte) []*eventv1.Event {
	if len(e.GetId()) == len(event.ID{}) {
		r.ended[event.ID(e.GetId())] = x.GetCall()
	}
	if x.GetAction() != eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED {
		return nil
	}
	values := leaves(content("arguments"))
	r.call(x.GetCall(), &fetch{pointed: r.request.names(values)})
	m := r.marks(x.GetTool(), values)
	if !m.worthy() {
		return nil
	}
	return []*eventv1.Event{finding(e, m)}
}

func (r *run) call(name string, f *fetch) {
	if r.calls[name] == nil {
		if len(r.order) >= maxCalls {
			r.forget(r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, name)
	}
	r.calls[name] = f
}

func (r *run) forget(call string) {
	delete(r.calls, call)
	for id, name := range r.ended {
		if name == call {
			delete(r.ended, id)
		}
	}
}

// finding is the event that says what was found about another.
func finding(about *eventv1.Event, m marks) *eventv1.Event {
	return &eventv1.Event{
		Version: about.GetVersion(), Tenant: about.GetTenant(), Instance: about.GetInstance(), Run: about.GetRun(), Principal: about.GetPrincipal(),
		OccurredAt: about.GetOccurredAt(), TimeBasis: about.GetTimeBasis(),
		Causes: []*eventv1.Cause{{Id: about.GetId(), Relation: eventv1.Relation_RELATION_DECISION, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED}},
		Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_CONTENT_FINDING, Source: "custody edge", Detector: Provenance, DetectorVersion: Version, Label: m.String(),
		}},
	}
}

// leaves are the texts and numbers of JSON arguments, in their order, in lower case, as far as they are JSON.
func leaves(arguments []byte) (values []string) {
	d := json.NewDecoder(strings.NewReader(string(arguments)))
	d.UseNumber()
	var open []bool // of each bracket: an object; its keys are no values
	key := false
	for len(values) < maxLeaves {
		t, err := d.Token()
		if err != nil {
			return values
		}
		object := len(open) > 0 && open[len(open)-1]
		switch x := t.(type) {
		case json.Delim:
			switch x {
			case '{', '[':
				open, key = append(open, x == '{'), x == '{'
			default:
				open = open[:len(open)-1]
				key = len(open) > 0 && open[len(open)-1]
			}
			continue
		case string:
			if !object || !key {
				values = append(values, strings.ToLower(strings.TrimSpace(x)))
			}
		case json.Number:
			values = append(values, x.String())
		}
		key = object && !key
	}
	return values
}
