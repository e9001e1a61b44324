package contain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// DrillPayload is the payload type of a report's envelope.
const DrillPayload = "application/vnd.custody.drill+json"

// Why there is no drill.
var (
	// ErrNoCanary says that an instance is not there to be stopped.
	ErrNoCanary = errors.New("not a canary: only what was created with --canary is stopped in a drill")
	// ErrContained says that it is stopped already.
	ErrContained = errors.New("contained already: release it first")
	// ErrTwo says that the level needs a second person.
	ErrTwo = errors.New("a drill does not wait for a second person: break the glass, or take a lower level")
	// ErrReport says that a file is no report that this key has signed.
	ErrReport = errors.New("not a report of a drill that this key has signed")
)

// DrillReport is what a drill has shown. Times are nanoseconds since the Unix epoch, by the stream; 0 is never.
type DrillReport struct {
	Tenant      string      `json:"tenant"`
	Instance    string      `json:"instance"`
	Containment string      `json:"containment"`
	Level       string      `json:"level"`
	Actor       string      `json:"actor"`
	Reason      string      `json:"reason"`
	RequestedAt int64       `json:"requested_at"`
	ReleasedAt  int64       `json:"released_at"`
	Proven      bool        `json:"proven"` // every step was verified
	Steps       []DrillStep `json:"steps"`
}

// DrillStep is when one step came to each state.
type DrillStep struct {
	Path           string `json:"path"`
	RequestedAt    int64  `json:"requested_at"`
	DeliveredAt    int64  `json:"delivered_at"`
	AcknowledgedAt int64  `json:"acknowledged_at"`
	VerifiedAt     int64  `json:"verified_at"`
	Evidence       string `json:"evidence"`
}

// Drill stops a canary for real, waits until every step is verified or the time is over, releases it, and returns the signed
// report. The report is in the log too. What a person or a rule contains meanwhile stays contained. The canary is released even if the caller goes away; if the server ends first, it stays
// contained, as anything would. Errors: ErrNoCanary, ErrContained, ErrTwo, ErrNoKey, those of Contain and Release.
func (e *Engine) Drill(ctx context.Context, o Order, wait time.Duration) (r *DrillReport, signed []byte, err error) {
	if err := e.mayDrill(o); err != nil {
		return nil, nil, fmt.Errorf("drill of %s: %w", o.Target, err)
	}
	o.drill = true
	c, already, err := e.Contain(ctx, o)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("drill: %w", err)
	case already:
		return nil, nil, fmt.Errorf("drill of %s: %w", o.Target, ErrContained)
	}
	c = e.awaitProof(ctx, c, wait)
	ctx = context.WithoutCancel(ctx)
	r = report(o, c)
	if r.ReleasedAt, err = e.endDrill(ctx, o, c.ID); err != nil {
		e.cfg.Log.ErrorContext(ctx, "a canary stays contained after its drill", slog.String("target", o.Target.String()))
		return nil, nil, fmt.Errorf("drill: %w", err)
	}
	if err := e.record(ctx, o.Target.Tenant, r.event(o)); err != nil {
		return nil, nil, fmt.Errorf("drill: record report: %w", err)
	}
	signed, err = r.sign(e.cfg.Key)
	return r, signed, err
}

