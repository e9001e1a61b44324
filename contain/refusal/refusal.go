// Package refusal turns the errors of the services of containment into gRPC statuses.
//
// What is the caller's to mend is named: a field of the request that the record cannot hold, and the errors that a service lists as its
// answers. Everything else is the server's: it goes to the log, and the caller hears that it can be tried again, and of a busy or silent
// stream that it is this. An error that is a status already passes as it is.
package refusal

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/stream"
)

// Answer is an error that callers are told, and the code that it has for them.
type Answer struct {
	Err  error
	Code codes.Code
}

// Service is how one service refuses.
type Service struct {
	Name    string // that its answers begin with where they name nothing of the request
	Prefix  string // of the fields of events, which callers know without
	Answers []Answer
}

// temporary are causes that callers are told: they pass.
var temporary = []error{stream.ErrPushback, stream.ErrUnavailable, context.DeadlineExceeded, context.Canceled}

// Status is the status of an error, nil if there is none.
func (s *Service) Status(ctx context.Context, log *slog.Logger, err error) error {
	if _, isStatus := status.FromError(err); isStatus {
		return err
	}
	for _, a := range s.Answers {
		if errors.Is(err, a.Err) {
			return status.Error(a.Code, err.Error())
		}
	}
	if field, ok := errors.AsType[*event.FieldError](err); ok {
		return status.Error(codes.InvalidArgument, strings.TrimPrefix(field.Field, s.Prefix)+": "+field.Reason)
	}
	log.ErrorContext(ctx, "a call failed", slog.String("service", s.Name), slog.Any("error", err))
	for _, cause := range temporary {
		if errors.Is(err, cause) {
			return status.Errorf(codes.Unavailable, "%s: %v", s.Name, cause)
		}
	}
	return status.Error(codes.Unavailable, s.Name+": the server cannot do this now; its log says why")
}
