package event

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Names are the short lower-case names of an enumeration, as JSON and columns show them: "untrusted", "needs_approval".
// The unspecified value is the empty string.
type Names[E ~int32] struct {
	names  []string
	values map[string]E
}

// The names of every enumeration.
var (
	TimeBases         = namesOf[eventv1.TimeBasis]()
	Trusts            = namesOf[eventv1.Trust]()
	Relations         = namesOf[eventv1.Relation]()
	CauseBases        = namesOf[eventv1.CauseBasis]()
	Outcomes          = namesOf[eventv1.Outcome]()
	Directions        = namesOf[eventv1.Direction]()
	Decisions         = namesOf[eventv1.Decision]()
	Consequences      = namesOf[eventv1.Consequence]()
	Producers         = namesOf[eventv1.ProducerClass]()
	PermissionVerbs   = namesOf[eventv1.PermissionVerb]()
	KeyActions        = namesOf[eventv1.KeyAction]()
	Roles             = namesOf[eventv1.Role]()
	ContainmentStates = namesOf[eventv1.ContainmentState]()
	IdentityActions   = namesOf[eventv1.IdentityAction]()
	DataActions       = namesOf[eventv1.DataAction]()
	ExecutionActions  = namesOf[eventv1.ExecutionAction]()
	ApprovalActions   = namesOf[eventv1.ApprovalAction]()
	CaseActions       = namesOf[eventv1.CaseAction]()
	ApprovalStates    = namesOf[eventv1.ApprovalState]()
)

// namesOf cuts the common prefix (TRUST_ of TRUST_UNTRUSTED) off the names in the descriptor. Values count from 0.
func namesOf[E interface {
	~int32
	protoreflect.Enum
}]() Names[E] {
	var zero E
	values := zero.Descriptor().Values()
	prefix := strings.TrimSuffix(string(values.Get(0).Name()), "UNSPECIFIED")
	n := Names[E]{make([]string, values.Len()), map[string]E{"": zero}}
	for i := 1; i < values.Len(); i++ {
		short := strings.ToLower(strings.TrimPrefix(string(values.ByNumber(protoreflect.EnumNumber(i)).Name()), prefix))
		n.names[i], n.values[short] = short, E(i)
	}
	return n
}

// Name is the short name of e, empty for the unspecified and for unknown values.
func (n Names[E]) Name(e E) string {
	if e < 0 || int(e) >= len(n.names) {
		return ""
	}
	return n.names[e]
}

// Parse is the value of a short name; the empty name is the unspecified value.
func (n Names[E]) Parse(name string) (E, bool) {
	e, ok := n.values[name]
	return e, ok
}

// All are the short names in the order of their values, without the unspecified one.
func (n Names[E]) All() []string { return append([]string(nil), n.names[1:]...) }

// The kinds of event, as leaves write them.
const (
	KindIdentity  uint8 = 1
	KindData      uint8 = 2
	KindExecution uint8 = 3
	KindApproval  uint8 = 4
	KindSystem    uint8 = 5
	KindNone      uint8 = 255 // a leaf that is not an event
)

var kindNames = []string{"", "identity", "data", "execution", "approval", "system"}

// Kind is the kind of e, 0 if it has no body.
func Kind(e *eventv1.Event) uint8 {
	switch e.GetBody().(type) {
	case *eventv1.Event_Identity:
		return KindIdentity
	case *eventv1.Event_Data:
		return KindData
	case *eventv1.Event_Execution:
		return KindExecution
	case *eventv1.Event_Approval:
		return KindApproval
	case *eventv1.Event_System:
		return KindSystem
	}
	return 0
}

// KindName is "identity", "data", "execution", "approval" or "system"; "none" for KindNone, otherwise empty.
func KindName(kind uint8) string {
	switch {
	case kind == KindNone:
		return "none"
	case int(kind) < len(kindNames):
		return kindNames[kind]
	}
	return ""
}

// ParseKind is the kind of a name that KindName returns.
func ParseKind(name string) (uint8, bool) {
	if name == "none" {
		return KindNone, true
	}
	for k, n := range kindNames {
		if n == name && k > 0 {
			return uint8(k), true
		}
	}
	return 0, false
}

// actionNames are the actions of the other kinds: actionNames[kind][action].
var actionNames = [...][]string{
	KindIdentity:  qualified("identity", IdentityActions.names),
	KindData:      qualified("data", DataActions.names),
	KindExecution: qualified("execution", ExecutionActions.names),
	KindApproval:  qualified("approval", ApprovalActions.names),
}

func qualified(kind string, names []string) []string {
	q := make([]string, len(names))
	for i, n := range names {
		if n != "" {
			q[i] = kind + "." + n
		}
	}
	return q
}

// Action is kind and action of e: "execution.started", "data.document_retrieved", "system.genesis"; empty if e has none.
func Action(e *eventv1.Event) string {
	kind := Kind(e)
	var action int32
	switch kind {
	case 0:
		return ""
	case KindSystem:
		return systemAction(e.GetSystem())
	case KindIdentity:
		action = int32(e.GetIdentity().GetAction())
	case KindData:
		action = int32(e.GetData().GetAction())
	case KindExecution:
		action = int32(e.GetExecution().GetAction())
	case KindApproval:
		action = int32(e.GetApproval().GetAction())
	}
	if names := actionNames[kind]; action >= 0 && int(action) < len(names) {
		return names[action]
	}
	return ""
}

func systemAction(x *eventv1.System) string {
	switch x.GetDetail().(type) {
	case *eventv1.System_Genesis:
		return "system.genesis"
	case *eventv1.System_Instance:
		return "system.instance"
	case *eventv1.System_Manifest:
		return "system.manifest"
	case *eventv1.System_Key:
		return "system.key"
	case *eventv1.System_Grant:
		return "system.grant"
	case *eventv1.System_Rule:
		return "system.rule"
	case *eventv1.System_Containment:
		return "system.containment"
	case *eventv1.System_Hold:
		return "system.hold"
	case *eventv1.System_Erasure:
		return "system.erasure"
	case *eventv1.System_Access:
		return "system.access"
	case *eventv1.System_Refusal:
		return "system.refusal"
	case *eventv1.System_Finding:
		return "system.finding"
	case *eventv1.System_Review:
		return "system.review"
	case *eventv1.System_Firing:
		return "system.firing"
	case *eventv1.System_Approval:
		return "system.approval"
	case *eventv1.System_Lease:
		return "system.lease"
	case *eventv1.System_Armed:
		return "system.armed"
	case *eventv1.System_Drill:
		return "system.drill"
	case *eventv1.System_Case:
		return "system.case"
	case *eventv1.System_Expiry:
		return "system.expiry"
	case *eventv1.System_Fingerprint:
		return "system.fingerprint"
	case *eventv1.System_ExportKey:
		return "system.export_key"
	}
	return ""
}

// Actions are all actions, kind by kind, in the order of the format.
func Actions() []string {
	var all []string
	for _, names := range actionNames[KindIdentity:] {
		all = append(all, names[1:]...)
	}
	details := new(eventv1.System).ProtoReflect().Descriptor().Oneofs().ByName("detail").Fields()
	for i := range details.Len() {
		all = append(all, "system."+string(details.Get(i).Name()))
	}
	return all
}
