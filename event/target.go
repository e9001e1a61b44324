package event

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// TargetKind is what sort of thing a containment is about.
type TargetKind string

// The kinds of target.
const (
	TargetTenant     TargetKind = "tenant"     // tenant/T
	TargetInstance   TargetKind = "instance"   // instance/T/I
	TargetRun        TargetKind = "run"        // run/T/R
	TargetConnector  TargetKind = "connector"  // connector/T/I/C, and connector/T/*/C for every instance
	TargetCredential TargetKind = "credential" // credential/T/F
	TargetPrincipal  TargetKind = "principal"  // principal/T/P
)

// AnyInstance stands for every instance in a connector target.
const AnyInstance InstanceID = "*"

// ErrTarget says that a text is not a target.
var ErrTarget = errors.New("not a target: tenant/T, instance/T/I, run/T/R, connector/T/I/C, credential/T/F or principal/T/P")

// Target is what a containment is about. Targets are equal if their texts are.
type Target struct {
	Kind     TargetKind
	Tenant   TenantID
	Instance InstanceID // of an instance or connector target
	Name     string     // of a run, connector, credential or principal: 1 to MaxID bytes of UTF-8
}

// Act is what a gate knows of one call.
type Act struct {
	Tenant     TenantID
	Instance   InstanceID
	Run        string
	Principal  string
	Connector  string
	Credential string
}

// ParseTarget reads what String writes, and nothing else. The error is ErrTarget.
func ParseTarget(text string) (Target, error) {
	t, ok := splitTarget(text)
	if !ok || !t.valid() || t.String() != text {
		return Target{}, fmt.Errorf("%q: %w", Escape(text), ErrTarget)
	}
	return t, nil
}

func splitTarget(text string) (t Target, ok bool) {
	kind, rest, ok := strings.Cut(text, "/")
	t.Kind = TargetKind(kind)
	if t.Kind == TargetTenant {
		t.Tenant = TenantID(rest)
		return t, ok
	}
	tenant, rest, ok := strings.Cut(rest, "/")
	t.Tenant = TenantID(tenant)
	switch t.Kind {
	case TargetInstance:
		t.Instance = InstanceID(rest)
	case TargetConnector:
		var instance string
		instance, t.Name, ok = strings.Cut(rest, "/")
		t.Instance = InstanceID(instance)
	default:
		t.Name = rest
	}
	return t, ok
}

func (t Target) valid() bool {
	if !ValidName(string(t.Tenant)) {
		return false
	}
	named := t.Name != "" && len(t.Name) <= MaxID && utf8.ValidString(t.Name)
	switch t.Kind {
	case TargetTenant:
		return true
	case TargetInstance:
		return ValidName(string(t.Instance))
	case TargetConnector:
		return named && (t.Instance == AnyInstance || ValidName(string(t.Instance)))
	case TargetRun, TargetCredential, TargetPrincipal:
		return named
	}
	return false
}

// String is the target's text.
func (t Target) String() string {
	parts := []string{string(t.Kind), string(t.Tenant)}
	if t.Kind == TargetInstance || t.Kind == TargetConnector {
		parts = append(parts, string(t.Instance))
	}
	if t.Kind != TargetTenant && t.Kind != TargetInstance {
		parts = append(parts, t.Name)
	}
	return strings.Join(parts, "/")
}

// Covers reports whether an act falls under the target.
func (t Target) Covers(a Act) bool {
	if t.Tenant != a.Tenant {
		return false
	}
	switch t.Kind {
	case TargetTenant:
		return true
	case TargetInstance:
		return t.Instance == a.Instance
	case TargetRun:
		return t.Name == a.Run
	case TargetConnector:
		return t.Name == a.Connector && t.Concerns(a.Instance)
	case TargetCredential:
		return t.Name == a.Credential
	case TargetPrincipal:
		return t.Name == a.Principal
	}
	return false
}

// Concerns reports whether acts of an instance of the target's tenant can fall under it.
func (t Target) Concerns(instance InstanceID) bool {
	switch t.Kind {
	case TargetInstance:
		return t.Instance == instance
	case TargetConnector:
		return t.Instance == AnyInstance || t.Instance == instance
	}
	return true
}
