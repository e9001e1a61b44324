package live

import (
	"errors"
	"fmt"
	"time"

	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
)

var (
	// ErrOff says that the rules do not run, because the server was started without them.
	ErrOff = errors.New("the rules are off: the server was started with --rules=off, and no rule fires or stops anything")
	// ErrClockLeap says that a message is too far ahead of the clock. Deadlines would pass that have not, and stop honest work; so the
	// rules stop for a person, as the ledger does at the same message.
	ErrClockLeap = errors.New("message is ahead of the clock")
)

// MaxClockLeap is how far a message may be ahead of the clock, as for the ledger.
const MaxClockLeap = 5 * time.Minute

// checkClock refuses to fold a message of the future.
func (e *Engine) checkClock(m *Message) error {
	if ahead := time.Unix(0, m.Time).Sub(e.cfg.Now()); ahead > MaxClockLeap {
		return fmt.Errorf("message %d is %s ahead: %w", m.Seq, ahead.Round(time.Second), ErrClockLeap)
	}
	return nil
}

// errReading says that the rules have not read all that there was at the start.
var errReading = errors.New("the rules are still reading the log")

// Standing is where the rules stand.
type Standing struct {
	Judged uint64 // stream sequence of the last message that they have seen
	At     int64  // ns since the Unix epoch, of that message; 0 if this process has seen none
	Err    error  // why they do not follow the stream: ErrOff, or what has stopped them; nil while they do
}

// Standing says where the rules stand.
func (e *Engine) Standing() Standing {
	e.mu.Lock()
	defer e.mu.Unlock()
	seq, _, err := e.progress.At()
	return Standing{seq, e.at, err}
}

// Waiting is what waits for a person in one instance.
type Waiting struct {
	Firings  uint32
	Severity string // the gravest of theirs
}

// Waiting counts the firings of a tenant that wait for a person, by instance. It is nil, and the error says why, if the rules do not
// follow the stream, or have not read all of it since the start: then nobody knows.
func (e *Engine) Waiting(name event.TenantID) (map[event.InstanceID]Waiting, error) {
	at := e.Standing()
	if at.Err == nil && at.Judged < e.cfg.End {
		at.Err = errReading
	}
	if at.Err != nil {
		return nil, at.Err
	}
	all := map[event.InstanceID]Waiting{}
	for _, f := range e.Firings(name, (*Firing).Wants) {
		w := all[event.InstanceID(f.Instance)]
		if w.Firings++; w.Severity == "" || rank(f.Severity) > rank(rules.Severity(w.Severity)) {
			w.Severity = string(f.Severity)
		}
		all[event.InstanceID(f.Instance)] = w
	}
	return all, nil
}
