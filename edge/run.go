package edge

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Outcome of a run or a call.
type Outcome = eventv1.Outcome

// Outcomes.
const (
	OK        = eventv1.Outcome_OUTCOME_OK
	Failed    = eventv1.Outcome_OUTCOME_ERROR
	Denied    = eventv1.Outcome_OUTCOME_DENIED
	Cancelled = eventv1.Outcome_OUTCOME_CANCELLED
	TimedOut  = eventv1.Outcome_OUTCOME_TIMEOUT
)

// RunOptions describe a run: one task of the agent.
type RunOptions struct {
	ID           string   // unique in the instance; empty: a new UUID
	Principal    string   // pseudonymous id of the user, role or workflow that triggered it
	OnBehalfOf   []string // the delegation chain, nearest first
	Workflow     string   // the kind of task
	Session      string   // the conversation that it belongs to
	Goal         string   // what the run is for; sealed
	Subject      string   // pseudonymous id of whom the goal is about
	Model        string
	AgentVersion string
	SystemPrompt string   // only its digest is recorded
	Tools        []Tool   // a call takes what it does not say itself from here; their digest is recorded
	Runtime      *Runtime // nil: the host's name
	Parent       event.ID // the event that delegated this run, if any
	Gate         Gate     // decides on each call; nil: nothing decides, and nothing is recorded as decided
	Approve      Approver // asked when the gate wants approval; nil: such calls are refused
}

// Runtime is where the agent runs.
type Runtime struct{ Host, Container, Image string }

// Tool is what is known of a tool before it is called.
type Tool struct {
	Name        string      `json:"name"`
	Connector   string      `json:"connector,omitempty"`
	Consequence Consequence `json:"consequence,omitempty"`
	Result      Trust       `json:"result,omitempty"`      // of its results: see CallOptions.Result
	Description string      `json:"description,omitempty"` // as the model sees it
}

// Run is one task. Its methods may be called from any goroutine.
type Run struct {
	emitter *Emitter
	id      string
	options RunOptions
	tools   map[string]*Tool
	root    *scope

	mu  sync.Mutex
	err error
}

// Run starts a run and returns the context to work with. If the start cannot be recorded, the context keeps the error.
func (e *Emitter) Run(ctx context.Context, o RunOptions) (context.Context, *Run) {
	if o.ID == "" {
		o.ID = event.NewID(time.Now(), nil).String()
	}
	r := &Run{emitter: e, id: o.ID, options: o, tools: make(map[string]*Tool, len(o.Tools))}
	for i := range o.Tools {
		r.tools[o.Tools[i].Name] = &o.Tools[i]
	}
	if e.isGated() {
		e.control.begin()
	}
	r.root = &scope{run: r}
	ctx = r.root.into(ctx)
	_, err := e.Record(ctx, r.started())
	r.root.fail(err)
	return ctx, r
}

// ID is the run's id.
func (r *Run) ID() string { return r.id }

// Err is the first error of a helper that returns only a context.
func (r *Run) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

// End records how the run ended. It also returns the first error that was kept.
func (r *Run) End(outcome Outcome) error {
	x := &eventv1.Identity{Action: eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED, Outcome: outcome}
	ctx := r.root.into(context.Background()) // a run that was cancelled is recorded all the same
	_, err := r.emitter.Record(ctx, &Event{Plain: &eventv1.Event{Body: &eventv1.Event_Identity{Identity: x}}})
	if err != nil {
		err = fmt.Errorf("end run: %w", err)
	}
	return errors.Join(err, r.Err())
}

func (r *Run) started() *Event {
	o := &r.options
	x := &eventv1.Identity{
		Action:             eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED,
		Workflow:           o.Workflow,
		Session:            o.Session,
		Model:              o.Model,
		AgentVersion:       o.AgentVersion,
		SystemPromptDigest: digestOf([]byte(o.SystemPrompt)),
		ToolListDigest:     o.toolListDigest(),
		Runtime:            o.runtime(),
	}
	ev := &Event{Plain: &eventv1.Event{Causes: o.parent(), Body: &eventv1.Event_Identity{Identity: x}}}
	if o.Goal != "" {
		ev.Sealed = []Content{Cut(Content{Path: "goal", MediaType: textType, Subject: o.Subject, Value: []byte(o.Goal)})}
	}
	return ev
}

func (o *RunOptions) parent() []*eventv1.Cause {
	if o.Parent == (event.ID{}) {
		return nil
	}
	return []*eventv1.Cause{recorded(o.Parent, eventv1.Relation_RELATION_DELEGATION)}
}

func (o *RunOptions) toolListDigest() []byte {
	if len(o.Tools) == 0 {
		return nil
	}
	list, err := json.Marshal(o.Tools)
	if err != nil {
		return nil // a Tool has nothing that cannot be encoded
	}
	return digestOf(list)
}

func digestOf(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func (o *RunOptions) runtime() *eventv1.RuntimeBoundary {
	if o.Runtime != nil {
		return &eventv1.RuntimeBoundary{Host: o.Runtime.Host, Container: o.Runtime.Container, Image: o.Runtime.Image}
	}
	host, err := os.Hostname()
	if err != nil {
		return nil
	}
	return &eventv1.RuntimeBoundary{Host: host}
}
