package contain

import (
	"context"
	"errors"
	"fmt"
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

	// Delegate is what the errand is about instead of the connector's own credential: one that was derived from it, by the name
	// that Delegator gives. Empty is the credential itself.
	Delegate string
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

// Delegator is a Revoker whose credential may have others derived from it: roles that hold a role, tokens that were made from a
// token. Each becomes a step of its own.
type Delegator interface {
	// Delegates are the names of the derived credentials that there are now, sorted, without secrets.
	Delegates(ctx context.Context) ([]string, error)
}

// DryRunner is a Revoker that can say beforehand what it would do.
type DryRunner interface {
	// DryRun reaches the server with the rights of Revoke and leaves everything as it is. would says what Revoke would do, a
	// line for each credential, delegates last, without secrets. The error says why Revoke would fail now.
	DryRun(ctx context.Context, e Errand) (would []string, err error)
}

// Connector is a way to revoke what some targets use.
type Connector struct {
	Name        string
	Covers      []event.Target // a containment of one of these, or of what holds them, revokes
	Credential  string         // the credential's fingerprint: a containment of credential/T/<this> revokes; may be empty
	DerivedFrom string         // the connector whose credential this one's was made from: whoever calls that one calls this; may be empty
	Idempotent  bool           // repeating a revocation does no harm
	Timeout     time.Duration  // of one call; 0 is DefaultTimeout
	Revoker     Revoker
}

// Exercise is what came of trying a connector without harm.
type Exercise struct {
	Found    Liveness // what its probe says of the credential
	Would    []string // what a revocation would do; empty where the connector cannot say
	Evidence string   // of the probe
}

// Exercise tries a connector's whole path without harm: its rights by a dry run, where it has one, and its probe on the live
// credential. It is armed if the error is nil: then Found is Alive, or Dead where the credential has been revoked already. The
// error says why a revocation could not be made now, or not be proven.
func (c *Connector) Exercise(ctx context.Context) (x Exercise, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	e := Errand{ID: "exercise", Target: c.Covers[0], Level: Quarantine, Reason: "exercise"}
	if x.Would, err = c.dryRun(ctx, e); err != nil {
		return x, fmt.Errorf("dry run of %s: %w", c.Name, err)
	}
	x.Found, x.Evidence, err = c.Revoker.Probe(ctx, e)
	x.Evidence = short(x.Evidence)
	switch {
	case err != nil:
		return x, fmt.Errorf("probe of %s: %w", c.Name, err)
	case x.Found == Unclear:
		return x, fmt.Errorf("probe of %s: it cannot tell whether the credential lives", c.Name)
	}
	return x, nil
}

// dryRun is what a revocation would do; nothing where the connector cannot say.
func (c *Connector) dryRun(ctx context.Context, e Errand) (would []string, err error) {
	dry, ok := c.Revoker.(DryRunner)
	if !ok {
		return nil, nil
	}
	would, err = dry.DryRun(ctx, e)
	for i := range would {
		would[i] = short(would[i])
	}
	return would, err
}

// bounded gives one call its time.
func (c *Connector) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return context.WithTimeout(ctx, timeout)
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
// because there is nothing else to do about one; and those whose credentials were made from one of these.
func (e *Engine) connectorsFor(t event.Target, l Level) (list []*Connector) {
	if l != Quarantine && t.Kind != event.TargetCredential {
		return nil
	}
	for i := range e.cfg.Connectors {
		if c := &e.cfg.Connectors[i]; e.descends(c, func(c *Connector) bool { return c.revokes(t) }) {
			list = append(list, c)
		}
	}
	return list
}

// descends reports whether a connector, or one that its credential was made from, is such.
func (e *Engine) descends(c *Connector, is func(*Connector) bool) bool {
	for range e.cfg.Connectors { // no chain is longer
		if c == nil || is(c) {
			return c != nil
		}
		c = e.connector(c.DerivedFrom)
	}
	return false
}

func (e *Engine) connector(name string) *Connector {
	for i := range e.cfg.Connectors {
		if e.cfg.Connectors[i].Name == name {
			return &e.cfg.Connectors[i]
		}
	}
	return nil
}

// credentialOf is the fingerprint of what a connector's path revokes, empty if it is not named. A delegate's is not known.
func (e *Engine) credentialOf(p Path) string {
	if name, ok := p.Connector(); ok && p.Delegate() == "" {
		if c := e.connector(name); c != nil {
			return c.Credential
		}
	}
	return ""
}
