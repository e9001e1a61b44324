package rules

import (
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// id and print are keys of the state.
type (
	id    [16]byte
	print [event.FingerprintSize]byte
)

// state is what an engine remembers of one tenant.
type state struct {
	Next        uint64 // index of the next leaf
	Now         int64  // ns, of the last leaf
	Runs        bounded[runKey, *run]
	Instances   map[string]*instance // as many as the log has created
	Manifests   int                  // instances with a manifest
	Memories    bounded[string, memory]
	Credentials bounded[string, string] // the instance that used it first
	Bound       bounded[string, none]   // credentials that were bound, with the instance: see boundKey
	Rules       map[string]*ruleState   // by rule
	Modes       map[string]ruleMode     // by rule
}

// runKey is a run: those of two instances are two.
type runKey struct{ Instance, Run string }

// run is one task of an agent.
type run struct {
	age
	Workflow  string
	Tainted   bounded[id, id] // tainted events, and the untrusted event each comes from
	Untrusted bounded[print, id]
	Trusted   bounded[print, struct{}]
	Calls     bounded[string, call]
	Proposals bounded[id, string] // the call of each proposal, for what is found about it
	Started   uint64              // calls
	Retries   uint64
	Cost      uint64
	Source    id // the first untrusted event, zero if none
	Sensitive bool
}

// none is the value of a set.
type none struct{}

// call is one tool call and what was said of it.
type call struct {
	Tool                                 string // of the proposal
	Class, Basis                         string // of the proposal, as the manifest was then
	Permitted                            bool   // by the manifest of then
	Proposed, Decided, Allowed, Rejected bool
	Approved                             bool
	ApprovedUntil                        int64 // ns; 0 is once
	Used                                 bool  // an approval that holds once was used
	Approver                             string
	Arguments                            string // digest of the proposal, its bytes
}

// instance is one deployed agent.
type instance struct {
	age
	Manifest    bool
	Permissions []*eventv1.Permission
	Trusted     bounded[print, struct{}] // values that came from its users and its configuration in earlier runs
}

// memory is who wrote a memory last, and where its content comes from.
type memory struct {
	Instance string
	Source   id // the untrusted event, zero if none
}

func (e *Engine) newState() *state {
	return &state{
		Runs: newBounded[runKey, *run](maxRuns, &e.elsewhere), Instances: map[string]*instance{},
		Memories: newBounded[string, memory](maxMemories, &e.elsewhere), Credentials: newBounded[string, string](maxCredentials, &e.elsewhere),
		Bound: newBounded[string, none](maxCredentials, &e.elsewhere),
		Rules: map[string]*ruleState{}, Modes: map[string]ruleMode{},
	}
}

func (e *Engine) newRun() *run {
	return &run{
		age:       age{e.frozen},
		Tainted:   newBounded[id, id](maxRunEvents, &e.inRuns),
		Untrusted: newBounded[print, id](maxRunValues, &e.inRuns),
		Trusted:   newBounded[print, struct{}](maxRunValues, &e.inRuns),
		Calls:     newBounded[string, call](maxRunCalls, &e.inRuns),
		Proposals: newBounded[id, string](maxRunCalls, &e.inRuns),
	}
}

// size is how many entries a run has.
func (r *run) size() int {
	return r.Tainted.len() + r.Untrusted.len() + r.Trusted.len() + r.Calls.len() + r.Proposals.len()
}

// makeRoom forgets the oldest runs until there is room for one more, and until all together are within their bound.
func (e *Engine) makeRoom() {
	for e.state.Runs.len() >= maxRuns || e.inRuns.held > maxHeldByRuns {
		_, oldest := e.state.Runs.oldest()
		if oldest == nil {
			return
		}
		e.inRuns.held -= (*oldest).size()
		e.state.Runs.drop()
		e.latest = latest{}
	}
}

func (e *Engine) newInstance() *instance {
	return &instance{age: age{e.frozen}, Trusted: newBounded[print, struct{}](maxTrusted, &e.inInstances)}
}

// trust makes a value the instance's own. When all instances together are full, it takes the place of the instance's oldest.
func (e *Engine) trust(i *instance, p print) {
	if e.inInstances.held >= maxHeldByInstances && !i.Trusted.has(p) {
		if i.Trusted.len() == 0 {
			e.stats.Dropped++
			return
		}
		i.Trusted.drop()
	}
	i.Trusted.set(p, struct{}{})
}

// latest is the run that was asked for last: the next event is of the same most often.
type latest struct {
	key runKey
	run *run // nil if there is none
}

// runOf is the run of an event, made when it is new; nil outside a run.
func (e *Engine) runOf(x *eventv1.Event) *run {
	key := runKey{x.GetInstance(), x.GetRun()}
	if key.Run == "" {
		return nil
	}
	if e.latest.run != nil && e.latest.key == key {
		return e.latest.run
	}
	at := e.state.Runs.at(key)
	key = runKey{e.names.of(key.Instance), e.names.of(key.Run)}
	if at == nil {
		e.makeRoom()
		at = e.state.Runs.add(key, e.newRun())
	}
	e.latest = latest{key, own(e, at)}
	return e.latest.run
}

func (e *Engine) instanceOf(name string) *instance {
	i := e.state.Instances[name]
	if i == nil {
		i = e.newInstance()
		e.state.Instances[e.names.of(name)] = i
	}
	return i
}

// ownInstance is an instance to be changed.
func (e *Engine) ownInstance(name string) *instance {
	i := e.instanceOf(name)
	if owned := own(e, &i); owned != e.state.Instances[name] {
		e.state.Instances[e.names.of(name)] = owned
	}
	return i
}

// seen is what the state before a leaf says of its event.
type seen struct {
	run      *run
	instance *instance
	workflow string
	about    string // the call that it is, approves or is a finding about
	tool     string // of that call
	source   id     // the untrusted event that it comes from
	value    id     // the untrusted event that a value of it came with

	consequence, consequenceBasis, verb string
	permitted, manifest, named          bool

	tainted, taintedValue, taintedMemory, untrusted, sensitive bool
	call                                                       call
	approved, expired, selfApproved, changed                   bool
	calls, retries, cost                                       uint64
	credentialShared, credentialBound, memoryForeign           bool
	manifestWidened, manifestUnscoped                          bool
}

// look gathers what the state says of an event.
func (e *Engine) look(l *Leaf, s *seen) {
	x := l.Event
	s.instance, s.about, s.tool = e.instanceOf(x.GetInstance()), callOf(x), toolOf(x)
	r := e.runOf(x)
	if r != nil && x.GetData().GetAction() == eventv1.DataAction_DATA_ACTION_CONTENT_FINDING {
		s.finding(r, x)
	}
	s.class(r, x)
	if r != nil {
		s.ofRun(r, x, l.Time)
	}
	if c := credentialOf(x); c != "" {
		owner, known := e.state.Credentials.get(c)
		s.credentialShared = known && owner != x.GetInstance()
		s.credentialBound = e.state.Bound.has(boundKey(x, c))
	}
	if m := x.GetSystem().GetManifest(); m != nil {
		s.ofManifest(e.instanceOf(m.GetInstance()), m)
	}
	if key := x.GetData().GetMemoryKey(); key != "" {
		m, known := e.state.Memories.get(key)
		s.memoryForeign = known && m.Instance != x.GetInstance()
		reads := x.GetData().GetAction() == eventv1.DataAction_DATA_ACTION_MEMORY_READ
		if s.taintedMemory = reads && m.Source != (id{}); s.taintedMemory {
			s.tainted, s.source = true, m.Source
		}
	}
}

// finding gives what is found about a proposal the call that it is about.
func (s *seen) finding(r *run, x *eventv1.Event) {
	for _, cause := range x.GetCauses() {
		if name := r.Proposals.at(idOf(cause.GetId())); name != nil {
			c, _ := r.Calls.get(*name)
			s.about, s.tool = *name, c.Tool
			return
		}
	}
}

func (s *seen) ofRun(r *run, x *eventv1.Event, now int64) {
	s.run, s.workflow, s.untrusted, s.sensitive = r, r.Workflow, r.Source != (id{}), r.Sensitive
	s.calls, s.retries, s.cost = r.Started, r.Retries, r.Cost
	for _, cause := range x.GetCauses() {
		if source := r.Tainted.at(idOf(cause.GetId())); source != nil {
			s.tainted, s.source = true, *source
			break
		}
	}
	for _, f := range x.GetFingerprints() {
		p := print(f.GetValue())
		if source := r.Untrusted.at(p); source != nil && !r.Trusted.has(p) && !s.instance.Trusted.has(p) {
			s.taintedValue, s.value = true, *source
			break
		}
	}
	if s.about != "" {
		s.call, _ = r.Calls.get(s.about)
		s.approval(x, now)
	}
}

func (s *seen) approval(x *eventv1.Event, now int64) {
	c := &s.call
	s.expired = c.Approved && c.ApprovedUntil != 0 && now > c.ApprovedUntil
	s.approved = c.Approved && !s.expired && !(c.ApprovedUntil == 0 && c.Used)
	s.selfApproved = x.GetPrincipal() != "" && x.GetPrincipal() == approverOf(x, c)
	digest := x.GetExecution().GetArgumentsDigest()
	s.changed = c.Arguments != "" && len(digest) > 0 && string(digest) != c.Arguments
}

func approverOf(x *eventv1.Event, c *call) string {
	if a := x.GetApproval(); a != nil {
		return a.GetApprover()
	}
	return c.Approver
}

// class says what an act may lead to, as the gate sees it: the manifest's or the event's word, whichever is graver, and else the tool's
// name. What is only about a call, as an approval or a finding, has the class of its proposal.
func (s *seen) class(r *run, x *eventv1.Event) {
	s.verb, s.manifest = verbOf(s.tool), s.instance.Manifest
	if r != nil && x.GetExecution() == nil {
		if c := r.Calls.at(s.about); c != nil && c.Proposed {
			s.permitted, s.consequence, s.consequenceBasis = c.Permitted, c.Class, c.Basis
			return
		}
	}
	if s.about == "" && s.tool == "" {
		return
	}
	asked := event.CallOf(x.GetExecution())
	asked.Tool = s.tool
	permit := event.Permitted(s.instance.Permissions, asked)
	class, basis := permit.Class(x.GetExecution().GetConsequence())
	s.permitted, s.named, s.consequence, s.consequenceBasis = permit.Allowed, permit.Named, event.Consequences.Name(class), basis
	if basis == "" {
		s.consequence, s.consequenceBasis = guess(s.verb), "guessed"
	}
}

// learn takes an event into the state, after the rules have seen it.
func (e *Engine) learn(l *Leaf, s *seen) {
	x := l.Event
	if c := credentialOf(x); c != "" && !e.state.Credentials.has(c) {
		e.state.Credentials.set(c, e.names.of(x.GetInstance()))
	}
	if x.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_BOUND {
		e.state.Bound.set(boundKey(x, credentialOf(x)), none{})
	}
	if s.run != nil {
		e.learnRun(x, s)
	}
	if m := x.GetSystem().GetManifest(); m != nil {
		e.learnManifest(m)
	}
	if m := x.GetSystem().GetRule(); m != nil {
		e.learnMode(m)
	}
	if d := x.GetData(); d.GetAction() == eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN && d.GetMemoryKey() != "" {
		e.remember(d.GetMemoryKey(), memory{e.names.of(x.GetInstance()), s.source})
	}
}

// boundKey tells the same credential in two instances apart.
func boundKey(x *eventv1.Event, credential string) string {
	return x.GetInstance() + "\x00" + credential
}

func (e *Engine) remember(key string, m memory) {
	if at := e.state.Memories.at(key); at != nil {
		*at = m
		return
	}
	e.state.Memories.add(strings.Clone(key), m)
}

func (e *Engine) learnRun(x *eventv1.Event, s *seen) {
	r, own := s.run, idOf(x.GetId())
	source := s.source
	switch x.GetTrust() {
	case eventv1.Trust_TRUST_UNTRUSTED:
		if source == (id{}) {
			source = own
		}
		if r.Source == (id{}) {
			r.Source = own
		}
		for _, f := range x.GetFingerprints() {
			r.Untrusted.set(print(f.GetValue()), source)
		}
	case eventv1.Trust_TRUST_TRUSTED:
		if x.GetData() != nil {
			for _, f := range x.GetFingerprints() {
				r.Trusted.set(print(f.GetValue()), struct{}{})
			}
		}
	case eventv1.Trust_TRUST_CHECKED:
		source = id{}
	}
	if source != (id{}) {
		r.Tainted.set(own, source)
	}
	switch {
	case x.GetIdentity() != nil:
		e.learnIdentity(r, x.GetInstance(), x.GetIdentity())
	case x.GetData() != nil:
		r.Sensitive = r.Sensitive || sensitive(x.GetData())
	case x.GetExecution() != nil:
		e.learnExecution(r, own, x.GetExecution(), s)
	case x.GetApproval() != nil:
		e.learnApproval(r, x.GetApproval())
	}
	if e.inRuns.held > maxHeldByRuns {
		e.makeRoom()
	}
}

// learnIdentity names the run's workflow; at its end, what it trusted becomes the instance's own.
func (e *Engine) learnIdentity(r *run, instance string, x *eventv1.Identity) {
	switch x.GetAction() {
	case eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED:
		r.Workflow = e.names.of(x.GetWorkflow()[:min(len(x.GetWorkflow()), maxWorkflowName)])
	case eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED:
		i := e.ownInstance(instance)
		for p := range r.Trusted.all() {
			e.trust(i, p)
		}
	}
}

// sensitiveClasses are the data classes that must not leave.
var sensitiveClasses = []string{"customer", "confidential", "personal", "secret"}

func sensitive(d *eventv1.Data) bool {
	return d.GetDirection() != eventv1.Direction_DIRECTION_OUT && slices.Contains(sensitiveClasses, d.GetDataClass())
}

// callOf is what a run knows of a call, made when it is new.
func (r *run) callOf(name string) *call {
	if c := r.Calls.at(name); c != nil {
		return c
	}
	return r.Calls.add(strings.Clone(name), call{})
}

func (e *Engine) learnExecution(r *run, own id, x *eventv1.Execution, s *seen) {
	c := r.callOf(x.GetCall())
	switch x.GetAction() {
	case eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED:
		c.Proposed, c.Arguments = true, string(x.GetArgumentsDigest())
		c.Tool, c.Class, c.Basis, c.Permitted = e.names.of(x.GetTool()), s.consequence, s.consequenceBasis, s.permitted
		r.Proposals.set(own, strings.Clone(x.GetCall()))
	case eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:
		c.Decided, c.Allowed = true, x.GetDecision() == eventv1.Decision_DECISION_ALLOW
	case eventv1.ExecutionAction_EXECUTION_ACTION_STARTED:
		r.Started++
		c.Used = true
	case eventv1.ExecutionAction_EXECUTION_ACTION_RETRIED:
		r.Retries++
	}
	r.Cost += x.GetCostMicrounits()
}

func (e *Engine) learnApproval(r *run, x *eventv1.Approval) {
	c := r.callOf(x.GetCall())
	switch x.GetAction() {
	case eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED:
		c.Approved, c.Rejected, c.Used = true, false, false
		c.ApprovedUntil, c.Approver = x.GetValidUntil(), e.names.of(x.GetApprover())
	case eventv1.ApprovalAction_APPROVAL_ACTION_REJECTED:
		c.Approved, c.Rejected = false, true
	case eventv1.ApprovalAction_APPROVAL_ACTION_EXPIRED:
		c.Approved = false
	}
}

func (e *Engine) learnManifest(m *eventv1.ManifestChange) {
	i := e.ownInstance(m.GetInstance())
	if !i.Manifest {
		e.state.Manifests++
	}
	i.Manifest, i.Permissions = true, nil
	for _, p := range m.GetPermissions()[:min(len(m.GetPermissions()), event.MaxPermissions)] {
		i.Permissions = append(i.Permissions, &eventv1.Permission{ // not the event's own, which keeps its batch
			Verb: p.GetVerb(), Tool: strings.Clone(p.GetTool()), Resource: strings.Clone(p.GetResource()),
			Consequence: p.GetConsequence(), Connector: strings.Clone(p.GetConnector()),
		})
	}
}

func idOf(b []byte) (i id) {
	copy(i[:], b)
	return i
}
