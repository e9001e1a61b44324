package evidence

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// controls.json maps controls of frameworks to questions about the records of the range, and says what the records answer. It is a
// function of the records and of the mapping that it carries, so a verifier evaluates it again. The mappings of this program are the
// data files in the folder controls; a bundle that carries others says so in its verdict ([Controls.Known]).
//
// No control is ever declared passed. That is a judgement, and people make it.

// What the records say about a question or a control.
const (
	Supported    = "supported"     // there are records, all here, and each is as it should be
	Exception    = "exception"     // a record is not as it should be
	NotEvidenced = "not-evidenced" // there are none, or not all of them are here
)

// ErrControls says that a mapping contradicts itself.
var ErrControls = errors.New("malformed mapping of controls")

// Limits of controls.json, beside that of its size.
const (
	maxTests      = 256 // questions: a person reads them all
	maxFrameworks = 16
	maxControls   = 256 // of a framework
)

// Test is one question about the records, and its answer. The first four fields are the mapping's.
type Test struct {
	ID      string `json:"id"`
	What    string `json:"what"`    // for a person
	Select  string `json:"select"`  // query: which records it is about
	Require string `json:"require"` // query: what each of them must fulfil; if it is empty, it is enough that there are some

	State            string   `json:"state"`                       // Supported, Exception or NotEvidenced
	Population       uint64   `json:"population"`                  // records that Select picks
	Exceptions       uint64   `json:"exceptions"`                  // of those, records that do not fulfil Require
	Unseen           uint64   `json:"unseen"`                      // records of the same kinds whose content is not in the bundle
	Records          []uint64 `json:"records,omitempty"`           // of the population, the first maxShown
	Events           []string `json:"events,omitempty"`            // their ids
	ExceptionRecords []uint64 `json:"exception_records,omitempty"` // of the exceptions, the first maxShown
	ExceptionEvents  []string `json:"exception_events,omitempty"`  // their ids
}

// Control is one control of a framework, and what its questions answer together.
type Control struct {
	ID    string   `json:"id"`
	Title string   `json:"title"`
	Note  string   `json:"note"`  // what the records cannot say
	Tests []string `json:"tests"` // ids; without any, nothing is evidenced
	State string   `json:"state"` // Exception if one question has one; Supported if all are supported
}

// Framework is a set of controls that somebody else has written.
type Framework struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Source   string    `json:"source"`
	Note     string    `json:"note"`
	Controls []Control `json:"controls"`
}

// Mapping is controls.json.
type Mapping struct {
	Version    int         `json:"version"` // 1
	Tests      []Test      `json:"tests"`
	Frameworks []Framework `json:"frameworks"`
}

//go:embed controls/*.json
var mappingFiles embed.FS

// mappingOrder is the order of the frameworks in a bundle.
var mappingOrder = []string{"soc2", "eu-ai-act", "owasp-asi", "custody"}

// NoFramework is the name that asks for no framework at all.
const NoFramework = "none"

// ownMapping is the mapping of this program, without answers: the frameworks that are asked for, all if none is, and their questions.
func ownMapping(frameworks ...string) (*Mapping, error) {
	var all []Test
	if err := readMapping("tests", &all); err != nil {
		return nil, err
	}
	m := &Mapping{Version: 1, Tests: []Test{}, Frameworks: []Framework{}}
	for _, name := range mappingOrder {
		if len(frameworks) > 0 && !slices.Contains(frameworks, name) {
			continue
		}
		var f Framework
		if err := readMapping(name, &f); err != nil {
			return nil, err
		}
		m.Frameworks = append(m.Frameworks, f)
	}
	for _, t := range all {
		if m.asks(t.ID) {
			m.Tests = append(m.Tests, t)
		}
	}
	return m, nil
}

// asks reports whether a control rests on a question.
func (m *Mapping) asks(id string) bool {
	return slices.ContainsFunc(m.Frameworks, func(f Framework) bool {
		return slices.ContainsFunc(f.Controls, func(c Control) bool { return slices.Contains(c.Tests, id) })
	})
}

