package contain

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// DefaultArmedEvery is the time between two exercises of everything: what fails is known before somebody has read about it.
	DefaultArmedEvery = 5 * time.Minute
	// armedFresh is how many intervals a proof counts: one try may be lost to a restart.
	armedFresh = 2
	// armedRecord is how often a way that goes on working is recorded; what changes is recorded at once.
	armedRecord = 24 * time.Hour
	// exercisesAtOnce bounds the exercises under way: ten thousand gates take less than a minute.
	exercisesAtOnce = 64
	// maxArmedEvidence is how much is recorded of each, in bytes: event.MaxChecks of them fit an event.
	maxArmedEvidence = 160
)

// way is one way of stopping one instance.
type way struct {
	instance string
	path     Path
}

// Trial is what came of trying one way of stopping an instance without harm. Times are nanoseconds since the Unix epoch; 0 is never.
type Trial struct {
	Instance string
	Path     Path // empty: nothing here can stop the instance
	Proven   bool // the last try worked, and is not too old
	ProvenAt int64
	TriedAt  int64
	Observer string
	Evidence string // of the last try, or why it did not work

	recordedAt int64
}

// take notes a try.
func (r *Trial) take(at int64, proven bool, observer, evidence string) {
	r.Proven, r.TriedAt, r.Observer, r.Evidence = proven, at, observer, evidence
	if proven {
		r.ProvenAt = at
	}
}

// fold takes a try from the log. A newer one that this process knows of stays.
func (t *tenant) fold(at int64, x *eventv1.PathCheck) {
	key := way{x.GetInstance(), Path(x.GetPath())}
	r := t.armed[key]
	r.Instance, r.Path, r.recordedAt = key.instance, key.path, at
	if at > r.TriedAt {
		r.take(at, x.GetProven(), x.GetObserver(), x.GetEvidence())
	}
	t.armed[key] = r
}

// keepArmed tries everything at an interval. The first time is after one, so that gates have come back after a restart; until then
// the log says what was proven.
func (e *Engine) keepArmed(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, e.cfg.ArmedEvery, nil)
		for _, name := range e.names() {
			if _, err := e.Armed(ctx, name, "", true); err != nil && ctx.Err() == nil {
				e.cfg.Log.ErrorContext(ctx, "armed board not recorded", slog.String("tenant", string(name)), slog.Any("error", err))
			}
		}
	}
}

// Armed lists every way of stopping the instances of a tenant, or one of them, by instance and path. With now it tries each first, and
// records what has changed; the error is then that of the stream.
func (e *Engine) Armed(ctx context.Context, name event.TenantID, instance event.InstanceID, now bool) ([]Trial, error) {
	ways := e.ways(name, instance)
	var err error
	if now {
		err = e.try(ctx, name, ways)
	}
	list := make([]Trial, len(ways))
	e.mu.RLock()
	defer e.mu.RUnlock()
	for i, w := range ways {
		if t := e.tenants[name]; t != nil {
			list[i] = t.armed[w]
		}
		e.show(&list[i], w)
	}
	return list, err
}

// show completes a trial for people. What is too old proves nothing any more.
func (e *Engine) show(r *Trial, w way) {
	r.Instance, r.Path = w.instance, w.path
	fresh := e.cfg.Now().Sub(time.Unix(0, r.ProvenAt)) <= armedFresh*e.cfg.ArmedEvery
	switch {
	case w.path == "":
		r.Evidence = "no gate and no connector: nothing here can stop it"
	case r.TriedAt == 0:
		r.Evidence = "not tried yet"
	case r.Proven && !fresh:
		r.Evidence = "not tried since"
	}
	r.Proven = r.Proven && fresh
}

// ways are all ways of stopping the instances of a tenant, or one of them. An instance without any has one without a path.
func (e *Engine) ways(name event.TenantID, only event.InstanceID) (list []way) {
	for _, i := range e.instancesOf(name) {
		if only != "" && i != only {
			continue
		}
		target := event.Target{Kind: event.TargetInstance, Tenant: name, Instance: i}
		paths := e.paths(target, Quarantine)
		if len(paths) == 0 {
			paths = []Path{""}
		}
		for _, path := range paths {
			list = append(list, way{string(i), path})
		}
	}
	slices.SortFunc(list, func(a, b way) int {
		return cmp.Or(cmp.Compare(a.instance, b.instance), cmp.Compare(a.path, b.path))
	})
	return list
}

