package rules

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// Severity of a firing.
type Severity string

// Action is what a live rule asks the brake for.
type Action string

// Reach is what a live rule's action stops.
type Reach string

// The reaches. A quarantine is of the instance always.
const (
	OfRun      Reach = "run"      // the run that the firing is about; the instance where it is about none
	OfInstance Reach = "instance" // the instance, with all its runs
)

// The severities and actions that exist, from the least to the most.
var (
	Severities = []Severity{"low", "medium", "high", "critical"}
	Actions    = []Action{"none", "restrict", "pause", "quarantine"}
)

// Rule is one rule as it is written; see the package comment.
type Rule struct {
	ID           string      `yaml:"rule"`
	Version      uint32      `yaml:"version"`
	Description  string      `yaml:"description"`
	Severity     Severity    `yaml:"severity"`
	Requirements []string    `yaml:"requirements"`
	ASI          []string    `yaml:"asi"`
	Atlas        []string    `yaml:"atlas"`
	On           []string    `yaml:"on"`
	When         string      `yaml:"when"`
	Sequence     *Sequence   `yaml:"sequence"`
	Threshold    *Threshold  `yaml:"threshold"`
	Baseline     *Baseline   `yaml:"baseline"`
	Deadline     *Deadline   `yaml:"deadline"`
	Action       Action      `yaml:"action"`
	Reach        Reach       `yaml:"reach"`   // what the action stops
	Content      bool        `yaml:"content"` // it goes by what a detector made of the wording of content, which an attacker chooses
	Exceptions   []Exception `yaml:"exceptions"`
	Tests        []Test      `yaml:"tests"`

	program
}

// Sequence fires when all steps have happened in order within a time.
type Sequence struct {
	By     string   `yaml:"by"`
	Within Duration `yaml:"within"`
	Steps  []string `yaml:"steps"`
}

// Threshold fires when something happens so often within a time, or with so many different values.
type Threshold struct {
	By       string   `yaml:"by"`
	Within   Duration `yaml:"within"`
	Count    int      `yaml:"count"`
	Distinct string   `yaml:"distinct"` // a text expression; empty counts events
}

// Baseline fires on a value that was not seen before, after so many events and so long a time.
type Baseline struct {
	By    string   `yaml:"by"`
	Of    string   `yaml:"of"` // a text expression; an empty text is no value
	Learn uint64   `yaml:"learn"`
	Over  Duration `yaml:"over" json:",omitempty"` // since the first event; 0 is any
}

// Deadline fires when a condition is not met within a time after another.
type Deadline struct {
	By     string   `yaml:"by"`
	After  string   `yaml:"after"`
	Until  string   `yaml:"until"`
	Within Duration `yaml:"within"`
}

// Exception keeps a rule silent where somebody answers for it, until a day.
type Exception struct {
	Name    string `yaml:"name"`
	When    string `yaml:"when"`
	Owner   string `yaml:"owner"`
	Expires Date   `yaml:"expires"`
}

// Duration is a time.Duration as YAML writes it: 90s, 10m.
type Duration time.Duration

// UnmarshalYAML reads a duration.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	parsed, err := time.ParseDuration(n.Value)
	if err != nil || parsed <= 0 {
		return fmt.Errorf("line %d: %q is not a duration such as 90s or 10m", n.Line, n.Value)
	}
	*d = Duration(parsed)
	return nil
}

// Date is a day, UTC: nanoseconds since the Unix epoch at its beginning.
type Date int64

// UnmarshalYAML reads 2027-06-30.
func (d *Date) UnmarshalYAML(n *yaml.Node) error {
	day, err := time.Parse(time.DateOnly, n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %q is not a day such as 2027-06-30", n.Line, n.Value)
	}
	*d = Date(day.UnixNano())
	return nil
}

// file is a document of a rule file: rules, and what they are written with.
type file struct {
	Lists  map[string][]string `yaml:"lists"`
	Macros []macro             `yaml:"macros"`
	Rules  []*Rule             `yaml:"rules"`
}

type macro struct {
	Name string `yaml:"macro"`
	When string `yaml:"when"`
}

// Set is rules that belong together, compiled.
type Set struct {
	Rules []*Rule // in the order of the file

	byAction map[string][]*Rule
	waiting  []*Rule // those with a deadline
	digest   [sha256.Size]byte
}

