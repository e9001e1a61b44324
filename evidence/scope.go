package evidence

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ScopeVersion is the only version of scope.json.
const ScopeVersion = 1

// basisReceived says that a scope's times are those at which Custody received the events.
const basisReceived = "received"

// ErrScope says that a scope contradicts itself.
var ErrScope = errors.New("malformed scope")

// Instant is a time in nanoseconds since the Unix epoch, UTC, ≥ 0. Its text form has nine decimals:
// "2026-01-31T00:00:00.000000000Z".
type Instant int64

const instantLayout = "2006-01-02T15:04:05.000000000Z"

// String is the text form.
func (i Instant) String() string { return time.Unix(0, int64(i)).UTC().Format(instantLayout) }

// MarshalText returns the text form.
func (i Instant) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText is the inverse of MarshalText and accepts nothing else.
func (i *Instant) UnmarshalText(text []byte) error {
	t, err := time.Parse(instantLayout, string(text))
	if err != nil {
		return fmt.Errorf("parse instant: %w", err)
	}
	if *i = Instant(t.UnixNano()); *i < 0 || i.String() != string(text) {
		return fmt.Errorf("parse instant %q: before 1970, beyond 2262 or another form", text)
	}
	return nil
}

// Scope says which part of which log a bundle shows, to whom and why. Export is given the part above Begin and sets the rest.
type Scope struct {
	Version   int     `json:"version"`            // ScopeVersion
	Tenant    string  `json:"tenant"`             // whose log
	Origin    string  `json:"origin"`             // the log's name
	TimeBasis string  `json:"time_basis"`         // "received"
	From      Instant `json:"from"`               // first time that is in the range
	To        Instant `json:"to"`                 // first time past the period, ≥ From
	Grace     Seconds `json:"grace,omitempty"`    // how long after To what arrived late is in the range too
	Instance  string  `json:"instance,omitempty"` // the only instance whose records are shown; every one if empty
	Run       string  `json:"run,omitempty"`      // the only run of that instance that is shown; every one if empty
	Requester string  `json:"requester"`          // who asked, at most 4096 bytes
	Purpose   string  `json:"purpose"`            // why, at most 4096 bytes

	Begin chain.Index `json:"begin"` // first leaf received at or after From
	End   chain.Index `json:"end"`   // first leaf received at or after To and Grace; Begin ≤ End ≤ Size
	Size  chain.Index `json:"size"`  // leaves under the checkpoint, ≥ 1

	ExportedAt Instant `json:"-"` // the exporter's clock: it stands in custody.jsonl, so that the same export says the same
}

// Seconds is a length of time, ≥ 0.
type Seconds uint32

// until is the first time past the range.
func (s *Scope) until() Instant {
	const longest = math.MaxInt64
	if grace := Instant(s.Grace) * Instant(time.Second); s.To <= longest-grace {
		return s.To + grace
	}
	return longest
}

// whole reports whether every record of the range is in the scope.
func (s *Scope) whole() bool { return s.Instance == "" }

// covers reports whether messages of an instance are in the scope, wholly or in part.
func (s *Scope) covers(instance string) bool { return s.whole() || s.Instance == instance }

// selects reports whether an event of an instance that is covered is shown: every one, or those of the run, and the one that
// closes the numbering, which is of no run.
func (s *Scope) selects(e *eventv1.Event) bool {
	return s.Run == "" || e.GetRun() == s.Run || closesEpoch(e)
}

// shownBegin and shownEnd bound the leaves that the bundle shows: the range and its neighbours, where the log has them.
func (s *Scope) shownBegin() chain.Index { return s.Begin - min(s.Begin, 1) }
func (s *Scope) shownEnd() chain.Index   { return min(s.End+1, s.Size) }

// atEndOfLog reports whether the range ends where the log does, so that nothing shows what came next.
func (s *Scope) atEndOfLog() bool { return s.End == s.Size }

// records is the number of leaves in the range.
func (s *Scope) records() uint64 { return uint64(s.End - s.Begin) }

func (s *Scope) check() error {
	switch {
	case s.Version != ScopeVersion || s.TimeBasis != basisReceived:
		return fmt.Errorf("version %d, times %q: %w", s.Version, s.TimeBasis, ErrScope)
	case !event.ValidName(s.Tenant) || checkOrigin(s.Origin) != nil:
		return fmt.Errorf("tenant %q, origin %q: %w", s.Tenant, s.Origin, ErrScope)
	case s.Instance != "" && (!event.ValidName(s.Instance) || s.Instance == string(event.InstanceCustody)):
		return fmt.Errorf("instance %q: %w", s.Instance, ErrScope)
	case s.Run != "" && (s.Instance == "" || len(s.Run) > event.MaxID || !utf8.ValidString(s.Run)):
		return fmt.Errorf("run %q of instance %q: %w", s.Run, s.Instance, ErrScope)
	case s.From < 0 || s.From > s.To:
		return fmt.Errorf("from %s to %s: %w", s.From, s.To, ErrScope)
	case s.Begin > s.End || s.End > s.Size || s.Size < 1 || s.Size > chain.MaxSize:
		return fmt.Errorf("[%d, %d) of %d: %w", s.Begin, s.End, s.Size, ErrScope)
	case len(s.Requester) > maxText || len(s.Purpose) > maxText:
		return fmt.Errorf("requester or purpose longer than %d bytes: %w", maxText, ErrScope)
	}
	return nil
}

// parseScope reads scope.json. The errors are ErrJSON and ErrScope.
func parseScope(b []byte) (*Scope, error) {
	s := new(Scope)
	if err := unmarshalJSON(b, s); err != nil {
		return nil, err
	}
	return s, s.check()
}
