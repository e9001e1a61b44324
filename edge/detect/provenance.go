package detect

import (
	"regexp"
	"slices"
	"strings"
)

// marks of a proposed call; see the package comment.
type marks struct {
	destination, value, instructed, stray, addressed, spoken       bool
	pointed, unaskedAct, unaskedObject, delegated, users, borrowed bool
}

// worthy reports whether the marks are worth a finding.
func (m *marks) worthy() bool {
	return m.destination || m.value || m.instructed || m.addressed || m.spokenTo() || m.unaskedAct && m.unaskedObject
}

func (m *marks) spokenTo() bool { return m.spoken && (m.unaskedAct || m.unaskedObject) }

// String is the label of a finding.
func (m *marks) String() string {
	var names []string
	for _, x := range []struct {
		name string
		is   bool
	}{
		{"prose_destination", m.destination},
		{"prose_value", m.value},
		{"unasked", m.unaskedAct && m.unaskedObject},
		{"instructed", m.instructed},
		{"instructed_elsewhere", m.stray},
		{"addressed", m.addressed},
		{"spoken_to", m.spokenTo()},
		{"pointed", m.pointed},
		{"unasked_act", m.unaskedAct},
		{"unasked_object", m.unaskedObject},
		{"delegated", m.delegated},
		{"users_value", m.users},
		{"borrowed", m.borrowed},
	} {
		if x.is {
			names = append(names, x.name)
		}
	}
	return strings.Join(names, " ")
}

// distinctive is what can be sent to, or names one thing: an e-mail address, a link, an account number.
var distinctive = regexp.MustCompile(`[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}|https?://[^\s"'<>)\]]+|\bwww\.[^\s"'<>)\]]+|\b[a-z]{2}[0-9]{8,30}\b|\b[0-9]{7,24}\b`)

// marks looks where the values of a call come from, and whether the user asked for it.
func (r *run) marks(tool string, values []string) (m marks) {
	named := wordsOf(tool)
	m.unaskedAct, m.unaskedObject = r.request.unasked(named)
	m.delegated = r.request.delegated
	m.spoken = slices.ContainsFunc(r.documents, func(d document) bool { return len(d.speech) > 0 })
	elsewhere := false // a prose value came from content that the user did not point at
	look := func(v string, address bool) {
		if m.users = m.users || address && r.request.says(v); r.request.covers(v) {
			return
		}
		o := r.origin(v, named)
		m.borrowed = m.borrowed || o.prose+o.structured > 0
		m.instructed, m.stray = m.instructed || o.near, m.stray || o.stray
		m.addressed = m.addressed || o.addressed
		switch {
		case o.prose == 0 || o.structured > 0:
			return
		case address && !r.request.knows(v):
			m.destination = true
		case !address && telling(v):
			m.value = true
		default:
			return
		}
		elsewhere = elsewhere || o.elsewhere
	}
	for _, v := range values {
		whole := distinctive.FindString(v)
		look(v, whole == v && v != "")
		if whole != "" && whole != v && len(v) <= maxHost {
			for _, inside := range distinctive.FindAllString(v, maxEmbedded) {
				look(strings.TrimRight(inside, ".,!?;:"), true)
			}
		}
	}
	m.pointed = (m.destination || m.value) && !elsewhere
	return m
}

// origin is where a value stands in untrusted content.
type origin struct {
	prose, structured int
	elsewhere         bool // in prose of content that the user did not point at
	near              bool // and near it the word for what the tool does
	stray             bool // that in content that the user did not point at
	addressed         bool // in speech to an agent
}

func (r *run) origin(v string, named words) (o origin) {
	if len(v) == 0 || len(v) > maxValue {
		return o
	}
	if bare := withoutScheme(v); bare != v {
		v = bare
	}
	for i := range r.documents {
		o.in(&r.documents[i], v, named)
	}
	return o
}

