package contain

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// DefaultJudgeWait is how long an act of high consequence waits for the rules: five times what they take under full load.
	DefaultJudgeWait = 250 * time.Millisecond
	// maxQuestions is how many questions of one gate are open at a time; a gate asks anew only for what is newer.
	maxQuestions = 1024
	// judgePatience is how long the server waits for the rules for one question; the gate waits less.
	judgePatience = 10 * time.Second
)

// obey takes one message of the gate after its handshake.
func (w *watcher) obey(r *apiv1.WatchRequest) error {
	if q := r.GetJudge(); q != nil {
		return w.ask(q)
	}
	if a := r.GetAsk(); a != nil {
		return w.plead(a)
	}
	return w.renew(r.GetRenew())
}

// ask waits for the rules beside the stream. What they do not answer in time is not answered: the gate's own policy says what then.
func (w *watcher) ask(q *apiv1.Judge) error {
	if w.waiting++; w.waiting > maxQuestions {
		return status.Errorf(codes.ResourceExhausted, "judge: more than %d questions are open", maxQuestions)
	}
	ctx := w.link.Context()
	go func() {
		number := q.GetNumber()
		if w.engine.judge(ctx, w.tenant, q.GetStreamSeq()) != nil {
			number = 0
		}
		select {
		case w.judged <- number:
		case <-ctx.Done():
		}
	}()
	return nil
}

// judge waits for the rules, and until all that they asked for is in force here.
func (e *Engine) judge(ctx context.Context, tenant event.TenantID, seq uint64) error {
	if e.cfg.Judged == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, judgePatience)
	defer cancel()
	after, err := e.cfg.Judged(ctx, tenant, seq)
	if err != nil {
		return err
	}
	return e.progress.Await(ctx, after)
}

// answer tells the gate, after the control that the rules may have changed.
func (w *watcher) answer(number uint64) error {
	w.waiting--
	if number == 0 {
		return nil
	}
	version, _ := w.engine.version(w.tenant)
	if err := w.update(version); err != nil {
		return err
	}
	return w.link.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Judged{Judged: &apiv1.Judged{Number: number}}})
}
