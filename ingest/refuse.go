package ingest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Short names of the reasons.
const (
	malformed  = apiv1.RefusalReason_REFUSAL_REASON_MALFORMED
	invalid    = apiv1.RefusalReason_REFUSAL_REASON_INVALID
	tooLarge   = apiv1.RefusalReason_REFUSAL_REASON_TOO_LARGE
	signature  = apiv1.RefusalReason_REFUSAL_REASON_SIGNATURE
	badKey     = apiv1.RefusalReason_REFUSAL_REASON_KEY
	noManifest = apiv1.RefusalReason_REFUSAL_REASON_MANIFEST
	gap        = apiv1.RefusalReason_REFUSAL_REASON_GAP
	commitment = apiv1.RefusalReason_REFUSAL_REASON_COMMITMENT
	pushback   = apiv1.RefusalReason_REFUSAL_REASON_PUSHBACK
	scope      = apiv1.RefusalReason_REFUSAL_REASON_SCOPE
	noObject   = apiv1.RefusalReason_REFUSAL_REASON_OBJECT
)

// refusal is an error that is answered to the sender and changes nothing.
type refusal struct {
	reason  apiv1.RefusalReason
	field   string // what is wrong, for example "events[3].execution.tool"; may be empty
	message string // for a person; holds no value from the batch
	retry   time.Duration
	head    *apiv1.EmitterHead // where the server stands: gap only
}

func refuse(reason apiv1.RefusalReason, field, format string, args ...any) *refusal {
	return &refusal{reason: reason, field: field, message: fmt.Sprintf(format, args...)}
}

// Error is what a person reads.
func (r *refusal) Error() string {
	if r.field == "" {
		return r.message
	}
	return r.field + ": " + r.message
}

// fieldRefusal makes a refusal of a validation error inside the named part.
func fieldRefusal(reason apiv1.RefusalReason, part string, err error) *refusal {
	var field *event.FieldError
	if !errors.As(err, &field) {
		return refuse(reason, part, "%v", err)
	}
	return refuse(reason, joinField(part, field.Field), "%s", field.Reason)
}

// indexed names an element of a list.
func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// joinField puts a field's name under that of the part which holds it.
func joinField(part, field string) string {
	if part == "" || field == "" {
		return part + field
	}
	return part + "." + field
}

// answer is the refusal as it is sent.
func (r *refusal) answer(digest []byte) *apiv1.EmitResponse {
	return &apiv1.EmitResponse{Message: &apiv1.EmitResponse_Refused{Refused: &apiv1.Refused{
		BatchDigest: digest, Reason: r.reason, Field: r.field, Message: r.message, RetryAfter: int64(r.retry), Head: r.head,
	}}}
}

// reasonName is the reason as counters and records have it, for example "too_large".
func reasonName(reason apiv1.RefusalReason) string {
	return strings.ToLower(strings.TrimPrefix(reason.String(), "REFUSAL_REASON_"))
}
