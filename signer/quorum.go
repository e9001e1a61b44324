package signer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of a quorum file. https://c2sp.org/tlog-policy asks for at least 32 logs, witnesses and groups.
const (
	maxQuorumFile = 64 << 10 // bytes
	maxQuorumDefs = 256      // logs, witnesses and groups together
)

// quorumNone is the name that asks for no cosignature at all.
const quorumNone = "none"

// ErrQuorum says that a text is not a C2SP tlog-policy of Ed25519 keys.
var ErrQuorum = errors.New("malformed witness policy")

// Witness is a cosigner that a quorum knows.
type Witness struct {
	Name     string   // what the quorum calls it; means nothing outside
	Cosigner Cosigner // its key name and key
	URL      string   // submission prefix of https://c2sp.org/tlog-witness; may be empty
}

// KnownLog is a log that a quorum file lists.
type KnownLog struct {
	Origin string
	Key    PublicKey
	URL    string // may be empty
}

// Quorum is a parsed https://c2sp.org/tlog-policy: who the witnesses are, and which of them must have cosigned a checkpoint. No
// two witnesses have the same key, and each counts in one way. It is never changed.
type Quorum struct {
	Logs      []KnownLog
	Witnesses []Witness

	defs   []definition // witnesses and groups, each after those that it names
	quorum int          // place in defs, −1 for none
}

// definition is a witness or a group.
type definition struct {
	name    string
	witness int   // place in Witnesses, −1 for a group
	need    int   // members of a group that suffice, ≥ 1
	members []int // places in defs, all before this one
}

// ParseQuorum reads a policy file: lines of words between spaces and tabs, comments with #. Key types other than Ed25519 are refused.
// The error is ErrQuorum.
func ParseQuorum(text []byte) (*Quorum, error) {
	if len(text) > maxQuorumFile || bytes.ContainsFunc(text, forbidden) || len(text) > 0 && text[len(text)-1] != '\n' {
		return nil, fmt.Errorf("parse witness policy: too long, a last line without its end, or control characters: %w", ErrQuorum)
	}
	p := &quorumParser{q: &Quorum{quorum: -1}, places: map[string]int{}, used: map[int]bool{}, keys: map[PublicKey]bool{}}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' })
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := p.line(words[0], words[1:]); err != nil {
			return nil, fmt.Errorf("parse witness policy: line %d: %w", number, err)
		}
	}
	if !p.decided {
		return nil, fmt.Errorf("parse witness policy: no quorum line: %w", ErrQuorum)
	}
	return p.q, nil
}

func forbidden(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }

// quorumParser knows what the lines before have said.
type quorumParser struct {
	q       *Quorum
	places  map[string]int // in defs, by name
	used    map[int]bool   // is a member already
	keys    map[PublicKey]bool
	decided bool // there was a quorum line
}

func (p *quorumParser) line(keyword string, words []string) error {
	if len(p.q.Logs)+len(p.q.defs) >= maxQuorumDefs && keyword != "quorum" {
		return fmt.Errorf("more than %d definitions: %w", maxQuorumDefs, ErrQuorum)
	}
	switch keyword {
	case "log":
		return p.log(words)
	case "witness":
		return p.witness(words)
	case "group":
		return p.group(words)
	case "quorum":
		return p.decide(words)
	}
	return fmt.Errorf("%q: %w", keyword, ErrQuorum)
}

func (p *quorumParser) log(words []string) error {
	if len(words) < 1 || len(words) > 2 {
		return fmt.Errorf("log: want a key and perhaps a URL: %w", ErrQuorum)
	}
	origin, key, err := ParseVKey(words[0])
	if err != nil {
		return fmt.Errorf("log: %w: %w", ErrQuorum, err)
	}
	l := KnownLog{Origin: origin, Key: key, URL: strings.Join(words[1:], "")}
	if slices.ContainsFunc(p.q.Logs, func(o KnownLog) bool { return o.Key == key }) {
		return fmt.Errorf("log %q: its key is there already: %w", origin, ErrQuorum)
	}
	p.q.Logs = append(p.q.Logs, l)
	return nil
}

