package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// A leaf at an end of the period is that of its place and log, and on its side of the period. Here it is the only one of its log.
func TestLeavesAtTheEnds(t *testing.T) {
	const from, to = 100, 200
	for name, test := range map[string]struct {
		begin, end chain.Index
		received   Instant
		edit       func(leaf []byte)
		fails      string
	}{
		"before the period":            {1, 2, from - 1, nil, ""},
		"before, and inside":           {1, 2, from, nil, CheckBoundaries},
		"the first inside":             {0, 1, from, nil, ""},
		"the first inside, and before": {0, 1, from - 1, nil, CheckBoundaries},
		"the last inside":              {0, 1, to - 1, nil, ""},
		"the last inside, and after":   {0, 1, to, nil, CheckBoundaries},
		"after the period":             {0, 0, to, nil, ""},
		"after, and inside":            {0, 0, to - 1, nil, CheckBoundaries},
		"of another place":             {0, 1, from, func(leaf []byte) { leaf[1+32+7] = 3 }, CheckRange},
		"of another log":               {0, 1, from, func(leaf []byte) { leaf[1] ^= 1 }, CheckRange},
		"of no format":                 {0, 1, from, func(leaf []byte) { leaf[0] = 9 }, CheckRange},
	} {
		w := newWorld(t, "acme")
		leaf := bytes.Clone(w.leaves[0])
		parsed, err := chain.ParseLeaf(leaf)
		w.must(err)
		parsed.Time = int64(test.received)
		leaf, err = parsed.AppendBinary(nil)
		w.must(err)
		if test.edit != nil {
			test.edit(leaf)
		}
		v := &isolationCheck{findings: newFindings(isolationRules, false), said: &Isolation{}}
		v.said.Scope = Scope{Origin: w.origin, From: from, To: to, Begin: test.begin, End: test.end, Size: 1}
		v.bound(0, &ProvenLeaf{Leaf: leaf}, chain.Checkpoint{Origin: w.origin, Size: 1, Root: chain.LeafHash(leaf)})
		for _, check := range []string{CheckRange, CheckBoundaries} {
			if c := v.checks[check]; name == "of no format" && check == CheckRange && !strings.Contains(c.Detail, "parse leaf") {
				t.Errorf("%s: %s", name, c.Detail)
			} else if (c.Result == Failed) != (check == test.fails) || c.Examined != 1 && test.fails != CheckRange {
				t.Errorf("%s: %s: %+v", name, check, c)
			}
		}
	}
}

