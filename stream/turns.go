package stream

import "context"

const (
	// embeddedTurns is how many agents' messages the embedded server has at a time: the one that it syncs, and the one that it goes on with.
	// It writes and syncs all that it has, each by itself, before it acknowledges or delivers any of it (nats-server, stream.go,
	// internalLoop); so with all at once the receipt of the first, what the rules are to see, and Custody's own messages would wait for
	// the sync of the last.
	embeddedTurns = 2
	// clusterTurns is the same for a cluster, which is far away and syncs many at once.
	clusterTurns = 256
)

// turns lets so many agents' messages be published at a time, in their order. Custody's own are few and go first: they wait for nobody.
type turns struct {
	free chan struct{}
	way  *RightOfWay
}

func newTurns(cfg *Config) turns {
	if cfg.Dir != "" {
		return turns{make(chan struct{}, embeddedTurns), cfg.Way}
	}
	return turns{make(chan struct{}, clusterTurns), cfg.Way}
}

// take waits for a message's turn. The error is the cause of ctx.
func (t turns) take(ctx context.Context, subject string) (end func(), err error) {
	if isSystem(subject) {
		return func() {}, nil
	}
	t.way.Give(ctx)
	select {
	case t.free <- struct{}{}:
		return func() { <-t.free }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
