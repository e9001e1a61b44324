package rules

import (
	"cmp"

	"github.com/agentcustody/custody/event/class"
)

// verbOf is what a tool's name says it does: the first word of it that is a verb. A name that says nothing writes: rules that go by
// verbs are about what is said.
func verbOf(tool string) string { return cmp.Or(class.Verb(tool), class.Write) }

// guess is the consequence class of a verb, where neither manifest nor event says one.
func guess(verb string) string {
	switch verb {
	case class.Read:
		return "low"
	case class.Write:
		return "moderate"
	}
	return "high"
}