// What a statement says of other tenants is compared with the tenant's own records, value by value.
func TestSightings(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	caused, plain := a.execute(started, "call-1", "mail", causedBy(a.envelope().Id, eventv1.Relation_RELATION_INPUT)), a.execute(started, "call-2", "mail")
	id := func(e *eventv1.Event) string { return event.ID(e.GetId()).String() }
	said := &Isolation{Connections: []Connection{
		{Kind: "cause", Value: id(caused)}, {Kind: "cause", Value: id(plain)}, {Kind: "effect", Value: id(plain)}, {Kind: "connector", Value: "gmail"},
	}}
	s := newSightings(said)
	s.watch(5, caused)
	s.watch(7, plain)
	for i, want := range []Connection{{Records: 1, First: 5, Last: 5}, {}, {Records: 1, First: 7, Last: 7}, {Records: 2, First: 5, Last: 7}} {
		c := said.Connections[i]
		if got := s.values[sighting{c.Kind, c.Value}]; got.Records != want.Records || got.First != want.First || got.Last != want.Last {
			t.Errorf("%s %s: %+v", c.Kind, c.Value, got)
		}
	}
	for name, test := range map[string]struct {
		c      Connection
		agrees bool
	}{
		"right":                {Connection{Kind: "connector", Value: "gmail", Records: 2, First: 5, Last: 7}, true},
		"another first":        {Connection{Kind: "connector", Value: "gmail", Records: 2, First: 6, Last: 7}, false},
		"another last":         {Connection{Kind: "connector", Value: "gmail", Records: 2, First: 5, Last: 6}, false},
		"another number":       {Connection{Kind: "connector", Value: "gmail", Records: 3, First: 5, Last: 7}, false},
		"a cause of many":      {Connection{Kind: "cause", Value: id(caused), Records: 3, First: 5, Last: 9}, true},
		"an effect of many":    {Connection{Kind: "effect", Value: id(plain), Records: 3, First: 7, Last: 9}, true},
		"a cause of another":   {Connection{Kind: "cause", Value: id(caused), Records: 1, First: 6, Last: 6}, false},
		"a cause that is none": {Connection{Kind: "cause", Value: id(plain)}, false},
	} {
		if err := s.agrees(&test.c); (err == nil) != test.agrees {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A statement is of the policy's log, its state is of its own, and the bundle beside it is a good one of the same records.
func TestStatementsBesideOthers(t *testing.T) {
	w := house(t)
	file, bundle := w.statement(w, "08:30", "10:30", connections(t, w)...), w.bundle("08:30", "10:30")
	longer := w.bundle("08:30", "11:30")
	policy, other, broken := w.policy(), w.policy(), w.policy()
	other.Origin += "x"
	other.LogKey = signer.VKey(other.Origin, w.log.Public())
	broken.Witnesses = []string{"nobody"}
	export := w.export
	w.export = w.key()
	foreign := w.bundle("08:30", "10:30")
	w.export = export
	acne := func(text string) string { return strings.Replace(text, "custody/acme", "custody/acne", 1) }
	moved := w.resigned(w.export, file, func(i *Isolation) { i.Checkpoint = acne(i.Checkpoint) })
	elsewhere := w.resigned(w.export, file, func(i *Isolation) { i.Checkpoint, i.Scope.Origin = acne(i.Checkpoint), acne(i.Scope.Origin) })
	for name, test := range map[string]struct {
		file, bundle []byte
		policy       *Policy
		fails        string
		text         string
		detail       string
	}{
		"right":                         {file, bundle, policy, "", "compare by telephone", ""},
		"no state":                      {w.resigned(w.export, file, func(i *Isolation) { i.Checkpoint = "nothing" }), nil, nil, CheckCheckpoint, "", "read checkpoint: "},
		"another log's policy":          {file, nil, other, CheckPolicy, "The statement is about another log or another tenant than the policy.", "policy of"},
		"a policy that cannot be read":  {file, nil, broken, CheckPolicy, "", ""},
		"another log's state":           {moved, nil, nil, CheckCheckpoint, "does not verify: see below", "checkpoint of"},
		"a bundle of another log":       {elsewhere, bundle, nil, CheckBundle, "", "other records"},
		"a bundle of more records":      {file, longer, policy, CheckBundle, "", "other records"},
		"a bundle signed by a stranger": {file, foreign, policy, CheckBundle, "", "does not verify: exit code"},
		"no bundle":                     {file, []byte("no bundle at all"), policy, CheckBundle, "", "does not verify: exit code"},
		"no statement":                  {file[:9], nil, policy, CheckFormat, "This file is no statement of isolation that can be read.", ""},
	} {
		var beside *Beside
		if test.bundle != nil {
			beside = &Beside{bytes.NewReader(test.bundle), int64(len(test.bundle))}
		}
		v, err := VerifyIsolation(t.Context(), test.file, test.policy, beside, VerifyOptions{})
		switch {
		case name == "a policy that cannot be read":
			if v.Policy != "" || v.check(CheckWitnesses).Result != Failed {
				t.Errorf("%s: %q, %+v", name, v.Policy, v.check(CheckWitnesses))
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case test.fails == "" && (v.Exit != ExitVerified || v.check(CheckConnections).Examined != 5):
			t.Errorf("%s: exit %d\n%s", name, v.Exit, v.Text())
		case test.fails != "" && v.check(test.fails).Result != Failed, test.fails == CheckBundle && v.check(CheckConnections).Result != NotRun:
			t.Errorf("%s: %s: %+v", name, test.fails, v.Checks)
		case !strings.Contains(v.check(test.fails).Detail, test.detail):
			t.Errorf("%s: %s", name, v.check(test.fails).Detail)
		case !strings.Contains(v.Text(), test.text) || strings.Contains(v.Text(), "compare by telephone") != (test.policy != nil && test.fails != CheckFormat):
			t.Errorf("%s: does not say %q:\n%s", name, test.text, v.Text())
		}
	}
}

// What could not be compared is said, and what a person has decided about a connection.
func TestStatementsInWords(t *testing.T) {
	w := house(t)
	file, err := StateIsolation(t.Context(), w, w.scope("08:30", "10:30"), w.export, func(chain.Index, chain.Index) ([]Connection, uint64, error) { return nil, 2, nil })
	w.must(err)
	if v := w.isolation(t, file, nil); !strings.Contains(v.Text(), "2 of them could not be compared") {
		t.Errorf("%s", v.Text())
	}
	review := func(outcome, reason string, until Instant) *Connection {
		return &Connection{Review: &Review{Reviewer: "dana", At: at("09:00"), Record: 8, Outcome: outcome, Reason: reason, Until: until}}
	}
	for name, test := range map[string]struct {
		c    *Connection
		want string
	}{
		"nobody":            {&Connection{}, "nobody has reviewed it"},
		"for good":          {review("approved", "", 0), `an exception, approved by “dana” on 2026-03-02 09:00:00 UTC (record 8)`},
		"until later":       {review("approved", "", at("11:00")), `an exception, approved by “dana” on 2026-03-02 09:00:00 UTC (record 8), until 2026-03-02 11:00:00 UTC`},
		"it had ended":      {review("approved", "", at("09:30")), `an exception, approved by “dana” on 2026-03-02 09:00:00 UTC (record 8), until 2026-03-02 09:30:00 UTC: it had ended before the period did`},
		"refused, with why": {review("rejected", "no need", 0), `refused by “dana” on 2026-03-02 09:00:00 UTC (record 8); reason: “no need”`},
	} {
		if got := test.c.exception(at("10:30")); got != test.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Of a log that cannot be read, whichever call fails, and of one whose connections cannot be found, there is no statement.
func TestNoStatementOfABrokenLog(t *testing.T) {
	w := house(t)
	state := func(b *breaks, scope Scope) error {
		_, err := StateIsolation(t.Context(), breakable{w, b}, scope, w.export, func(chain.Index, chain.Index) ([]Connection, uint64, error) { return nil, 0, b.next() })
		return err
	}
	count := new(breaks)
	w.must(state(count, w.scope("08:30", "10:30")))
	for at := 1; at <= count.calls; at++ {
		if err := state(&breaks{at: at}, w.scope("08:30", "10:30")); !errors.Is(err, errBroken) {
			t.Errorf("call %d of %d: %v", at, count.calls, err)
		}
	}
	part := w.scope("08:30", "10:30")
	part.Instance = "support-1"
	if err := state(new(breaks), part); !errors.Is(err, ErrIsolation) {
		t.Errorf("of a part: %v", err)
	}
}

// What a statement may say, case by case.
func TestStatementsThatContradictTheirList(t *testing.T) {
	w := house(t)
	file := w.statement(w, "08:30", "10:30", connections(t, w)...)
	one := func(edit func(*Connection)) func(*Isolation) { return func(i *Isolation) { edit(&i.Connections[0]) } }
	review := func(edit func(*Review)) func(*Isolation) { return func(i *Isolation) { edit(i.Connections[1].Review) } }
	for name, test := range map[string]struct {
		edit func(*Isolation)
		good bool
	}{
		"nothing":                    {func(*Isolation) {}, true},
		"another version":            {func(i *Isolation) { i.Version = 2 }, false},
		"no scope":                   {func(i *Isolation) { i.Scope.Version = 9 }, false},
		"of a part":                  {func(i *Isolation) { i.Scope.Instance = "support-1" }, false},
		"with a grace":               {func(i *Isolation) { i.Scope.Grace = 1 }, false},
		"as many unseen as there":    {func(i *Isolation) { i.Unseen = i.Scope.records() }, true},
		"more unseen than there":     {func(i *Isolation) { i.Unseen = i.Scope.records() + 1 }, false},
		"a bound too few":            {func(i *Isolation) { i.Bounds = i.Bounds[1:] }, false},
		"another sentence":           {func(i *Isolation) { i.Says += " " }, false},
		"of no kind":                 {one(func(c *Connection) { c.Kind = "colour" }), false},
		"of no value":                {one(func(c *Connection) { c.Value = "" }), false},
		"of a long value":            {one(func(c *Connection) { c.Value = strings.Repeat("a", event.MaxText) }), true},
		"of too long a value":        {one(func(c *Connection) { c.Value = strings.Repeat("a", event.MaxText+1) }), false},
		"with nobody":                {one(func(c *Connection) { c.With = "umbrella" }), false},
		"in no record":               {one(func(c *Connection) { c.Records = 0 }), false},
		"in the first record":        {one(func(c *Connection) { c.First, c.Last, c.Records = 4, 4, 1 }), true},
		"before the first record":    {one(func(c *Connection) { c.First, c.Last, c.Records = 3, 4, 1 }), false},
		"in the last record":         {one(func(c *Connection) { c.First, c.Last, c.Records = 8, 8, 1 }), true},
		"after the last record":      {one(func(c *Connection) { c.First, c.Last, c.Records = 8, 9, 1 }), false},
		"ends before it begins":      {one(func(c *Connection) { c.First, c.Last, c.Records = 7, 5, 1 }), false},
		"in every record":            {one(func(c *Connection) { c.First, c.Last, c.Records = 4, 8, 5 }), true},
		"in more records than there": {one(func(c *Connection) { c.First, c.Last, c.Records = 4, 8, 6 }), false},
		"twice":                      {func(i *Isolation) { i.Connections[1] = i.Connections[0] }, false},
		"an outcome of no kind":      {review(func(r *Review) { r.Outcome = "none" }), false},
		"reviewed in the last":       {review(func(r *Review) { r.Record, r.At = 8, at("10:30")-1 }), true},
		"reviewed after the last":    {review(func(r *Review) { r.Record = 9 }), false},
		"reviewed at the end":        {review(func(r *Review) { r.At = at("10:30") }), false},
	} {
		i, _, err := parseIsolation(file)
		w.must(err)
		i.Connections = i.Connections[:2]
		i.Says = i.sentence()
		if i.Scope.Begin != 4 || i.Scope.End != 9 || i.Connections[1].Review == nil {
			t.Fatalf("records %d to %d", i.Scope.Begin, i.Scope.End)
		}
		says := i.Says
		if test.edit(i); i.Says == says {
			i.Says = i.sentence()
		}
		if err := i.check(); (err == nil) != test.good || err != nil && !errors.Is(err, ErrIsolation) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The most connections that a statement has, and one more.
func TestMostConnections(t *testing.T) {
	w := house(t)
	i, _, err := parseIsolation(w.statement(w, "08:30", "10:30"))
	w.must(err)
	for n := range maxConnections + 1 {
		i.Connections = append(i.Connections, Connection{Kind: "connector", Value: fmt.Sprintf("%08d", n), With: stranger, Records: 1, First: 4, Last: 4})
	}
	i.Says = i.sentence()
	if err := i.check(); !errors.Is(err, ErrIsolation) {
		t.Errorf("one more: %v", err)
	}
	i.Connections = i.Connections[:maxConnections]
	i.Says = i.sentence()
	w.must(i.check())
}

// A connection without a review is under no exception, whatever its list says.
func TestReviewedConnections(t *testing.T) {
	for name, test := range map[string]struct {
		r    *Review
		want bool
	}{
		"nobody":          {nil, false},
		"for good":        {&Review{Outcome: "approved"}, true},
		"refused":         {&Review{Outcome: "rejected"}, false},
		"until the end":   {&Review{Outcome: "approved", Until: 10}, true},
		"until before it": {&Review{Outcome: "approved", Until: 9}, false},
	} {
		if got := (&Connection{Review: test.r}).reviewed(10); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// The file of a statement has its form.
func TestFilesOfStatements(t *testing.T) {
	w := house(t)
	good := w.statement(w, "08:30", "10:30")
	signatures := func(edit func(*envelope)) []byte {
		says, rest, _ := bytes.Cut(good, []byte("\n\n"))
		e := new(envelope)
		w.must(unmarshalJSON(rest, e))
		edit(e)
		file, err := marshalJSON(e)
		w.must(err)
		return slices.Concat(says, []byte("\n\n"), file)
	}
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"right":             {good, nil},
		"one line":          {bytes.ReplaceAll(good, []byte("\n\n"), []byte("\n")), ErrIsolation},
		"no envelope":       {bytes.Replace(good, []byte("{"), []byte("["), 1), ErrJSON},
		"another payload":   {signatures(func(e *envelope) { e.Payload = []byte("[]") }), ErrJSON},
		"no signature":      {signatures(func(e *envelope) { e.Signatures = e.Signatures[:0] }), ErrIsolation},
		"two signatures":    {signatures(func(e *envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) }), ErrIsolation},
		"nobody's":          {signatures(func(e *envelope) { e.Signatures[0].KeyID = nil }), ErrIsolation},
		"as long as may be": {append(bytes.Clone(good), make([]byte, MaxIsolation-len(good))...), ErrJSON},
		"longer":            {append(bytes.Clone(good), make([]byte, MaxIsolation-len(good)+1)...), ErrIsolation},
	} {
		if _, _, err := parseIsolation(test.file); !is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The leaves beside the ends are in order, each once.
func TestLeavesBesideTheEnds(t *testing.T) {
	for _, test := range []struct {
		s    Scope
		want []chain.Index
	}{
		{Scope{Begin: 4, End: 9, Size: 20}, []chain.Index{3, 4, 8, 9}},
		{Scope{Begin: 4, End: 4, Size: 20}, []chain.Index{3, 4}},
		{Scope{Begin: 4, End: 5, Size: 20}, []chain.Index{3, 4, 5}},
		{Scope{Begin: 0, End: 20, Size: 20}, []chain.Index{0, 19}},
		{Scope{Begin: 0, End: 0, Size: 20}, []chain.Index{0}},
	} {
		if got := test.s.boundIndices(); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v", test.s, got)
		}
	}
}

// The bundle beside a statement may be of an earlier state, which ended where the period did.
func TestStatementBesideAnEarlierBundle(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(2).say(a.closing())
	bundle := w.bundle("08:30", "10:30")
	w.clock("11:00").access()
	v := w.isolation(t, w.statement(w, "08:30", "10:30"), bundle)
	if v.check(CheckBundle).Result != Passed || v.Exit != ExitVerified {
		t.Errorf("exit %d\n%s", v.Exit, v.Text())
	}
}

// Without a signature there is no statement.
func TestNoStatementWithoutASignature(t *testing.T) {
	w := house(t)
	key := brokenSigner{w.export, &breaks{at: 1}}
	_, err := StateIsolation(t.Context(), w, w.scope("08:30", "10:30"), key, func(chain.Index, chain.Index) ([]Connection, uint64, error) { return nil, 0, nil })
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
}
