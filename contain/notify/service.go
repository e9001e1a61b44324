package notify

import (
	"context"
	"strconv"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Service implements NotifyService.
type Service struct {
	apiv1.UnimplementedNotifyServiceServer
	Engine *Engine
}

// ListReceivers lists the receivers with how far each has got.
func (s *Service) ListReceivers(context.Context, *apiv1.ListReceiversRequest) (*apiv1.ListReceiversResponse, error) {
	response := new(apiv1.ListReceiversResponse)
	for _, w := range s.Engine.workers {
		response.Receivers = append(response.Receivers, w.info())
	}
	return response, nil
}

func (w *worker) info() *apiv1.ReceiverInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &apiv1.ReceiverInfo{
		Receiver: w.receiver.Name, Kind: w.receiver.Kind, Delivered: w.state.Delivered, GivenUp: w.state.GivenUp,
		Position: w.state.Position, Trouble: w.trouble, LastDeliveredAt: w.state.LastDelivered,
	}
}

// TestReceivers sends each a notification that is a test, once, whatever it else wants to be told of.
func (s *Service) TestReceivers(ctx context.Context, r *apiv1.TestReceiversRequest) (*apiv1.TestReceiversResponse, error) {
	var chosen []*worker
	for _, w := range s.Engine.workers {
		if r.GetReceiver() == "" || r.GetReceiver() == w.receiver.Name {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return nil, status.Error(codes.NotFound, "receiver: the server's file of receivers has none of this name")
	}
	response := &apiv1.TestReceiversResponse{Results: make([]*apiv1.TestResult, len(chosen))}
	var all sync.WaitGroup
	for i, w := range chosen {
		all.Go(func() { response.Results[i] = w.test(ctx) })
	}
	all.Wait()
	return response, nil
}

// test sends a test. Where it raises an alert, the alert is ended at once.
func (w *worker) test(ctx context.Context) *apiv1.TestResult {
	now := w.engine.cfg.Now().UnixNano()
	n := &Notification{
		Key: "test/" + w.receiver.Name, Kind: Test, Severity: Info, Title: "test of the receiver " + w.receiver.Name, At: now,
		Detail: "nothing has happened: somebody ran custody notify test", Commands: []string{"custody notify list"},
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a := w.send(ctx, n.complete(strconv.FormatInt(now, 10)))
	if a.ok && (w.receiver.Kind == kindPagerDuty || w.receiver.Kind == kindAlertmanager) {
		n.Resolved = true
		a = w.send(ctx, n)
	}
	return &apiv1.TestResult{Receiver: w.receiver.Name, Kind: w.receiver.Kind, Ok: a.ok, Answer: a.text}
}