func readMapping(name string, v any) error {
	b, err := mappingFiles.ReadFile("controls/" + name + ".json")
	if err != nil {
		return fmt.Errorf("read mapping %s: %w", name, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read mapping %s: %w", name, err)
	}
	return nil
}

// parseMapping reads controls.json. The errors are ErrJSON, ErrControls and ErrQuery.
func parseMapping(b []byte) (*Mapping, error) {
	m := new(Mapping)
	if err := unmarshalJSON(b, m); err != nil {
		return nil, err
	}
	return m, nil
}

// clear removes the answers to the questions. Those of the controls are written anew at the end.
func (m *Mapping) clear() {
	for i := range m.Tests {
		t := &m.Tests[i]
		*t = Test{ID: t.ID, What: t.What, Select: t.Select, Require: t.Require}
	}
}

// question is a test that is being asked.
type question struct {
	*Test
	selects, requires query
	kinds             uint64 // whose records it is about, by the number that leaves write
}

// examination asks the questions of a mapping about records, one after the other.
type examination struct {
	mapping   *Mapping
	questions []question
	byAction  [maxValues][]*question
	unseen    [event.KindSystem + 1]uint64
}

// newExamination begins with a mapping, whose answers it removes. The errors are ErrControls and ErrQuery.
func newExamination(m *Mapping) (*examination, error) {
	if m.Version != 1 || len(m.Tests) > maxTests || len(m.Frameworks) > maxFrameworks {
		return nil, fmt.Errorf("version %d, %d questions, %d frameworks: %w", m.Version, len(m.Tests), len(m.Frameworks), ErrControls)
	}
	m.clear()
	x := &examination{mapping: m, questions: make([]question, len(m.Tests))}
	for i := range m.Tests {
		if err := x.ask(i); err != nil {
			return nil, fmt.Errorf("question %q: %w", m.Tests[i].ID, err)
		}
	}
	return x, x.checkControls()
}

func (x *examination) ask(i int) (err error) {
	q := &x.questions[i]
	q.Test = &x.mapping.Tests[i]
	if q.selects, err = parseQuery(q.Select); err != nil {
		return err
	}
	if q.requires, err = parseQuery(q.Require); err != nil {
		return err
	}
	if x.mapping.test(q.ID) != q.Test {
		return fmt.Errorf("twice: %w", ErrControls)
	}
	actions := q.selects.actions()
	q.kinds = kindsOf(actions)
	for rest := actions; rest != 0; rest &= rest - 1 {
		action := bits.TrailingZeros64(rest)
		x.byAction[action] = append(x.byAction[action], q)
	}
	return nil
}

// test is the first question of an id, nil if there is none.
func (m *Mapping) test(id string) *Test {
	at := slices.IndexFunc(m.Tests, func(t Test) bool { return t.ID == id })
	if at < 0 {
		return nil
	}
	return &m.Tests[at]
}

func (x *examination) checkControls() error {
	for _, f := range x.mapping.Frameworks {
		if len(f.Controls) > maxControls {
			return fmt.Errorf("framework %q: %d controls: %w", f.ID, len(f.Controls), ErrControls)
		}
		for _, c := range f.Controls {
			for _, id := range c.Tests {
				if x.mapping.test(id) == nil {
					return fmt.Errorf("control %q: no question %q: %w", c.ID, id, ErrControls)
				}
			}
		}
	}
	return nil
}

// add asks about the next record.
func (x *examination) add(f *fact) {
	f.action = actionCodes[event.Action(f.event)]
	for _, q := range x.byAction[f.action] {
		if q.selects.holds(f) {
			q.Population++
			q.Records, q.Events = mention(q.Records, q.Events, f)
			if !q.requires.holds(f) {
				q.Exceptions++
				q.ExceptionRecords, q.ExceptionEvents = mention(q.ExceptionRecords, q.ExceptionEvents, f)
			}
		}
	}
}

// mention names a record while few are named.
func mention(records []uint64, events []string, f *fact) ([]uint64, []string) {
	if len(records) == maxShown {
		return records, events
	}
	return append(records, uint64(f.index)), append(events, event.ID(f.event.GetId()).String())
}

// missing counts a record whose content is not in the bundle.
func (x *examination) missing(kind chain.Kind) {
	if int(kind) < len(x.unseen) {
		x.unseen[kind]++
	}
}

// answer is controls.json after the last record.
func (x *examination) answer() *Mapping {
	for i := range x.questions {
		x.questions[i].conclude(&x.unseen)
	}
	for i := range x.mapping.Frameworks {
		for j := range x.mapping.Frameworks[i].Controls {
			x.mapping.conclude(&x.mapping.Frameworks[i].Controls[j])
		}
	}
	return x.mapping
}

func (q *question) conclude(unseen *[event.KindSystem + 1]uint64) {
	q.Unseen = 0
	for kind, n := range unseen {
		if q.kinds>>kind&1 == 1 {
			q.Unseen += n
		}
	}
	switch {
	case q.Exceptions > 0:
		q.State = Exception
	case q.Population == 0 || q.Unseen > 0 && q.Require != "":
		q.State = NotEvidenced
	default:
		q.State = Supported
	}
}

// conclude: one exception is one too many, and everything must be supported. Where nothing is asked, nothing is evidenced.
func (m *Mapping) conclude(c *Control) {
	c.State = Supported
	if len(c.Tests) == 0 {
		c.State = NotEvidenced
	}
	for _, id := range c.Tests {
		switch m.test(id).State {
		case Exception:
			c.State = Exception
			return
		case NotEvidenced:
			c.State = NotEvidenced
		}
	}
}

// Controls sums up controls.json in a verdict.
type Controls struct {
	Known        bool `json:"known"` // the mapping is the one of this program
	Supported    int  `json:"supported"`
	Exceptions   int  `json:"exceptions"`
	NotEvidenced int  `json:"not_evidenced"`
}

// sum counts the controls of all frameworks by their states.
func (m *Mapping) sum() (c Controls) {
	for _, f := range m.Frameworks {
		for i := range f.Controls {
			switch f.Controls[i].State {
			case Supported:
				c.Supported++
			case Exception:
				c.Exceptions++
			default:
				c.NotEvidenced++
			}
		}
	}
	c.Known = m.known()
	return c
}

// known reports whether every framework and every question is this program's, answers aside.
func (m *Mapping) known() bool {
	own, err := ownMapping()
	if err != nil {
		return false
	}
	for _, t := range m.Tests {
		o := own.test(t.ID)
		if o == nil || o.What != t.What || o.Select != t.Select || o.Require != t.Require {
			return false
		}
	}
	return !slices.ContainsFunc(m.Frameworks, func(f Framework) bool { return !own.has(f) })
}

// has reports whether a framework is one of the mapping's, answers aside.
func (m *Mapping) has(f Framework) bool {
	return slices.ContainsFunc(m.Frameworks, func(o Framework) bool {
		return o.ID == f.ID && o.Name == f.Name && o.Source == f.Source && o.Note == f.Note && slices.EqualFunc(o.Controls, f.Controls, sameControl)
	})
}

func sameControl(a, b Control) bool {
	return a.ID == b.ID && a.Title == b.Title && a.Note == b.Note && slices.Equal(a.Tests, b.Tests)
}
