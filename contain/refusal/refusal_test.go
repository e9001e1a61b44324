package refusal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/contain/refusal"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/stream"
)

var errGrown = errors.New("the reach has grown")

func TestStatus(t *testing.T) {
	service := &refusal.Service{Name: "contain", Prefix: "system.", Answers: []refusal.Answer{{Err: errGrown, Code: codes.Aborted}}}
	tests := map[string]struct {
		err    error
		code   codes.Code
		says   string
		logged bool
	}{
		"nothing":          {nil, codes.OK, "", false},
		"an answer":        {fmt.Errorf("apply: %w", errGrown), codes.Aborted, "apply: the reach has grown", false},
		"a field":          {&event.FieldError{Field: "system.reason", Reason: "too long"}, codes.InvalidArgument, "reason: too long", false},
		"a status":         {status.Error(codes.NotFound, "none"), codes.NotFound, "none", false},
		"a busy stream":    {fmt.Errorf("record: %w", stream.ErrPushback), codes.Unavailable, "contain: " + stream.ErrPushback.Error(), true},
		"out of time":      {context.DeadlineExceeded, codes.Unavailable, "contain: context deadline exceeded", true},
		"what is not told": {errors.New("dial 10.0.0.7: refused"), codes.Unavailable, "contain: the server cannot do this now; its log says why", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			got := status.Convert(service.Status(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), test.err))
			if got.Code() != test.code || got.Message() != test.says || (log.Len() > 0) != test.logged {
				t.Errorf("%v %q, logged %q", got.Code(), got.Message(), log.String())
			}
		})
	}
}
