package rules

import (
	"slices"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ofManifest says what a new manifest is beside the one in force.
func (s *seen) ofManifest(i *instance, m *eventv1.ManifestChange) {
	for _, p := range m.GetPermissions() {
		s.manifestUnscoped = s.manifestUnscoped || acts(p) && p.GetResource() == "" && p.GetConnector() == ""
		s.manifestWidened = s.manifestWidened || i.Manifest && !slices.ContainsFunc(i.Permissions, func(old *eventv1.Permission) bool { return within(p, old) })
	}
}

// acts reports whether a permission lets something be changed or sent.
func acts(p *eventv1.Permission) bool {
	switch p.GetVerb() {
	case eventv1.PermissionVerb_PERMISSION_VERB_WRITE, eventv1.PermissionVerb_PERMISSION_VERB_SEND:
		return true
	}
	return false
}

// within reports whether a permission is one of before: the same verb and patterns, and no milder class.
func within(p, old *eventv1.Permission) bool {
	return p.GetVerb() == old.GetVerb() && p.GetTool() == old.GetTool() && p.GetResource() == old.GetResource() &&
		p.GetConnector() == old.GetConnector() && p.GetConsequence() >= old.GetConsequence()
}