// Parse reads rule files, which see the lists and macros of those before. It is strict: an unknown field, a condition that does
// not compile, an exception without an owner or a day are errors, all of them at once. A file is named by its place, from 1.
func Parse(files ...[]byte) (*Set, error) {
	c := newCompiler()
	set := &Set{byAction: map[string][]*Rule{}}
	var errs []error
	for i, source := range files {
		f, err := decode(source)
		if err != nil {
			errs = append(errs, fmt.Errorf("rule file %d: %w", i+1, err))
			continue
		}
		errs = append(errs, c.names(f))
		for j, r := range f.Rules {
			if r == nil {
				errs = append(errs, fmt.Errorf("rule file %d: rules[%d] is empty", i+1, j))
				continue
			}
			errs = append(errs, set.add(c, r))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	set.seal()
	return set, nil
}

func decode(source []byte) (*file, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("longer than %d bytes", MaxSource)
	}
	d := yaml.NewDecoder(bytes.NewReader(source))
	d.KnownFields(true)
	f := new(file)
	if err := d.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return f, nil
}

// add holds a rule to the format and compiles it.
func (s *Set) add(c *compiler, r *Rule) error {
	r.Action = cmp.Or(r.Action, "none")
	r.When, r.Reach = cmp.Or(r.When, "true"), cmp.Or(r.Reach, OfRun)
	if err := s.check(r); err != nil {
		return fmt.Errorf("rule %q: %w", r.ID, err)
	}
	if err := c.compile(r); err != nil {
		return fmt.Errorf("rule %q: %w", r.ID, err)
	}
	if err := c.digest(r); err != nil {
		return fmt.Errorf("rule %q: %w", r.ID, err)
	}
	r.index = len(s.Rules)
	s.Rules = append(s.Rules, r)
	if r.Deadline != nil {
		s.waiting = append(s.waiting, r)
	}
	for _, action := range r.On {
		s.byAction[action] = append(s.byAction[action], r)
	}
	return nil
}

// ruleID is what stands in findings and commands.
var ruleID = regexp.MustCompile(`^[a-z][a-z0-9-]{2,62}$`)

func (s *Set) check(r *Rule) error {
	switch {
	case !ruleID.MatchString(r.ID):
		return errors.New("rule: want [a-z][a-z0-9-]*, 3 to 63 bytes")
	case s.Rule(r.ID) != nil:
		return errors.New("rule: given twice")
	case len(s.Rules) >= MaxRules:
		return fmt.Errorf("more than %d rules", MaxRules)
	case r.Version == 0:
		return errors.New("version: counts from 1")
	case r.Description == "":
		return errors.New("description: missing")
	case !slices.Contains(Severities, r.Severity):
		return fmt.Errorf("severity: want one of %v", Severities)
	case !slices.Contains(Actions, r.Action):
		return fmt.Errorf("action: want one of %v", Actions)
	case r.Reach != OfRun && r.Reach != OfInstance:
		return errors.New("reach: want run or instance")
	case len(r.On) == 0:
		return errors.New("on: missing: the actions that the rule looks at")
	}
	for _, action := range r.On {
		if !knownAction(action) {
			return fmt.Errorf("on: no action is called %q", action)
		}
	}
	return errors.Join(r.checkShape(), r.checkExceptions())
}

// checkShape holds what goes beyond one event to its limits.
func (r *Rule) checkShape() error {
	shapes := 0
	for _, is := range []bool{r.Sequence != nil, r.Threshold != nil, r.Baseline != nil, r.Deadline != nil} {
		if is {
			shapes++
		}
	}
	switch {
	case shapes > 1:
		return errors.New("sequence, threshold, baseline, deadline: one of them at most")
	case r.by() != "" && joins[r.by()] == nil:
		return fmt.Errorf("by: %q joins nothing; there are %v", r.by(), joinNames())
	case shapes == 1 && r.by() == "":
		return errors.New("by: missing")
	case r.Sequence != nil && (len(r.Sequence.Steps) < 2 || len(r.Sequence.Steps) > MaxSteps):
		return fmt.Errorf("sequence.steps: want 2 to %d", MaxSteps)
	case r.Threshold != nil && (r.Threshold.Count < 2 || r.Threshold.Count > MaxCount):
		return fmt.Errorf("threshold.count: want 2 to %d", MaxCount)
	case r.Baseline != nil && (r.Baseline.Learn == 0 || r.Baseline.Of == ""):
		return errors.New("baseline: wants of and learn")
	case r.Sequence != nil && r.Sequence.Within == 0, r.Threshold != nil && r.Threshold.Within == 0, r.Deadline != nil && r.Deadline.Within == 0:
		return errors.New("within: missing")
	}
	return nil
}

func (r *Rule) by() string {
	switch {
	case r.Sequence != nil:
		return r.Sequence.By
	case r.Threshold != nil:
		return r.Threshold.By
	case r.Baseline != nil:
		return r.Baseline.By
	case r.Deadline != nil:
		return r.Deadline.By
	}
	return ""
}

func (r *Rule) checkExceptions() error {
	for _, x := range r.Exceptions {
		switch {
		case x.Name == "" || x.When == "":
			return errors.New("exceptions: each has a name and a condition")
		case x.Owner == "" || x.Expires == 0:
			return fmt.Errorf("exceptions: %s: somebody owns it, and it expires", x.Name)
		}
	}
	return nil
}

// Rule is the rule of an id, nil if there is none.
func (s *Set) Rule(id string) *Rule {
	for _, r := range s.Rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}
