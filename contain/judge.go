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
	// maxQuestions is how many questions of one gate are open at a time: one a call of high consequence.
	maxQuestions = 1024
	// judgePatience is how long the server waits for the rules for one question; the gate waits less.
	judgePatience = 10 * time.Second
)

// Question asks whether the rules have seen an emitter's events up to a number.
type Question struct {
	Tenant  event.TenantID
	Key     [32]byte
	EpochNo uint64
	Seq     uint64
}

// obey takes one message of the gate after its handshake.
func (w *watcher) obey(r *apiv1.WatchRequest) error {
	if q := r.GetJudge(); q != nil {
		return w.ask(q)
	}
	return w.renew(r.GetRenew())
}

// ask waits for the rules beside the stream. What they do not answer in time is not answered: the gate's own policy says what then.
func (w *watcher) ask(q *apiv1.Judge) error {
	if w.waiting++; w.waiting > maxQuestions {
		return status.Errorf(codes.ResourceExhausted, "judge: more than %d questions are open", maxQuestions)
	}
	ctx, question := w.link.Context(), Question{w.tenant, w.key.ID, q.GetEpochNo(), q.GetSeq()}
	go func() {
		number := q.GetNumber()
		if w.engine.judge(ctx, question) != nil {
			number = 0
		}
		select {
		case w.judged <- number:
		case <-ctx.Done():
		}
	}()
	return nil
}

func (e *Engine) judge(ctx context.Context, q Question) error {
	if e.cfg.Judged == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, judgePatience)
	defer cancel()
	return e.cfg.Judged(ctx, q)
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
