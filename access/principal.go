package access

import (
	"context"
	"encoding/hex"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Fingerprint is SHA-256 of a client certificate in DER.
type Fingerprint [32]byte

// String is the fingerprint in hex.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Principal is the person behind a call.
type Principal struct {
	Name        string // as the grants have it
	Certificate Fingerprint
}

// Grant is what a certificate's holder is in one log.
type Grant struct {
	Tenant event.TenantID // event.TenantOperator for acts over all tenants
	Name   string         // the principal's name in this log
	Roles  Roles
}

// Grants answers from the grants in force. Implementations are safe for concurrent use and answer from
// memory; a revocation counts from the next answer on.
type Grants interface {
	// Grants returns what the certificate's holder is in each log, in ascending order of tenant, at most
	// one for each; none for a certificate that is not known.
	Grants(certificate Fingerprint) []Grant
}

// Read is a call that discloses a tenant's records to a person.
type Read struct {
	Tenant      event.TenantID
	Principal   Principal
	Method      string   // full gRPC name
	QueryDigest [32]byte // SHA-256 of the request's deterministic encoding
	Opened      bool     // sealed content is disclosed
	Purpose     string   // the caller's stated purpose, if the request has one
}

// Event returns the detail of the record's leaf.
func (r Read) Event() *eventv1.System {
	return &eventv1.System{
		Actor:  r.Principal.Name,
		Reason: r.Purpose,
		Detail: &eventv1.System_Access{Access: &eventv1.Access{
			Method: r.Method, QueryDigest: r.QueryDigest[:], Opened: r.Opened, Certificate: r.Principal.Certificate[:],
		}},
	}
}

// Recorder makes reads durable. It is called before anything is disclosed; an error means that nothing
// may be.
type Recorder interface {
	// RecordRead returns when the read is durable in its tenant's log, with its place in the stream.
	RecordRead(ctx context.Context, read Read) (streamSeq uint64, err error)
}

// Call is what was decided about the call in whose context it is.
type Call struct {
	Principal Principal
	Tenants   []event.TenantID // that the call may touch, ascending: one, or all that the caller may see
	All       bool             // the act is over all tenants
	Recorded  uint64           // the stream's last message with a record of this call, 0 if it is not recorded

	as []Grant // what the caller is in each of Tenants
}

type callKey struct{}

// From returns the decision about the call that ctx belongs to. Without one, nothing may be disclosed.
func From(ctx context.Context) (Call, bool) {
	call, ok := ctx.Value(callKey{}).(Call)
	return call, ok
}

// With returns a context that carries the decision about a call.
func With(ctx context.Context, call Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}
