package rules

import "strings"

// names has one copy of each text that the state keeps. The texts of an event are parts of the message that it came in, and to keep
// one of them would keep the whole message. Most are the same few again and again: instances, tools, workflows, runs.
type names map[string]string

// maxNames bounds the copies; then all begin anew. What the state has stays.
const maxNames = 1 << 14

// of is the copy of a text.
func (n names) of(s string) string {
	if s == "" {
		return ""
	}
	kept, known := n[s]
	if !known {
		if len(n) >= maxNames {
			clear(n)
		}
		kept = strings.Clone(s)
		n[kept] = kept
	}
	return kept
}
