// Package class guesses from a tool's name what a call of it does and what harm that can do. It is the default where neither the
// manifest nor the agent says so; whoever uses it says that it was used.
//
// A name is split into words, and the first word that is a verb counts: "send_email" sends, "createInvoice" writes. What the
// verb acts on can make it graver: to write customer records, billing, access or production is of high consequence. A name that
// says nothing is of high consequence: to take a read for a deed asks for too much care, the other way round for too little.
package class

import (
	"strings"
	"unicode"
	"unicode/utf8"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// What a verb does.
const (
	Read   = "read"   // looks, and changes nothing
	Write  = "write"  // changes what can be changed back
	Send   = "send"   // lets something out: messages, money
	Remove = "remove" // takes away, or changes what runs
)

// Kind is a sort of act that needs more than one approver.
type Kind string

// The kinds.
const (
	Ordinary     Kind = ""
	Financial    Kind = "financial"    // moves money, or obliges to pay
	Provisioning Kind = "provisioning" // gives access, or changes what runs
)

// Act is what a name says.
type Act struct {
	Verb        string // Read, Write, Send, Remove; empty if the name has no verb
	Consequence eventv1.Consequence
	Kind        Kind
}

// Of classifies a call by the names of tool and operation, which may be empty. Where both have a verb, the operation's counts.
func Of(tool, operation string) Act {
	act := Act{Verb: Verb(operation)}
	if act.Verb == "" {
		act.Verb = Verb(tool)
	}
	all := append(words(operation), words(tool)...)
	act.Consequence = consequence(act.Verb, all)
	if act.Verb != Read {
		act.Kind = kind(all)
	}
	return act
}

// Verb is what a name says it does: the first word of it that is a verb. It is empty if none is.
func Verb(name string) (verb string) {
	var room [32]byte // more than the longest verb, so that most names take no memory
	word, lower := room[:0], false
	for _, r := range name {
		letter := unicode.IsLetter(r)
		if !letter || unicode.IsUpper(r) && lower {
			if verb = verbs[string(word)]; verb != "" {
				return verb
			}
			word = word[:0]
		}
		if lower = unicode.IsLower(r); letter {
			word = utf8.AppendRune(word, unicode.ToLower(r))
		}
	}
	return verbs[string(word)]
}

func consequence(verb string, all []string) eventv1.Consequence {
	switch {
	case verb == Read, verb == Write && holds(all, drafts):
		return eventv1.Consequence_CONSEQUENCE_LOW
	case verb == Write && !holds(all, grave):
		return eventv1.Consequence_CONSEQUENCE_MODERATE
	}
	return eventv1.Consequence_CONSEQUENCE_HIGH
}

func kind(all []string) Kind {
	switch {
	case holds(all, money):
		return Financial
	case holds(all, power):
		return Provisioning
	}
	return Ordinary
}

func holds(all []string, set map[string]bool) bool {
	for _, word := range all {
		if set[word] || set[strings.TrimSuffix(word, "s")] {
			return true
		}
	}
	return false
}

// verbs are the words that tool names begin with or hold.
var verbs = verbsOf(map[string]string{
	Send: "send email mail post publish message reply forward share invite notify tweet upload export pay transfer refund purchase order" +
		" book reserve wire charge",
	Remove: "delete remove drop cancel revoke grant deploy execute run install provision",
	Write:  "create add update write set modify edit change append schedule assign save put move",
	Read:   "get read list search find lookup look query fetch view show check count calculate think summarize classify suggest",
})

var (
	drafts = set("draft suggestion")
	// grave is what must not be written lightly: customer records, billing, access, production.
	grave = set("customer client account billing invoice payment subscription price user role permission password credential key secret" +
		" access admin production prod server database deployment")
	money = set("pay payment payout transfer refund purchase order wire charge reimburse billing invoice money fund subscription price")
	power = set("grant revoke provision deploy install role permission access credential password key admin user account server production" +
		" prod deployment")
)

func verbsOf(lists map[string]string) map[string]string {
	all := map[string]string{}
	for verb, list := range lists {
		for word := range strings.FieldsSeq(list) {
			all[word] = verb
		}
	}
	return all
}

func set(list string) map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		all[word] = true
	}
	return all
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