// endDrill releases what the drill has contained, and nothing that somebody or a rule has asked for meanwhile. It returns when that was
// released; somebody may have done it before. What cannot be released is a containment as any other from then on.
func (e *Engine) endDrill(ctx context.Context, o Order, id ID) (releasedAt int64, err error) {
	_, _, err = e.lift(ctx, o, func(c *Containment) bool { return c.ID == id })
	e.acting.Lock()
	defer e.acting.Unlock()
	delete(e.drills, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	if c := e.snapshot(o.Target.Tenant, id); c != nil {
		releasedAt = c.ReleaseAt
	}
	return releasedAt, nil
}

// mayDrill reports why a target is not to be stopped in a drill.
func (e *Engine) mayDrill(o Order) error {
	canary := false
	e.cfg.Roster.View(o.Target.Tenant, func(s *registry.State) {
		i, known := s.Instance(string(o.Target.Instance))
		canary = known && i.Labels.GetCanary()
	})
	switch {
	case e.cfg.Key == nil:
		return ErrNoKey
	case o.Target.Kind != event.TargetInstance || !canary:
		return ErrNoCanary
	case needsTwo(o.Target, o.Level) && !o.BreakGlass:
		return ErrTwo
	case slices.ContainsFunc(e.active(o.Target.Tenant), func(c *Containment) bool { return c.Target == o.Target && c.Phase.Holds() }):
		return ErrContained
	}
	return nil
}

// awaitProof waits until every step is verified.
func (e *Engine) awaitProof(ctx context.Context, c *Containment, wait time.Duration) *Containment {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		moved := e.movement()
		if now := e.snapshot(c.Target.Tenant, c.ID); now != nil {
			c = now
		}
		if c.Proven() || !c.Phase.Holds() || ctx.Err() != nil {
			return c
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
}

// report is what a containment has shown.
func report(o Order, c *Containment) *DrillReport {
	r := &DrillReport{
		Tenant: string(o.Target.Tenant), Instance: string(o.Target.Instance), Containment: string(c.ID), Level: string(c.Level),
		Actor: o.Actor, Reason: o.Reason, RequestedAt: c.InForceAt, Proven: c.Proven(), Steps: []DrillStep{},
	}
	for i := range c.Steps[:min(len(c.Steps), event.MaxChecks)] {
		s := &c.Steps[i]
		r.Steps = append(r.Steps, DrillStep{
			Path: string(s.Path), RequestedAt: s.Times[requested], DeliveredAt: s.Times[delivered], AcknowledgedAt: s.Times[acknowledged],
			VerifiedAt: s.Times[verified], Evidence: s.Evidence,
		})
	}
	return r
}

// event is the report in the log. Evidence is cut, so that all steps fit.
func (r *DrillReport) event(o Order) *eventv1.System {
	d := &eventv1.Drill{Instance: r.Instance, Containment: r.Containment, Level: r.Level, Proven: r.Proven}
	for _, s := range r.Steps {
		d.Steps = append(d.Steps, &eventv1.DrillStep{
			Path: s.Path, RequestedAt: s.RequestedAt, DeliveredAt: s.DeliveredAt, AcknowledgedAt: s.AcknowledgedAt, VerifiedAt: s.VerifiedAt,
			Evidence: event.Cut(s.Evidence, maxArmedEvidence),
		})
	}
	return &eventv1.System{Actor: o.Actor, Reason: o.Reason, Detail: &eventv1.System_Drill{Drill: d}}
}

// envelope is a DSSE envelope (https://github.com/secure-systems-lab/dsse) with one signature.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

func (r *DrillReport) sign(key signer.Signer) ([]byte, error) {
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode report: %w", err)
	}
	sig, err := signer.SignDSSE(key, DrillPayload, payload)
	if err != nil {
		return nil, fmt.Errorf("sign report: %w", err)
	}
	public := key.Public()
	id := sha256.Sum256(public[:])
	return json.Marshal(envelope{DrillPayload, payload, []envelopeSignature{{hex.EncodeToString(id[:]), sig}}})
}

// VerifyDrill reads a report that the system key of a tenant's log has signed. The error is ErrReport.
func VerifyDrill(file []byte, tenant string, key signer.PublicKey) (*DrillReport, error) {
	var e envelope
	if err := json.Unmarshal(file, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if e.PayloadType != DrillPayload || len(e.Signatures) != 1 {
		return nil, fmt.Errorf("%w: not one signature over %s", ErrReport, DrillPayload)
	}
	if err := signer.VerifyDSSE(key, DrillPayload, e.Payload, e.Signatures[0].Sig); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	r := new(DrillReport)
	if err := json.Unmarshal(e.Payload, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if r.Tenant != tenant {
		return nil, fmt.Errorf("%w: of another tenant", ErrReport)
	}
	return r, nil
}
