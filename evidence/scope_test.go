package evidence

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// What a scope may say, and what contradicts itself.
func TestScopesThatContradictThemselves(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Scope)
		want error
	}{
		"right":                      {func(*Scope) {}, nil},
		"another version":            {func(s *Scope) { s.Version++ }, ErrScope},
		"another time basis":         {func(s *Scope) { s.TimeBasis = "occurred" }, ErrScope},
		"no tenant":                  {func(s *Scope) { s.Tenant = "" }, ErrScope},
		"no log":                     {func(s *Scope) { s.Origin = "" }, ErrScope},
		"an instance":                {func(s *Scope) { s.Instance = "support-1" }, nil},
		"an instance of no name":     {func(s *Scope) { s.Instance = "Support 1" }, ErrScope},
		"Custody itself":             {func(s *Scope) { s.Instance = string(event.InstanceCustody) }, ErrScope},
		"a run":                      {func(s *Scope) { s.Instance, s.Run = "support-1", strings.Repeat("r", event.MaxID) }, nil},
		"a run of no instance":       {func(s *Scope) { s.Run = "r" }, ErrScope},
		"a run of too long a name":   {func(s *Scope) { s.Instance, s.Run = "support-1", strings.Repeat("r", event.MaxID+1) }, ErrScope},
		"a run that is no text":      {func(s *Scope) { s.Instance, s.Run = "support-1", "\xff" }, ErrScope},
		"no time":                    {func(s *Scope) { s.To = s.From }, nil},
		"from 1970 on":               {func(s *Scope) { s.From = 0 }, nil},
		"before 1970":                {func(s *Scope) { s.From = -1 }, ErrScope},
		"backwards":                  {func(s *Scope) { s.From = s.To + 1 }, ErrScope},
		"no records":                 {func(s *Scope) { s.End = s.Begin }, nil},
		"everything":                 {func(s *Scope) { s.Begin, s.End = 0, s.Size }, nil},
		"records backwards":          {func(s *Scope) { s.Begin = s.End + 1 }, ErrScope},
		"records after the last one": {func(s *Scope) { s.End = s.Size + 1 }, ErrScope},
		"of one record":              {func(s *Scope) { s.Begin, s.End, s.Size = 0, 1, 1 }, nil},
		"of no record":               {func(s *Scope) { s.Begin, s.End, s.Size = 0, 0, 0 }, ErrScope},
		"of the largest log":         {func(s *Scope) { s.Size = chain.MaxSize }, nil},
		"of a larger log":            {func(s *Scope) { s.Size = chain.MaxSize + 1 }, ErrScope},
		"long texts":                 {func(s *Scope) { s.Requester, s.Purpose = strings.Repeat("r", maxText), strings.Repeat("p", maxText) }, nil},
		"too long a requester":       {func(s *Scope) { s.Requester = strings.Repeat("r", maxText+1) }, ErrScope},
		"too long a purpose":         {func(s *Scope) { s.Purpose = strings.Repeat("p", maxText+1) }, ErrScope},
	} {
		s := Scope{Version: ScopeVersion, Tenant: "acme", Origin: "example.com/custody/acme", TimeBasis: basisReceived, From: 5, To: 9, Begin: 3, End: 7, Size: 8}
		if test.edit(&s); !errors.Is(s.check(), test.want) {
			t.Errorf("%s: %v", name, s.check())
		}
		text, err := marshalJSON(s)
		if err != nil {
			continue
		}
		if _, err := parseScope(text); (err == nil) != (test.want == nil) {
			t.Errorf("%s, read: %v", name, err)
		}
	}
}

// The time of grace ends with time itself.
func TestGraceEndsWithTime(t *testing.T) {
	const second = Instant(1e9)
	for _, test := range []struct {
		to    Instant
		grace Seconds
		want  Instant
	}{
		{5, 0, 5},
		{5, 2, 5 + 2*second},
		{math.MaxInt64, 0, math.MaxInt64},
		{math.MaxInt64 - second, 1, math.MaxInt64},
		{math.MaxInt64 - second + 1, 1, math.MaxInt64},
		{math.MaxInt64 - second - 1, 1, math.MaxInt64 - 1},
	} {
		if got := (&Scope{To: test.to, Grace: test.grace}).until(); got != test.want {
			t.Errorf("%d and %d s: %d, want %d", test.to, test.grace, got, test.want)
		}
	}
}

func TestWhomAScopeCovers(t *testing.T) {
	for scope, want := range map[string]bool{"": true, "support-1": true, "billing-1": false} {
		if got := (&Scope{Instance: scope}).covers("support-1"); got != want {
			t.Errorf("%q: %t", scope, got)
		}
	}
}

// An instant has one text.
func TestInstants(t *testing.T) {
	for text, ok := range map[string]bool{
		"1970-01-01T00:00:00.000000000Z": true, "2026-01-31T23:59:59.999999999Z": true, "2262-04-11T23:47:16.854775807Z": true,
		"1969-12-31T23:59:59.999999999Z": false, "2262-04-11T23:47:16.854775808Z": false, "2026-01-31T24:00:00.000000000Z": false,
		"2026-01-31T23:59:59.5Z": false, "2026-01-31T23:59:59.999999999+00:00": false, "2026-01-31": false, "": false, "3000-01-01T00:00:00.000000000Z": false, "2600-01-01T00:00:00.000000000Z": false,
	} {
		var i Instant
		if err := i.UnmarshalText([]byte(text)); (err == nil) != ok || ok && i.String() != text {
			t.Errorf("%q: %v, %s", text, err, i)
		}
	}
}

// As many reasons as a bundle may give are counted, and none that is longer than a text of a person.
func TestLimitsOfReasons(t *testing.T) {
	var r reasons
	for n := range maxReasons {
		reason := strings.Repeat("x", maxText-n)
		if place, err := r.field(reason); err != nil || int(place) != n {
			t.Fatalf("%d: %d, %v", n, place, err)
		}
	}
	file := r.file(&Disclosure{})
	for surplus, want := range []error{nil, ErrRedactions} {
		for range surplus {
			file.Reasons = append(file.Reasons, Reason{Reason: "more"})
		}
		text, err := marshalJSON(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRedactions(text); !errors.Is(err, want) {
			t.Errorf("%d more: %v", surplus, err)
		}
	}
	if _, err := r.field("more"); !errors.Is(err, ErrRedactions) {
		t.Errorf("more: %v", err)
	}
	if place, err := r.field(strings.Repeat("x", maxText)); err != nil || place != 0 || r.list[0].Fields != 2 {
		t.Errorf("the first again: %d, %v", place, err)
	}
	if _, err := new(reasons).field(strings.Repeat("x", maxText+1)); !errors.Is(err, ErrRedactions) {
		t.Errorf("longer: %v", err)
	}
}
