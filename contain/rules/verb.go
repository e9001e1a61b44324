package rules

import (
	"strings"
	"unicode"
)

// verbs are the words that tool names begin with or hold, and what they do. A name that says nothing writes: to take a read for a
// write asks for too much care, the other way round for too little.
var verbs = map[string]string{
	"send": "send", "email": "send", "mail": "send", "post": "send", "publish": "send", "message": "send", "reply": "send",
	"forward": "send", "share": "send", "invite": "send", "notify": "send", "tweet": "send", "upload": "send", "export": "send",
	"pay": "send", "transfer": "send", "refund": "send", "purchase": "send", "order": "send", "book": "send", "reserve": "send",
	"wire": "send", "charge": "send",
	"delete": "remove", "remove": "remove", "drop": "remove", "cancel": "remove", "revoke": "remove", "grant": "remove",
	"deploy": "remove", "execute": "remove", "run": "remove", "install": "remove", "provision": "remove",
	"create": "write", "add": "write", "update": "write", "write": "write", "set": "write", "modify": "write", "edit": "write",
	"change": "write", "append": "write", "schedule": "write", "assign": "write", "save": "write", "put": "write", "move": "write",
	"get": "read", "read": "read", "list": "read", "search": "read", "find": "read", "lookup": "read", "look": "read",
	"query": "read", "fetch": "read", "view": "read", "show": "read", "check": "read", "count": "read", "calculate": "read",
	"think": "read", "summarize": "read", "classify": "read", "suggest": "read",
}

// verbOf is what a tool's name says it does: the first word of it that is a verb. "write" if none is.
func verbOf(tool string) string {
	for _, word := range words(tool) {
		if verb := verbs[word]; verb != "" {
			return verb
		}
	}
	return "write"
}

// guess is the consequence class of a verb, where neither manifest nor event says one.
func guess(verb string) string {
	switch verb {
	case "read":
		return "low"
	case "write":
		return "moderate"
	}
	return "high"
}

// words splits snake_case, kebab-case, camelCase and sentences, in lower case.
func words(s string) []string {
	var spaced strings.Builder
	lower := false
	for _, r := range s {
		if unicode.IsUpper(r) && lower {
			spaced.WriteByte(' ')
		}
		lower = unicode.IsLower(r)
		if !unicode.IsLetter(r) {
			r = ' '
		}
		spaced.WriteRune(unicode.ToLower(r))
	}
	return strings.Fields(spaced.String())
}
