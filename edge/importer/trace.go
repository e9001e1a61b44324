package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"
	"regexp"
	"slices"
	"time"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// trace is one run as both benchmarks have it.
type trace struct {
	id       string // the record's own; empty if it has none
	suite    string // the kind of task
	pipeline string // the model and its defences
	failed   bool   // the run itself broke off
	duration time.Duration
	messages []message
}

type role string

const (
	roleSystem    role = "system"
	roleUser      role = "user"
	roleAssistant role = "assistant"
	roleTool      role = "tool"
)

// message is one message of any role.
type message struct {
	role   role
	text   string
	calls  []call // assistant only
	result result // tool only
}

// call is what the model asked for.
type call struct {
	id   string // the trace's; may be empty or used twice
	tool string // may be empty or a sentence
	args arguments
}

// arguments are canonical JSON, or whatever text the model wrote instead.
type arguments struct {
	mediaType string
	value     []byte
}

// result is what the tool message says besides its text.
type result struct {
	id     string // of the call that it answers
	tool   string
	args   arguments
	failed bool
	err    string // the error's text; it stands in for an empty text
}

// seen is what the model got to see of a tool message.
func (m *message) seen() string {
	if m.text == "" {
		return m.result.err
	}
	return m.text
}

// plainID is an id that can stand in an event, a URL and a command line as it is.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// run is the id of the run: the record's own, or the hash of its content.
func (t *trace) run(content [sha256.Size]byte) string {
	switch {
	case t.id == "":
		return hex.EncodeToString(content[:10])
	case len(t.id) <= maxID && plainID.MatchString(t.id):
		return t.id
	}
	sum := sha256.Sum256([]byte("custody/import/run/v1\x00" + t.id))
	return hex.EncodeToString(sum[:10])
}

// content is the hash of everything that is read of a run but its own id: equal for the same run in another format.
func (t *trace) content() [sha256.Size]byte {
	d := digester{sha256.New()}
	d.text("custody/import/content/v1")
	d.text(t.suite)
	d.text(t.pipeline)
	d.flag(t.failed)
	d.number(uint64(t.duration))
	for i := range t.messages {
		d.message(&t.messages[i])
	}
	return [sha256.Size]byte(d.h.Sum(nil))
}

// digester writes parts with their lengths, so that no two lists of parts are the same bytes.
type digester struct{ h hash.Hash }

func (d digester) message(m *message) {
	d.text(string(m.role))
	d.text(m.text)
	d.number(uint64(len(m.calls)))
	for i := range m.calls {
		d.text(m.calls[i].id)
		d.text(m.calls[i].tool)
		d.text(string(m.calls[i].args.value))
	}
	d.text(m.result.id)
	d.text(m.result.tool)
	d.text(string(m.result.args.value))
	d.flag(m.result.failed)
	d.text(m.result.err)
}

func (d digester) text(s string) {
	d.number(uint64(len(s)))
	d.h.Write([]byte(s))
}

func (d digester) number(n uint64) { d.h.Write(binary.BigEndian.AppendUint64(nil, n)) }

func (d digester) flag(b bool) {
	if b {
		d.number(1)
		return
	}
	d.number(0)
}

// check holds a run to the limits.
func (t *trace) check() error {
	calls := 0
	for i := range t.messages {
		calls += len(t.messages[i].calls)
	}
	switch {
	case len(t.messages) > MaxMessages:
		return wrong("messages", "more than %d", MaxMessages)
	case calls > MaxCalls:
		return wrong("messages", "more than %d tool calls", MaxCalls)
	}
	return nil
}

// seconds is a duration from a number of seconds.
func seconds(s float64) (time.Duration, error) {
	if math.IsNaN(s) || s < 0 || s > MaxDuration.Seconds() {
		return 0, wrong("duration", "not between 0 and %d seconds", int(MaxDuration.Seconds()))
	}
	return time.Duration(s * float64(time.Second)), nil
}

// act is one call on its way through the run.
type act struct {
	*call
	name     string // its id in the run, which the trace's need not be unique for
	asked    int    // the message that asks for it
	answered int    // the message with its result; 0 if there is none: the first message asks for nothing
	byID     bool   // the result names the call
	consent  *consent
	trust    eventv1.Trust // of what the model had read when it asked

	proposed, started, ended, requested, approved *node
}

// acts are the calls of a run, by the message that asks and by the message that answers.
type acts struct {
	all      []*act
	asked    [][]*act
	answered []*act // nil where a result answers no call
}

// linkCalls finds the result of each call: by id, else by tool and arguments, else by tool. Only calls of the newest message
// that has any are found otherwise than by id.
func linkCalls(t *trace) *acts {
	a := &acts{asked: make([][]*act, len(t.messages)), answered: make([]*act, len(t.messages))}
	var open, older []*act
	for i := range t.messages {
		m := &t.messages[i]
		if len(m.calls) > 0 {
			older, open = append(older, open...), a.ask(i, m)
		}
		if m.role == roleTool {
			open, older = a.answer(i, &m.result, open, older)
		}
	}
	return a
}

func (a *acts) ask(i int, m *message) []*act {
	for j := range m.calls {
		x := &act{call: &m.calls[j], asked: i}
		x.name = callName(len(a.all)+1, x.id)
		a.all = append(a.all, x)
		a.asked[i] = append(a.asked[i], x)
	}
	return slices.Clone(a.asked[i])
}

// answer pairs message i with the call that it answers, and takes that out of the calls that are open.
func (a *acts) answer(i int, r *result, open, older []*act) (stillOpen, stillOlder []*act) {
	sameID := func(x *act) bool { return r.id != "" && x.id == r.id }
	sameTool := func(x *act) bool { return x.tool == r.tool }
	sameCall := func(x *act) bool { return sameTool(x) && bytes.Equal(x.args.value, r.args.value) }
	if n := slices.IndexFunc(open, sameID); n >= 0 {
		return a.pair(open, n, i, !slices.ContainsFunc(open[n+1:], sameID)), older
	}
	if n := slices.IndexFunc(older, sameID); n >= 0 {
		return open, a.pair(older, n, i, !slices.ContainsFunc(older[n+1:], sameID))
	}
	for _, same := range []func(*act) bool{sameCall, sameTool} {
		if n := slices.IndexFunc(open, same); n >= 0 {
			return a.pair(open, n, i, false), older
		}
	}
	return open, older
}

// pair takes call n out of the list and gives it its answer.
func (a *acts) pair(list []*act, n, answer int, byID bool) []*act {
	list[n].answered, list[n].byID = answer, byID
	a.answered[answer] = list[n]
	return slices.Delete(list, n, n+1)
}
