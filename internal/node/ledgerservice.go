package node

import (
	"context"
	"maps"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// ledgerService implements LedgerService over the node's ledger.
type ledgerService struct {
	apiv1.UnimplementedLedgerServiceServer
	node *Node
}

// Status reports where the parts stand. It answers also when the stream does not.
func (s *ledgerService) Status(ctx context.Context, _ *apiv1.StatusRequest) (*apiv1.StatusResponse, error) {
	n := s.node
	is := n.ledger.Status()
	response := &apiv1.StatusResponse{
		Committed: is.Committed, Backlog: is.Backlog, Store: n.store.Describe(), Counters: maps.Clone(n.door.Counters()),
		Address: n.advertised(), Version: n.cfg.Version,
	}
	state, err := n.stream.State(ctx)
	response.StreamLast, response.Stream = state.Last, state.Description
	switch {
	case is.Halted != nil:
		response.LedgerError = is.Halted.Error()
	case is.Retrying != nil:
		response.LedgerError = "waits: " + is.Retrying.Error()
	case err != nil:
		response.LedgerError = err.Error()
	}
	response.Counters["stream_bytes"], response.Counters["stream_bytes_limit"] = uint64(state.Bytes), uint64(state.MaxBytes)
	return response, nil
}
