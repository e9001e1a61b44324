package event

import (
	"bytes"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The sieve in front of the scanner: what every secret has, looked for by means that cost little. Almost no text passes; the scanner
// then says whether there is a secret in it. A rule of the scanner that finds what the sieve holds back would never be asked:
// FuzzSieve holds the two against each other.

// The shortest texts in which the scanner can find each kind, in bytes.
const (
	leastSchemed = 14 // "Basic " and 8 bytes of base64; "--pwd", ".eyJ" and "-----BEGIN" need more
	leastToken   = 20 // AKIA and 16 capitals: the shortest of tokenRules
)

// mayHoldSecret reports whether b is worth scanning.
func mayHoldSecret(b []byte) bool {
	switch {
	case mayAssign(b, '=') || mayAssign(b, ':'):
		return true
	case len(b) < leastSchemed:
		return false
	}
	return mayHaveScheme(b, 'b') || mayHaveScheme(b, 'B') || bytes.Contains(b, []byte("--")) || mayHaveDotted(b) || mayHaveToken(b)
}

// mayAssign looks before each sign for the end of a telling name, and after it for a URL with an @.
func mayAssign(b []byte, sign byte) bool {
	for from := 0; ; from++ {
		i := bytes.IndexByte(b[from:], sign)
		if i < 0 {
			return false
		}
		from += i
		if endsTellingName(b[:from]) {
			return true
		}
		if near := b[from:min(len(b), from+3+MaxID)]; sign == ':' && bytes.HasPrefix(near, []byte("://")) && bytes.IndexByte(near, '@') >= 0 {
			return true
		}
	}
}

// endsTellingName reports whether b ends as one of passwordNames and keyNames does, in its last three letters.
func endsTellingName(b []byte) bool {
	end := len(b)
	for end > 0 && len(b)-end < 4 && isBlankOrQuote(b[end-1]) {
		end--
	}
	var last [3]byte
	for i, n := end-1, 2; n >= 0; i-- {
		if i < 0 || end-i > MaxName || !wordByte(b[i]) && b[i] != '.' {
			return false
		}
		if c := b[i]; c != '_' && c != '-' && c != '.' {
			last[n] = lower(c)
			n--
		}
	}
	switch string(last[:]) {
	case "ord", "swd", "pwd", "ase", "ode", "ret", "ken", "key", "ial", "als":
		return true
	}
	return false
}

// isBlankOrQuote is what may stand between a name and the sign.
func isBlankOrQuote(c byte) bool {
	return c == ' ' || c == '\t' || c == '"' || c == '\'' || c == '\\'
}

// mayHaveScheme looks for Bearer and Basic, which begin with first.
func mayHaveScheme(b []byte, first byte) bool {
	for {
		i := bytes.IndexByte(b, first)
		if i < 0 || len(b)-i < leastSchemed {
			return false
		}
		b = b[i:]
		if b[6] == ' ' && bytes.EqualFold(b[:6], []byte("bearer")) || b[5] == ' ' && bytes.EqualFold(b[:5], []byte("basic")) {
			return true
		}
		b = b[1:]
	}
}

// mayHaveDotted looks for tokens of several words: the dot after their short prefix, or before the second part of a JSON web token.
func mayHaveDotted(b []byte) bool {
	for from := 0; ; from++ {
		i := bytes.IndexByte(b[from:], '.')
		if i < 0 {
			return false
		}
		from += i
		if bytes.HasPrefix(b[from:], []byte(".eyJ")) {
			return true
		}
		for _, prefix := range [...]string{"SG", "hvs", "hvb", "ya29"} {
			if bytes.HasSuffix(b[:from], []byte(prefix)) {
				return true
			}
		}
	}
}

// mayHaveToken looks for a word of leastToken bytes or more that begins as one of tokenRules does. Of other text it looks at every
// leastToken-th byte, and back from there to the end of a word.
func mayHaveToken(b []byte) bool {
	start := 0 // nothing before it is in a word that was not looked at
	for i := leastToken - 1; i < len(b); i = start + leastToken - 1 {
		at := i
		for at >= start && secretClass[b[at]] == plainByte {
			at--
		}
		if at >= start {
			start = at + 1
			continue
		}
		if beginsToken(b[start:]) {
			return true
		}
		for start = i + 1; start < len(b) && secretClass[b[start]] == plainByte; start++ {
		}
	}
	return false
}

// tokenStarts are the first two bytes of each prefix of tokenRules.
var tokenStarts = func() map[[2]byte]bool {
	starts := make(map[[2]byte]bool)
	for _, r := range tokenRules {
		starts[[2]byte([]byte(r.prefix))] = true
	}
	return starts
}()

func beginsToken(b []byte) bool { return len(tokenRulesAt[b[0]]) > 0 && tokenStarts[[2]byte(b)] }

// ScanParsed is ScanEvent for an event that was parsed from b: it reads the encoding only if one of the texts may hold a secret.
func ScanParsed(e *eventv1.Event, b []byte) (field, detector string, found bool) {
	if e == nil || MayHoldSecret(e) {
		return ScanEvent(b)
	}
	return "", "", false
}

// textsRoom is what the texts of a usual event take, bytes; more are put together elsewhere.
const textsRoom = 1 << 10

// MayHoldSecret reports whether a text of e is worth scanning. It is never false where there is a secret, and costs a fraction of a scan:
// all texts are looked at as one, each on a line of its own, which only makes it look closer. Events that only Custody makes are always
// worth it.
func MayHoldSecret(e *eventv1.Event) bool {
	var room [textsRoom]byte
	t, known := appendTexts(room[:0], e)
	return !known || mayHoldSecret(t)
}

// appendTexts appends every text of an event. It reports false for a body that it does not know. The path of a fingerprint is that of a
// sealed field.
func appendTexts(t []byte, e *eventv1.Event) (texts []byte, known bool) {
	t = appendLines(t, e.GetTenant(), e.GetInstance(), e.GetRun(), e.GetPrincipal())
	t = appendLines(t, e.GetOnBehalfOf()...)
	for _, s := range e.GetSealed() {
		t = appendLines(t, s.GetPath(), s.GetMediaType(), s.GetSubject())
	}
	switch body := e.GetBody().(type) {
	case *eventv1.Event_Identity:
		return appendIdentity(t, body.Identity), true
	case *eventv1.Event_Data:
		x := body.Data
		return appendLines(t, x.GetSource(), x.GetResource(), x.GetDomain(), x.GetDataClass(), x.GetMemoryKey(), x.GetDetector(), x.GetDetectorVersion(), x.GetLabel()), true
	case *eventv1.Event_Execution:
		x := body.Execution
		return appendLines(t, x.GetCall(), x.GetTool(), x.GetOperation(), x.GetConnector(), x.GetDestination(), x.GetPolicy(), x.GetReason(), x.GetCostUnit()), true
	case *eventv1.Event_Approval:
		x := body.Approval
		return appendLines(t, x.GetApprover(), x.GetCall(), x.GetTool(), x.GetReason(), x.GetEscalatedTo()), true
	}
	return t, false
}

func appendIdentity(t []byte, x *eventv1.Identity) []byte {
	r, c := x.GetRuntime(), x.GetCredential()
	t = appendLines(t, x.GetWorkflow(), x.GetModel(), x.GetAgentVersion(), x.GetDelegate(), x.GetRole(), x.GetSession())
	t = appendLines(t, r.GetHost(), r.GetContainer(), r.GetImage(), c.GetConnector())
	return appendLines(t, c.GetScopes()...)
}

func appendLines(t []byte, texts ...string) []byte {
	for _, s := range texts {
		if s != "" {
			t = append(append(t, s...), '\n')
		}
	}
	return t
}