// withoutScheme is a link as people write it.
func withoutScheme(v string) string {
	v = strings.TrimPrefix(strings.TrimPrefix(v, "https://"), "http://")
	return strings.TrimSuffix(v, "/")
}

func (o *origin) in(d *document, v string, named words) {
	for from, n := 0, 0; n < maxSeen; n++ {
		at := indexWord(d.text, v, from)
		if at < 0 {
			return
		}
		end := at + len(v)
		o.addressed = o.addressed || within(d.speech, at, end)
		if from = end; structured(d.text, at, end) {
			o.structured++
			continue
		}
		o.prose++
		o.elsewhere = o.elsewhere || !d.pointed
		if near(d.text, at, end, named) {
			o.near, o.stray = true, o.stray || !d.pointed
		}
	}
}

// near reports whether the text around a place has a word for what the tool does: its own, or a plain one for the same.
func near(text string, at, end int, named words) bool {
	if named.verb == "" {
		return false
	}
	around := text[max(0, at-nearBy):min(len(text), end+nearBy)]
	if indexWord(around, named.verb, 0) >= 0 {
		return true
	}
	for _, w := range verbs[named.verb] {
		if len(w) >= minPlain && indexWord(around, w, 0) >= 0 {
			return true
		}
	}
	return false
}

// minPlain is the length of a word that says what is to be done, bytes: shorter ones (make, get, put) stand anywhere.
const minPlain = 5

// telling values are neither numbers nor dates nor sentences.
func telling(v string) bool {
	letters := strings.IndexFunc(v, func(c rune) bool { return c >= 'a' && c <= 'z' || c > 0x7f }) >= 0
	return letters && len(v) >= minTelling && len(strings.Fields(v)) <= maxTelling
}

const (
	minTelling = 4 // bytes
	maxTelling = 8 // words
)

// structured reports whether text[at:end] is the whole of a field: of a line, a list item, "key: value" or a quoted JSON value.
func structured(text string, at, end int) bool {
	line := text[strings.LastIndexByte(text[:at], '\n')+1:]
	start := len(text) - len(line)
	rest := text[end:]
	if n := strings.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[:n]
	}
	before := strings.TrimSuffix(strings.TrimRight(text[start:at], ` "'[{(`), "://")
	before = strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(before, "https"), "http"), ` "'[`)
	if after := strings.Trim(rest, " \t\"',]})/"); after == "" && isKey(before) {
		return true
	}
	return quoted(text[start:at], rest)
}

// isKey: nothing, a list's dash, or a short name and a colon.
func isKey(before string) bool {
	before = strings.TrimLeft(strings.TrimLeft(before, " \t"), "-* ")
	name, colon := strings.CutSuffix(before, ":")
	return before == "" || colon && len(name) <= maxKey && len(strings.Fields(name)) <= 3
}

// quoted: a quoted value after a colon, comma or bracket, with one of these after it.
func quoted(before, after string) bool {
	for _, quote := range []string{`"`, `'`} {
		head, opened := strings.CutSuffix(before, quote)
		tail, closed := strings.CutPrefix(after, quote)
		if head = strings.TrimRight(head, " "); opened && closed && head != "" && strings.IndexByte(":,[{", head[len(head)-1]) >= 0 {
			tail = strings.TrimLeft(tail, " ")
			return tail == "" || strings.IndexByte(",]}:", tail[0]) >= 0
		}
	}
	return false
}

// indexWord is the place of v in text from a place on, where no letter or digit runs on at either end; -1 if there is none.
func indexWord(text, v string, from int) int {
	for from < len(text) {
		at := strings.Index(text[from:], v)
		if at < 0 {
			return -1
		}
		at += from
		end := at + len(v)
		if (at == 0 || !isWord(text[at-1]) || !isWord(v[0])) && (end == len(text) || !isWord(text[end]) || !isWord(v[len(v)-1])) {
			return at
		}
		from = at + 1
	}
	return -1
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '@' || c >= 0x80
}
