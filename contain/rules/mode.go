package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Mode says what a rule may do in a tenant.
type Mode string

// The modes. A rule begins in shadow; a person's system.rule event in the tenant's log changes that, from the next leaf on.
const (
	Off    Mode = "off"    // it is not looked at
	Shadow Mode = "shadow" // it fires, and nothing is done
	Live   Mode = "live"   // it fires, and its action is asked for
)

// ParseMode reads a mode.
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); m == Off || m == Shadow || m == Live {
		return m, nil
	}
	return "", fmt.Errorf("mode: %q is none of shadow, live, off", s)
}

// maxModes is how many rules a log can set the mode of: those of many sets, over the years.
const maxModes = 16 * MaxRules

// ruleMode is what the log says of a rule.
type ruleMode struct {
	Version uint32
	Digest  [sha256.Size]byte
	Mode    string
}

// Mode is the mode of a rule at the next leaf. A mode that was set for another version or another text of the rule does not count:
// the rule is in shadow, and stale says why.
func (e *Engine) Mode(r *Rule) (mode Mode, stale bool) {
	m, set := e.state.Modes[r.ID]
	switch {
	case !set:
		return Shadow, false
	case m.Version != r.Version || m.Digest != r.digest:
		return Shadow, true
	}
	return Mode(m.Mode), false
}

// Edited reports whether the log knows this version of a rule with another meaning: its mode cannot be set then.
func (e *Engine) Edited(r *Rule) bool {
	m, set := e.state.Modes[r.ID]
	return set && m.Version == r.Version && m.Digest != r.digest
}

// learnMode takes a person's word on a rule, as the registry does: an older version than the last is not gone back to, and a version has one
// meaning.
func (e *Engine) learnMode(x *eventv1.RuleChange) {
	old, known := e.state.Modes[x.GetRule()]
	_, err := ParseMode(x.GetMode())
	other := known && x.GetVersion() == old.Version && !bytes.Equal(x.GetSourceDigest(), old.Digest[:])
	if err != nil || x.GetVersion() < old.Version || other || !known && len(e.state.Modes) >= maxModes || len(x.GetSourceDigest()) != sha256.Size {
		return
	}
	e.state.Modes[strings.Clone(x.GetRule())] = ruleMode{x.GetVersion(), [sha256.Size]byte(x.GetSourceDigest()), strings.Clone(x.GetMode())}
	e.lookUp()
}

// lookUp finds out once what Observe asks for with every event.
func (e *Engine) lookUp() {
	for i, r := range e.set.Rules {
		e.modes[i], _ = e.Mode(r)
		e.beyond[i] = e.state.Rules[r.ID]
	}
}

// Digest is SHA-256 of what the rule means: its fields without its tests and its description, its conditions with their macros
// written out, and the lists that these name.
func (r *Rule) Digest() [sha256.Size]byte { return r.digest }

// Digest is SHA-256 over the rules' digests, in the order of their files.
func (s *Set) Digest() [sha256.Size]byte { return s.digest }

func (s *Set) seal() {
	h := sha256.New()
	h.Write([]byte("custody/rules/v1\x00"))
	for _, r := range s.Rules {
		h.Write(r.digest[:])
	}
	s.digest = [sha256.Size]byte(h.Sum(nil))
}

// word is a name in a condition.
var word = regexp.MustCompile(`[a-z][a-z0-9_]*`)

// digest fixes what a compiled rule means.
func (c *compiler) digest(r *Rule) error {
	meaning := *r
	meaning.Description, meaning.Tests = "", nil
	named := map[string][]string{}
	for _, source := range r.sources() {
		text, err := c.text(source)
		if err != nil {
			return err
		}
		named[text] = nil
		for _, name := range word.FindAllString(text, -1) {
			if items, isList := c.lists[name]; isList {
				named[name] = items
			}
		}
	}
	b, err := json.Marshal(struct {
		Rule *Rule
		With map[string][]string
	}{&meaning, named})
	if err != nil {
		return fmt.Errorf("write what the rule means: %w", err)
	}
	r.digest = sha256.Sum256(append([]byte("custody/rule/v1\x00"), b...))
	return nil
}

// sources are the conditions and text expressions of a rule.
func (r *Rule) sources() []string {
	all := []string{r.When}
	if x := r.Sequence; x != nil {
		all = append(all, x.Steps...)
	}
	if x := r.Threshold; x != nil {
		all = append(all, x.Distinct)
	}
	if x := r.Baseline; x != nil {
		all = append(all, x.Of)
	}
	if x := r.Deadline; x != nil {
		all = append(all, x.After, x.Until)
	}
	for _, x := range r.Exceptions {
		all = append(all, x.When)
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}
