package store

import (
	"fmt"
	"strings"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Filter selects events of one tenant. All conditions that are set must hold;
// the zero value of a field sets none.
type Filter struct {
	Tenant      string // required
	Instance    string
	Run         string
	Tool        string
	Kind        chain.Kind
	Action      string // whole ("execution.started") or without its kind ("started")
	Decision    eventv1.Decision
	Outcome     eventv1.Outcome
	Consequence eventv1.Consequence
	Principal   string
	Destination string // host or domain, of a call or of data
	Trust       eventv1.Trust
	Verdict     chain.Verdict
	Subject     string // of a sealed field
	MemoryKey   string
	Credential  string // fingerprint in hexadecimal
	Object      string // what a system event is about
	Fingerprint []byte // 8 bytes: events whose sealed content holds this value
	Approves    []byte // 16 bytes: approvals of this event

	ReceivedFrom int64  // ns UTC, first received time; 0 is the beginning
	ReceivedTo   int64  // ns UTC, first received time past the end; 0 is no end
	FromIndex    uint64 // first index
	ToIndex      uint64 // first index past the end; 0 is no end
	Newest       bool   // the last rows that match instead of the first; still in index order
	Limit        int    // most rows; 0 is no limit
}

// builder collects conditions and their parameters. Text comes from this
// package only; values travel as parameters.
type builder struct {
	conditions []string
	args       []any
}

func (b *builder) add(condition, name string, value any) {
	b.conditions = append(b.conditions, condition)
	b.args = append(b.args, named(name, value))
}

// text adds "column = value" unless the value is empty.
func (b *builder) text(column, value string) {
	if value != "" {
		b.add(fmt.Sprintf("%s = {%s:String}", column, column), column, value)
	}
}

// code adds "column = value" for an enumeration, unless the value is 0.
func (b *builder) code(column string, value int8) {
	if value != 0 {
		b.add(fmt.Sprintf("%s = {%s:Int8}", column, column), column, value)
	}
}

// atLeast and below add a bound unless it is 0.
func (b *builder) atLeast(column, name string, value uint64) {
	if value != 0 {
		b.add(fmt.Sprintf("%s >= {%s:UInt64}", column, name), name, value)
	}
}

func (b *builder) below(column, name string, value uint64) {
	if value != 0 {
		b.add(fmt.Sprintf("%s < {%s:UInt64}", column, name), name, value)
	}
}

func (f *Filter) build(head uint64) *builder {
	b := &builder{}
	b.add("tenant = {tenant:String}", "tenant", f.Tenant)
	b.add("stream_seq <= {head:UInt64}", "head", head)
	b.atLeast("idx", "from", f.FromIndex)
	b.below("idx", "to", f.ToIndex)
	b.times(f.ReceivedFrom, f.ReceivedTo)
	f.texts(b)
	f.codes(b)
	f.values(b)
	return b
}

func (b *builder) times(from, to int64) {
	const bound = "received %s fromUnixTimestamp64Nano({%s:Int64}, 'UTC')"
	if from != 0 {
		b.add(fmt.Sprintf(bound, ">=", "since"), "since", from)
	}
	if to != 0 {
		b.add(fmt.Sprintf(bound, "<", "until"), "until", to)
	}
}

func (f *Filter) texts(b *builder) {
	b.text("instance", f.Instance)
	b.text("run", f.Run)
	b.text("tool", f.Tool)
	b.text("principal", f.Principal)
	b.text("memory_key", f.MemoryKey)
	b.text("credential", f.Credential)
	b.text("object", f.Object)
	if f.Destination != "" {
		b.add("(destination = {destination:String} OR domain = {destination:String})", "destination", f.Destination)
	}
	if f.Subject != "" {
		b.add("has(subjects, {subject:String})", "subject", f.Subject)
	}
	if strings.Contains(f.Action, ".") {
		b.text("action", f.Action)
	} else if f.Action != "" {
		b.add("endsWith(action, concat('.', {action:String}))", "action", f.Action)
	}
}

func (f *Filter) codes(b *builder) {
	b.code("kind", int8(f.Kind))
	b.code("verdict", int8(f.Verdict))
	b.code("decision", int8(f.Decision))
	b.code("outcome", int8(f.Outcome))
	b.code("consequence", int8(f.Consequence))
	b.code("trust", int8(f.Trust))
}

func (f *Filter) values(b *builder) {
	if len(f.Fingerprint) > 0 {
		b.add("has(fingerprints, toFixedString(unhex({fingerprint:String}), 8))", "fingerprint", fmt.Sprintf("%x", f.Fingerprint))
	}
	if len(f.Approves) > 0 {
		b.add("subject_event = toFixedString(unhex({approves:String}), 16)", "approves", fmt.Sprintf("%x", f.Approves))
	}
}

// query is the statement that reads the rows of a filter.
func (b *builder) query(newest bool, limit uint64) string {
	order := "idx"
	if newest {
		order = "idx DESC"
	}
	return fmt.Sprintf("SELECT %s\nFROM ${db}.events\nWHERE %s\nORDER BY %s\nLIMIT %d",
		rowColumns, strings.Join(b.conditions, "\n  AND "), order, limit)
}
