package contain

import (
	"context"
	"errors"
	"time"

	"github.com/agentcustody/custody/event"
)

// Liveness is what a probe has found.
type Liveness uint8

// The findings. Only Dead proves anything.
const (
	Unclear Liveness = iota // the probe could not tell
	Alive                   // the credential still works
	Dead                    // the credential was tried, and refused
)

// ErrNotSent says that a revocation has not left: nothing has happened.
var ErrNotSent = errors.New("nothing was sent")

// Errand is one containment as a connector sees it.
type Errand struct {
	ID     ID
	Target event.Target
	Level  Level
	Reason string
}

// Revoker takes a credential out of the world and looks whether it is gone. Evidence is one line without secrets. Both are
// bounded by ctx, and may be called at the same time for different errands.
type Revoker interface {
	// Revoke asks for the revocation. Its success is the word of whoever was asked. An error that is ErrNotSent says that
	// nothing has happened; any other leaves open whether it has.
	Revoke(ctx context.Context, e Errand) (evidence string, err error)
	// Probe tries the credential itself.
	Probe(ctx context.Context, e Errand) (found Liveness, evidence string, err error)
}

// Connector is a way to revoke what some targets use.
type Connector struct {
	Name       string
	Covers     []event.Target // a containment of one of these, or of what holds them, revokes
	Credential string         // the credential's fingerprint: a containment of credential/T/<this> revokes; may be empty
	Idempotent bool           // repeating a revocation does no harm
	Timeout    time.Duration  // of one call; 0 is DefaultTimeout
	Revoker    Revoker
}

// DefaultTimeout bounds one call of a connector.
const DefaultTimeout = 15 * time.Second

// revokes reports whether a containment of t takes this connector's credential away.
func (c *Connector) revokes(t event.Target) bool {
	for _, own := range c.Covers {
		switch {
		case own.Tenant != t.Tenant:
		case own == t, t.Kind == event.TargetTenant, t.Kind == event.TargetCredential && c.Credential == t.Name:
			return true
		case t.Kind == event.TargetInstance && own.Kind == event.TargetConnector && own.Instance == t.Instance:
			return true
		case t.Kind == event.TargetConnector && t.Instance == event.AnyInstance && own.Kind == event.TargetConnector && own.Name == t.Name:
			return true
		}
	}
	return false
}

// connectorsFor are the connectors that a containment calls: all that fit at quarantine, and for a credential at any level,
// because there is nothing else to do about one.
func (e *Engine) connectorsFor(t event.Target, l Level) (list []*Connector) {
	if l != Quarantine && t.Kind != event.TargetCredential {
		return nil
	}
	for i := range e.cfg.Connectors {
		if c := &e.cfg.Connectors[i]; c.revokes(t) {
			list = append(list, c)
		}
	}
	return list
}

func (e *Engine) connector(name string) *Connector {
	for i := range e.cfg.Connectors {
		if e.cfg.Connectors[i].Name == name {
			return &e.cfg.Connectors[i]
		}
	}
	return nil
}
