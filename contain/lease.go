package contain

import (
	"sync"
	"time"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// LeaseTTL is how long a gate may act after it has sent a renewal: short enough that an agent which is cut off stops while
	// a person watches, long enough for three lost renewals.
	LeaseTTL = 10 * time.Second
	// LeaseMargin is what the server waits beyond LeaseTTL: two clocks that differ by one part in ten.
	LeaseMargin = time.Second
)

// leases is what the server has lent, by gate. It is safe for concurrent use.
type leases struct {
	ttl   time.Duration
	held  time.Duration // from a renewal until a lease of ttl is over on both sides
	now   func() time.Time
	since time.Time // before it, another process may have lent

	mu    sync.Mutex
	gates map[[32]byte]*gate
}

// gate is what is known of one gate.
type gate struct {
	until   time.Time // the last lease is over here, on both sides; zero if none was lent
	open    int       // its control streams
	running []*apiv1.RunningCall
	asks    chan ask // to the newest of its control streams; nil if there is none
}

func newLeases(ttl, margin time.Duration, now func() time.Time) *leases {
	return &leases{ttl: ttl, held: ttl + margin, now: now, since: now(), gates: make(map[[32]byte]*gate)}
}

func (l *leases) of(key [32]byte) *gate {
	g := l.gates[key]
	if g == nil {
		g = new(gate)
		l.gates[key] = g
	}
	return g
}

// connected counts a gate's control stream until the returned function is called. The stream answers what it is asked.
func (l *leases) connected(key [32]byte, asks chan ask) (gone func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.of(key)
	g.open++
	g.asks = asks
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		g.open--
		if g.asks == asks {
			g.asks = nil
		}
	}
}

// lend notes a lease of this length from now on.
func (l *leases) lend(key [32]byte, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.of(key)
	g.until = l.now().Add(ttl + l.held - l.ttl)
}

// asksOf is where the gate's control stream can be asked, nil if there is none.
func (l *leases) asksOf(key [32]byte) chan ask {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(key).asks
}

// reported notes what is running at a gate.
func (l *leases) reported(key [32]byte, running []*apiv1.RunningCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(key).running = running
}

// standing is what is known of a gate now.
type standing struct {
	connected bool
	lent      bool      // a lease was lent by this process
	until     time.Time // from here on no lease is out, on either side
	over      bool      // it is past until
	running   []*apiv1.RunningCall
}

func (l *leases) standing(key [32]byte) standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := standing{until: l.since.Add(l.held)}
	if g := l.gates[key]; g != nil {
		s.connected, s.lent, s.running = g.open > 0, !g.until.IsZero(), g.running
		if s.until.Before(g.until) {
			s.until = g.until
		}
	}
	s.over = !l.now().Before(s.until)
	return s
}
