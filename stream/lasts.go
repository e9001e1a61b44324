package stream

import (
	"context"
	"sync"
)

// mostLasts is how many subjects are remembered, each in some 200 bytes: more agents than a machine carries.
const mostLasts = 1 << 16

// lasts is what this process knows of the last messages of agents' subjects at an embedded server. The server would look for each
// message that expects another before it: it reads and copies all of that one, and the whole file block around it where it has left the
// memory. Nobody else publishes to that server, so whoever has published the last message knows that it still is; the server is asked where
// that is not known, as after an attempt that had no answer.
type lasts struct {
	mu        sync.Mutex
	bySubject map[string]*last
}

// last is a subject's last message. It belongs to whoever has taken it.
type last struct {
	seq   uint64        // 0 if it is not known
	taken chan struct{} // holds a token while it is
	users int           // who have it or wait for it; guarded by the mutex of lasts
}

func newLasts() *lasts { return &lasts{bySubject: map[string]*last{}} }

// take waits for the subject's last message. The error is the cause of ctx.
func (l *lasts) take(ctx context.Context, subject string) (*last, error) {
	found := l.join(subject)
	select {
	case found.taken <- struct{}{}:
		return found, nil
	case <-ctx.Done():
		l.leave(found)
		return nil, context.Cause(ctx)
	}
}

func (l *lasts) join(subject string) *last {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.bySubject[subject]
	if found == nil {
		l.makeRoom()
		found = &last{taken: make(chan struct{}, 1)}
		l.bySubject[subject] = found
	}
	found.users++
	return found
}

// makeRoom forgets what nobody uses when there is too much.
func (l *lasts) makeRoom() {
	if len(l.bySubject) < mostLasts {
		return
	}
	for subject, known := range l.bySubject {
		if known.users == 0 {
			delete(l.bySubject, subject)
		}
	}
}

func (l *lasts) leave(of *last) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of.users--
}

// give lets the next have it.
func (l *lasts) give(of *last) {
	<-of.taken
	l.leave(of)
}