func (p *quorumParser) witness(words []string) error {
	if len(words) < 2 || len(words) > 3 {
		return fmt.Errorf("witness: want a name, a key and perhaps a URL: %w", ErrQuorum)
	}
	name, key, err := ParseCosignatureVKey(words[1])
	if err != nil {
		return fmt.Errorf("witness %q: %w: %w", words[0], ErrQuorum, err)
	}
	if p.keys[key] {
		return fmt.Errorf("witness %q: its key is there already: %w", words[0], ErrQuorum)
	}
	p.keys[key] = true
	p.q.Witnesses = append(p.q.Witnesses, Witness{words[0], Cosigner{name, key}, strings.Join(words[2:], "")})
	return p.define(definition{name: words[0], witness: len(p.q.Witnesses) - 1})
}

func (p *quorumParser) define(d definition) error {
	if _, taken := p.places[d.name]; taken || d.name == quorumNone {
		return fmt.Errorf("%q: name is taken: %w", d.name, ErrQuorum)
	}
	p.places[d.name] = len(p.q.defs)
	p.q.defs = append(p.q.defs, d)
	return nil
}

func (p *quorumParser) group(words []string) error {
	if len(words) < 3 {
		return fmt.Errorf("group: want a name, a threshold and members: %w", ErrQuorum)
	}
	d := definition{name: words[0], witness: -1}
	for _, name := range words[2:] {
		place, known := p.places[name]
		if !known || p.used[place] {
			return fmt.Errorf("group %q: %q is not defined before, or a member already: %w", d.name, name, ErrQuorum)
		}
		p.used[place] = true
		d.members = append(d.members, place)
	}
	var err error
	if d.need, err = threshold(words[1], len(d.members)); err != nil {
		return fmt.Errorf("group %q: %w", d.name, err)
	}
	return p.define(d)
}

func threshold(word string, members int) (int, error) {
	switch word {
	case "any":
		return 1, nil
	case "all":
		return members, nil
	}
	k, err := strconv.Atoi(word)
	if err != nil || k < 1 || k > members || strconv.Itoa(k) != word {
		return 0, fmt.Errorf("threshold %q of %d members: %w", word, members, ErrQuorum)
	}
	return k, nil
}

func (p *quorumParser) decide(words []string) error {
	if len(words) != 1 || p.decided {
		return fmt.Errorf("quorum: want one line with one name: %w", ErrQuorum)
	}
	p.decided = true
	if words[0] == quorumNone {
		return nil
	}
	place, known := p.places[words[0]]
	if !known {
		return fmt.Errorf("quorum: %q is not defined before: %w", words[0], ErrQuorum)
	}
	p.q.quorum = place
	return nil
}

// Lines returns the one encoding of the witnesses, the groups and the quorum, without logs and, unless asked for, without URLs: what a
// verifier needs. Joined with newlines they parse to an equal quorum.
func (q *Quorum) Lines(urls bool) []string {
	var lines []string
	for _, d := range q.defs {
		words := []string{"witness", d.name}
		if d.witness >= 0 {
			w := q.Witnesses[d.witness]
			words = append(words, CosignatureVKey(w.Cosigner.Name, w.Cosigner.Key))
			if urls && w.URL != "" {
				words = append(words, w.URL)
			}
		} else {
			words = append([]string{"group", d.name, strconv.Itoa(d.need)}, q.names(d.members)...)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	decided := quorumNone
	if q.quorum >= 0 {
		decided = q.defs[q.quorum].name
	}
	return append(lines, "quorum "+decided)
}

func (q *Quorum) names(places []int) (names []string) {
	for _, p := range places {
		names = append(names, q.defs[p].name)
	}
	return names
}

// Cosigners are the witnesses' keys.
func (q *Quorum) Cosigners() []Cosigner {
	list := make([]Cosigner, len(q.Witnesses))
	for i, w := range q.Witnesses {
		list[i] = w.Cosigner
	}
	return list
}

// Met reports whether cosignatures by the given keys suffice. Keys that are no witness's do not count, and none counts twice.
func (q *Quorum) Met(cosigned map[PublicKey]bool) bool {
	if q.quorum < 0 {
		return true
	}
	has := make([]bool, q.quorum+1)
	for i, d := range q.defs[:q.quorum+1] {
		if d.witness >= 0 {
			has[i] = cosigned[q.Witnesses[d.witness].Cosigner.Key]
			continue
		}
		n := 0
		for _, m := range d.members {
			if has[m] {
				n++
			}
		}
		has[i] = n >= d.need
	}
	return has[q.quorum]
}

// Count returns how many of the witnesses are among the given keys.
func (q *Quorum) Count(cosigned map[PublicKey]bool) (n int) {
	for _, w := range q.Witnesses {
		if cosigned[w.Cosigner.Key] {
			n++
		}
	}
	return n
}
