package contain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// maxReleased is how many released containments of a tenant are remembered: enough for a look back. The log has them all.
const maxReleased = 256

// Short names of the states.
const (
	requested    = eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED
	delivered    = eventv1.ContainmentState_CONTAINMENT_STATE_DELIVERED
	acknowledged = eventv1.ContainmentState_CONTAINMENT_STATE_ACKNOWLEDGED
	verified     = eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED
	released     = eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED
	proposed     = eventv1.ContainmentState_CONTAINMENT_STATE_PROPOSED
	intended     = eventv1.ContainmentState_CONTAINMENT_STATE_INTENDED
	unproven     = eventv1.ContainmentState_CONTAINMENT_STATE_UNPROVEN
	expiring     = eventv1.ContainmentState_CONTAINMENT_STATE_EXPIRING
)

// Who observes.
const (
	byAgent   = "agent" // the target's own word
	byGateway = "gateway"
	byProbe   = "probe"
	byCustody = "custody"
)

// ID names a containment in its tenant.
type ID string

// Path is what a step closes.
type Path string

const (
	gatePrefix      = "gate/"
	connectorPrefix = "connector/"
)

// GatePath is the gate of an emitter key.
func GatePath(key [32]byte) Path { return Path(gatePrefix + hex.EncodeToString(key[:])) }

// ConnectorPath is a connector.
func ConnectorPath(name string) Path { return Path(connectorPrefix + name) }

// DelegatePath is a credential that was derived from a connector's.
func DelegatePath(connector, delegate string) Path {
	return ConnectorPath(connector) + "/" + Path(delegate)
}

// Gate is the key of a gate's path.
func (p Path) Gate() (key [32]byte, ok bool) {
	text, ok := strings.CutPrefix(string(p), gatePrefix)
	if !ok || len(text) != hex.EncodedLen(len(key)) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(text))
	return key, err == nil
}

// Connector is the name of a connector's path, or of that of its delegate.
func (p Path) Connector() (name string, ok bool) {
	rest, ok := strings.CutPrefix(string(p), connectorPrefix)
	name, _, _ = strings.Cut(rest, "/")
	return name, ok
}

// Delegate is the name of a delegate's path; empty if it is none.
func (p Path) Delegate() string {
	rest, _ := strings.CutPrefix(string(p), connectorPrefix)
	_, delegate, _ := strings.Cut(rest, "/")
	return delegate
}

// Phase is where a containment stands as a whole.
type Phase string

// The phases.
const (
	Proposed        Phase = "proposed" // waits for a second person; nothing is stopped yet
	InForce         Phase = "in force"
	ReleaseProposed Phase = "release proposed" // in force, and its release waits for a second person
	Released        Phase = "released"
)

// Holds reports whether the containment stops anything.
func (p Phase) Holds() bool { return p == InForce || p == ReleaseProposed }

// Containment is one containment of a tenant. Times are nanoseconds since the Unix epoch, by the stream.
type Containment struct {
	ID           ID
	Target       event.Target
	Level        Level
	Phase        Phase
	Actor        string
	Second       string // who confirmed, if anybody had to
	BreakGlass   bool   // nobody was asked who had to be
	Reason       string
	RequestedAt  int64 // or proposed
	InForceAt    int64 // 0 while proposed
	Releaser     string
	ReleaseAt    int64 // released, or its release proposed
	ReleaseGlass bool  // it was released and nobody was asked who had to be
	Held         bool  // a hold on its records was placed
	Lasts        int64 // ns from InForceAt until it ends by itself; 0 is until it is released
	PagedAt      int64 // when a person was told that it is about to end; 0 is not yet
	Steps        []Step
}

// Proven reports whether every step is verified. A containment without steps closes nothing and proves nothing.
func (c *Containment) Proven() bool {
	return len(c.Steps) > 0 && !slices.ContainsFunc(c.Steps, func(s Step) bool { return s.State != verified })
}

// step finds a step by its path.
func (c *Containment) step(p Path) *Step {
	i := slices.IndexFunc(c.Steps, func(s Step) bool { return s.Path == p })
	if i < 0 {
		return nil
	}
	return &c.Steps[i]
}

// clone is a copy that shares nothing that changes.
func (c *Containment) clone() *Containment {
	other := *c
	other.Steps = slices.Clone(c.Steps)
	return &other
}

// Step is one path of a containment.
type Step struct {
	Number    uint32 // from 1
	Path      Path
	State     eventv1.ContainmentState // requested, delivered, acknowledged or verified
	ReachedAt int64                    // ns, by the stream
	Times     [verified + 1]int64      // when it first came to each state, ns, by the stream
	Evidence  string
	Observer  string
	Attempts  uint32 // calls of a connector that were begun
	Open      bool   // the last call was begun, and nothing is known of its end
	Doubt     string // why it was passed on to a person; empty if it was not
}

// State is what is in force in one tenant, and what became of it. It is not safe for concurrent use.
type State struct {
	all   []*Containment // in the order of their request
	count uint64         // of containments ever
}

// All are the containments, in the order of their request. They must not be changed.
func (s *State) All() []*Containment { return s.all }