// instancesOf are the instances of a tenant but Custody itself.
func (e *Engine) instancesOf(name event.TenantID) (list []event.InstanceID) {
	e.cfg.Roster.View(name, func(s *registry.State) {
		for _, i := range s.Instances() {
			if i.ID != string(event.InstanceCustody) {
				list = append(list, event.InstanceID(i.ID))
			}
		}
	})
	return list
}

// try tries ways, each path once, and records what has changed.
func (e *Engine) try(ctx context.Context, name event.TenantID, ways []way) error {
	results := e.tryPaths(ctx, name, ways)
	var checks []*eventv1.PathCheck
	e.mu.Lock()
	t := e.tenants[name]
	for _, w := range ways {
		if x := results[w.path]; t != nil && x != nil && ctx.Err() == nil {
			checks = append(checks, t.try(w, x)...)
		}
	}
	e.mu.Unlock()
	var events []*eventv1.System
	for part := range slices.Chunk(checks, event.MaxChecks) {
		events = append(events, &eventv1.System{Detail: &eventv1.System_Armed{Armed: &eventv1.Armed{Checks: part}}})
	}
	return e.record(ctx, name, events...)
}

// try notes a try of this process, and returns what the log is to hold of it: what has changed, and once a day what has not. That a
// way which never worked does not work is no news.
func (t *tenant) try(w way, x *Trial) []*eventv1.PathCheck {
	r := t.armed[w]
	changed := r.Proven != x.Proven && (x.Proven || r.ProvenAt != 0)
	due := x.Proven && x.TriedAt-r.recordedAt > int64(armedRecord)
	r.Instance, r.Path = w.instance, w.path
	r.take(x.TriedAt, x.Proven, x.Observer, x.Evidence)
	t.armed[w] = r
	if !changed && !due {
		return nil
	}
	return []*eventv1.PathCheck{{Instance: w.instance, Path: string(w.path), Proven: x.Proven, Observer: x.Observer, Evidence: x.Evidence}}
}

// tryPaths tries each path once, some at a time.
func (e *Engine) tryPaths(ctx context.Context, name event.TenantID, ways []way) map[Path]*Trial {
	results := make(map[Path]*Trial)
	var work sync.WaitGroup
	room := make(chan struct{}, exercisesAtOnce)
	for _, w := range ways {
		if w.path == "" || results[w.path] != nil {
			continue
		}
		r := &Trial{Path: w.path}
		results[w.path] = r
		room <- struct{}{}
		work.Go(func() { e.tryPath(ctx, name, r); <-room })
	}
	work.Wait()
	return results
}

// tryPath tries one path.
func (e *Engine) tryPath(ctx context.Context, name event.TenantID, r *Trial) {
	evidence, err := "", errNotConnected
	observer := byProbe
	if key, isGate := r.Path.Gate(); isGate {
		observer = e.observerAt(name, key)
		evidence, err = e.exercise(ctx, key)
	} else if connectorName, _ := r.Path.Connector(); e.connector(connectorName) != nil {
		evidence, err = e.connector(connectorName).try(ctx)
	}
	if err != nil {
		evidence = err.Error()
	}
	r.take(e.cfg.Now().UnixNano(), err == nil, observer, event.Cut(short(evidence), maxArmedEvidence))
}

// try tries a connector on the live credential. One that is dead cannot show that the connector would be seen to work.
func (c *Connector) try(ctx context.Context) (evidence string, err error) {
	x, err := c.Exercise(ctx)
	if err != nil {
		return "", err
	}
	if x.Found == Dead {
		return "", errDead
	}
	return "the probe sees the live credential: " + x.Evidence, nil
}

// observerAt is what the word of a gate counts as.
func (e *Engine) observerAt(name event.TenantID, id [32]byte) (observer string) {
	observer = byAgent
	e.cfg.Roster.View(name, func(s *registry.State) {
		if key, known := s.Key(id); known {
			observer = observerOf(key)
		}
	})
	return observer
}
