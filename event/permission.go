package event

import (
	"strings"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ToolCall is what a manifest is asked about. What the call leaves out is empty.
type ToolCall struct {
	Tool        string
	Connector   string
	Destination string
}

// CallOf is the call of an execution.
func CallOf(x *eventv1.Execution) ToolCall {
	return ToolCall{Tool: x.GetTool(), Connector: x.GetConnector(), Destination: x.GetDestination()}
}

// Permit is what a manifest says of a call.
type Permit struct {
	Allowed     bool                // an entry covers it
	Approver    bool                // a person must approve it
	Named       bool                // an entry that covers it names its very destination, without a star
	Consequence eventv1.Consequence // 0 says nothing
}

// Where the class of a call comes from.
const (
	BasisManifest = "manifest"
	BasisEvent    = "event" // the emitter's word
)

// Permitted says what a manifest's permissions say of a call. FORMAT has the rules, under "What a manifest says of a call":
// of the entries that cover the call and name a class, the most specific decides, and of several equally specific ones the gravest. A
// person must approve if any entry that covers the call says so.
func Permitted(permissions []*eventv1.Permission, c ToolCall) (says Permit) {
	decided := uint64(0)
	for _, p := range permissions {
		if !Covers(p, c) {
			continue
		}
		says.Allowed = true
		says.Named = says.Named || c.Destination != "" && p.GetResource() == c.Destination
		says.Approver = says.Approver || p.GetVerb() == eventv1.PermissionVerb_PERMISSION_VERB_APPROVE
		if p.GetConsequence() == eventv1.Consequence_CONSEQUENCE_UNSPECIFIED {
			continue
		}
		switch rank := specific(p, c); {
		case rank > decided || says.Consequence == 0:
			decided, says.Consequence = rank, p.GetConsequence()
		case rank == decided:
			says.Consequence = max(says.Consequence, p.GetConsequence())
		}
	}
	return says
}

// Class is the class of a call: the manifest's or the emitter's word, whichever is graver; and whose it is, empty if both are silent.
func (p Permit) Class(claimed eventv1.Consequence) (class eventv1.Consequence, basis string) {
	switch {
	case p.Consequence != 0 && p.Consequence >= claimed:
		return p.Consequence, BasisManifest
	case claimed != 0:
		return claimed, BasisEvent
	}
	return 0, ""
}

// Covers reports whether a permission is about a call. A field that one of them leaves out fits; what may start a run covers no call.
func Covers(p *eventv1.Permission, c ToolCall) bool {
	switch {
	case p.GetVerb() == eventv1.PermissionVerb_PERMISSION_VERB_TRIGGER:
		return false
	case p.GetConnector() != "" && c.Connector != "" && p.GetConnector() != c.Connector:
		return false
	case p.GetResource() != "" && c.Destination != "" && !Glob(p.GetResource(), c.Destination):
		return false
	}
	return Glob(p.GetTool(), c.Tool)
}

// specific is how closely a permission describes a call that it covers: by the tool, then the connector, then the resource. What the call
// leaves out makes no entry more specific, so that nobody gets a milder class by saying less.
func specific(p *eventv1.Permission, c ToolCall) (rank uint64) {
	rank = weight(p.GetTool()) << 32
	if p.GetConnector() != "" && c.Connector != "" {
		rank |= 1 << 31
	}
	if p.GetResource() != "" && c.Destination != "" {
		rank |= weight(p.GetResource())
	}
	return rank
}

// weight is how specific a pattern is: a text without * most, otherwise by the bytes that are not *.
func weight(pattern string) uint64 {
	if stars := strings.Count(pattern, "*"); stars > 0 {
		return uint64(len(pattern) - stars)
	}
	return MaxText + 1
}

// Glob matches a pattern in which * stands for any text, also an empty one, and everything else for itself.
func Glob(pattern, text string) bool {
	first, rest, hasStar := strings.Cut(pattern, "*")
	if !hasStar {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	for ok {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, rest)
		}
		if _, text, ok = strings.Cut(text, part); ok {
			rest = after
		}
	}
	return false
}