// Find finds a containment.
func (s *State) Find(id ID) *Containment {
	i := slices.IndexFunc(s.all, func(c *Containment) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// NextID is the id of the next containment. Two requests that know the same log choose the same id and collapse into one.
func (s *State) NextID(target event.Target, level Level) ID {
	h := sha256.New()
	h.Write([]byte("custody/containment/v1\x00" + target.String() + "\x00" + string(level) + "\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, s.count))
	return ID("c-" + hex.EncodeToString(h.Sum(nil)[:6]))
}

// Apply folds in one event that the stream has at a time: of a containment, or of a hold that has its id. An event that is
// repeated, or that makes no sense where the containment stands, changes nothing.
func (s *State) Apply(at int64, x *eventv1.System) (changed bool) {
	if hold := x.GetHold(); hold != nil {
		return s.held(hold)
	}
	d := x.GetContainment()
	c := s.Find(ID(d.GetPlan()))
	switch {
	case d == nil:
		return false
	case d.GetPath() != "":
		return c != nil && c.Phase.Holds() && c.applyStep(at, d)
	case c == nil:
		return s.begin(at, x)
	}
	if changed = c.applyWhole(at, x); changed && c.Phase == Released {
		s.forget()
	}
	return changed
}

func (s *State) held(hold *eventv1.Hold) bool {
	c := s.Find(ID(hold.GetHold()))
	if c == nil || c.Held || hold.GetLifted() {
		return false
	}
	c.Held = true
	return true
}

// begin adds a containment.
func (s *State) begin(at int64, x *eventv1.System) bool {
	d := x.GetContainment()
	target, err := event.ParseTarget(d.GetTarget())
	if err != nil || d.GetPlan() == "" || d.GetLevel() == "" {
		return false
	}
	c := &Containment{
		ID: ID(d.GetPlan()), Target: target, Level: Level(d.GetLevel()), Phase: Proposed,
		Actor: x.GetActor(), Reason: x.GetReason(), BreakGlass: d.GetBreakGlass(), RequestedAt: at, Lasts: d.GetLasts(),
	}
	switch d.GetState() {
	case proposed:
	case requested:
		c.Phase, c.InForceAt, c.Second = InForce, at, d.GetSecond()
	default:
		return false
	}
	s.all = append(s.all, c)
	s.count++
	return true
}

// applyWhole moves a containment on.
func (c *Containment) applyWhole(at int64, x *eventv1.System) bool {
	d := x.GetContainment()
	switch state := d.GetState(); {
	case state == requested && c.Phase == Proposed:
		c.Phase, c.InForceAt, c.Second, c.BreakGlass = InForce, at, d.GetSecond(), d.GetBreakGlass()
	case state == proposed && (c.Phase == InForce || c.Phase == ReleaseProposed && at-c.ReleaseAt >= int64(ProposalTTL)):
		c.Phase, c.Releaser, c.ReleaseAt = ReleaseProposed, x.GetActor(), at
	case state == released && c.Phase != Released:
		c.Phase, c.Releaser, c.ReleaseAt, c.ReleaseGlass = Released, x.GetActor(), at, d.GetBreakGlass()
	case state == expiring && c.Phase.Holds() && c.Lasts > 0 && c.PagedAt == 0:
		c.PagedAt = at
	default:
		return false
	}
	return true
}

// applyStep moves a step on. A step only comes closer to being proven, except that a proof can be lost.
func (c *Containment) applyStep(at int64, d *eventv1.Containment) bool {
	s := c.step(Path(d.GetPath()))
	if s == nil {
		if d.GetState() != requested {
			return false
		}
		s := Step{Number: uint32(len(c.Steps)) + 1, Path: Path(d.GetPath()), State: requested, ReachedAt: at, Observer: byCustody}
		s.Times[requested] = at
		c.Steps = append(c.Steps, s)
		return true
	}
	switch d.GetState() {
	case intended:
		s.Attempts, s.Open = s.Attempts+1, true
		return true
	case unproven:
		return s.doubt(at, d)
	case delivered, acknowledged, verified:
		return s.raise(at, d)
	}
	return false
}

func (s *Step) raise(at int64, d *eventv1.Containment) bool {
	if d.GetState() <= s.State || d.GetState() == verified && d.GetObserver() == byAgent {
		return false
	}
	s.State, s.ReachedAt, s.Evidence, s.Observer, s.Open = d.GetState(), at, d.GetEvidence(), d.GetObserver(), false
	s.Times[s.State] = at
	if s.State == verified {
		s.Doubt = ""
	}
	return true
}

// doubt passes a step on to a person. A proof that does not hold any more is only a claim.
func (s *Step) doubt(at int64, d *eventv1.Containment) bool {
	if s.Doubt == d.GetEvidence() {
		return false
	}
	if s.State == verified {
		s.State, s.ReachedAt = acknowledged, at
	}
	s.Doubt, s.Open = d.GetEvidence(), false
	return true
}

// forget drops the oldest of too many that are released.
func (s *State) forget() {
	isReleased := func(c *Containment) bool { return c.Phase == Released }
	n := 0
	for _, c := range s.all {
		if isReleased(c) {
			n++
		}
	}
	if n > maxReleased {
		i := slices.IndexFunc(s.all, isReleased)
		s.all = slices.Delete(s.all, i, i+1)
	}
}

// Hash is SHA-256 over everything in the state.
func (s *State) Hash() [32]byte {
	b, err := json.Marshal(struct {
		All   []*Containment
		Count uint64
	}{s.all, s.count})
	if err != nil {
		panic("contain: encode state: " + err.Error()) // text, numbers and booleans only
	}
	return sha256.Sum256(b)
}
