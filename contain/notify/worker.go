package notify

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agentcustody/custody/contain/follow"
	"github.com/agentcustody/custody/event"
)

const (
	// mostAge is how old a notification is when it is given up: whoever was not told for a day hears it otherwise.
	mostAge = 24 * time.Hour
	// leastRetry and mostRetry bound the pauses, which double.
	leastRetry = time.Second
	mostRetry  = 5 * time.Minute
	// refusals is how often a receiver may refuse one notification as such.
	refusals = 5
	// requestTimeout bounds one attempt.
	requestTimeout = 10 * time.Second
	// firingsEvery is how often firings are looked at.
	firingsEvery = time.Second
	// mostFirings is how many new firings of a look are sent one by one: more than that nobody reads.
	mostFirings = 20
	// saveEvery is how often the position is kept while nothing is sent.
	saveEvery = 10 * time.Second
)

// worker tells one receiver. Its mutex guards the state; delivering is one at a time.
type worker struct {
	engine   *Engine
	receiver Receiver

	turn sync.Mutex // held while something is delivered

	mu      sync.Mutex
	state   state
	trouble string // why the last attempt failed
	saved   time.Time
}

// run follows the stream and the firings until ctx ends.
func (w *worker) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { w.followStream(ctx) })
	if w.engine.cfg.Firings != nil {
		both.Go(func() { w.followFirings(ctx) })
	}
	both.Wait()
	w.save(true)
}

// followStream tells of each event that is worth it.
func (w *worker) followStream(ctx context.Context) {
	reader := follow.New(w.engine.cfg.Source, w.engine.cfg.System, w.position()+1, Wants)
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.engine.cfg.Log.ErrorContext(ctx, "notifications do not follow the stream any more", slog.String("receiver", w.receiver.Name), slog.Any("error", err))
			}
			return
		}
		for _, n := range ofMessage(m.Tenant, m.Time, m.Events) {
			if !w.tellAll(ctx, w.relevant(n)) {
				return
			}
		}
		w.passed(m.Seq)
	}
}

// tellAll tells one after the other; false only if ctx ends.
func (w *worker) tellAll(ctx context.Context, list []*Notification) bool {
	for _, n := range list {
		if !w.tell(ctx, n) {
			return false
		}
	}
	return true
}

// relevant is what the receiver is to be told. The end of something is told to whoever was told of it; with a containment end its
// steps that were not proven.
func (w *worker) relevant(n *Notification) (list []*Notification) {
	if !n.Resolved {
		if w.receiver.wants(n) {
			list = append(list, n)
		}
		return list
	}
	steps := strings.Replace(n.Key, "containment/", "step/", 1) + "/"
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range w.state.Keys {
		if key == n.Key || strings.HasPrefix(key, steps) {
			end := *n
			end.Key = key
			list = append(list, end.complete(n.ID))
		}
	}
	return list
}

// followFirings looks at the firings again and again.
func (w *worker) followFirings(ctx context.Context) {
	ticker := time.NewTicker(firingsEvery)
	defer ticker.Stop()
	for w.tellFirings(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// tellFirings tells of firings that were not told of, the most severe first, and counts those that are too many. Old ones are no news.
func (w *worker) tellFirings(ctx context.Context) bool {
	var list []*Notification
	oldest := w.engine.cfg.Now().Add(-mostAge).UnixNano()
	for _, f := range w.engine.cfg.Firings() {
		if n := f.notification(); n.At > oldest && w.receiver.wants(n) && !w.done(n) {
			list = append(list, n)
		}
	}
	slices.SortStableFunc(list, func(a, b *Notification) int {
		return cmp.Or(-cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(a.At, b.At))
	})
	alone := list[:min(len(list), mostFirings)]
	for _, n := range alone {
		if !w.tell(ctx, n) {
			return false
		}
	}
	return w.tellFlood(ctx, list[len(alone):])
}

// tellFlood tells of many firings at once, for each tenant.
func (w *worker) tellFlood(ctx context.Context, rest []*Notification) bool {
	byTenant := map[event.TenantID][]*Notification{}
	for _, n := range rest {
		byTenant[n.Tenant] = append(byTenant[n.Tenant], n)
	}
	for tenant, list := range byTenant {
		n := &Notification{
			Key: "flood/" + string(tenant), Tenant: tenant, Kind: Flood, Severity: list[0].Severity, At: w.engine.cfg.Now().UnixNano(),
			Title:    fmt.Sprintf("%d more firings in %s, the gravest: %s", len(list), tenant, list[0].Title),
			Commands: []string{"custody firings list --tenant " + string(tenant), "custody pause tenant/" + string(tenant) + " --reason 'WHY'"},
		}
		if !w.tell(ctx, n.complete(list[0].ID+list[len(list)-1].ID)) {
			return false
		}
		w.mu.Lock()
		for _, n := range list {
			w.state.deliver(n)
		}
		w.mu.Unlock()
		w.save(true)
	}
	return true
}

// done reports whether a notification was dealt with.
func (w *worker) done(n *Notification) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.has(n.ID)
}

// tell delivers one notification, however long it takes; false only if ctx ends. One that was dealt with is passed over.
func (w *worker) tell(ctx context.Context, n *Notification) bool {
	w.turn.Lock()
	defer w.turn.Unlock()
	if w.done(n) {
		return true
	}
	refused := 0
	for wait := leastRetry; ; wait = min(2*wait, mostRetry) {
		if w.engine.cfg.Now().Sub(time.Unix(0, n.At)) > mostAge || refused == refusals {
			w.end(n, false)
			return true
		}
		answer := w.attempt(ctx, n)
		switch {
		case answer.ok:
			w.end(n, true)
			return true
		case answer.refused:
			refused++
		}
		if !w.engine.cfg.Sleep(ctx, max(wait, answer.after)) {
			return false
		}
	}
}

// end notes what became of a notification, and keeps it.
func (w *worker) end(n *Notification, delivered bool) {
	w.mu.Lock()
	if delivered {
		w.state.Delivered++
		w.state.LastDelivered, w.trouble = w.engine.cfg.Now().UnixNano(), ""
	} else {
		w.state.GivenUp++
	}
	w.state.deliver(n)
	w.mu.Unlock()
	if !delivered {
		w.engine.cfg.Log.Error("notification given up", slog.String("receiver", w.receiver.Name), slog.String("notification", n.ID), slog.String("title", n.Title))
	}
	w.save(true)
}

// answer is what came of one attempt.
type answer struct {
	ok      bool
	refused bool          // the notification as such
	after   time.Duration // that the receiver asks to wait
	text    string
}

// attempt sends once.
func (w *worker) attempt(ctx context.Context, n *Notification) answer {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a := w.send(ctx, n)
	if !a.ok {
		w.mu.Lock()
		w.trouble = a.text
		w.mu.Unlock()
		w.engine.cfg.Log.WarnContext(ctx, "notification not delivered yet", slog.String("receiver", w.receiver.Name), slog.String("notification", n.ID), slog.String("why", a.text))
	}
	return a
}

// send makes the request. Its text names no URL: it may be a secret.
func (w *worker) send(ctx context.Context, n *Notification) answer {
	request, err := w.receiver.request(ctx, n, w.engine.cfg.Now())
	if err != nil {
		return answer{text: err.Error()}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{text: "no answer: " + cause(err)}
	}
	defer response.Body.Close()
	return answerOf(response)
}

// answerOf reads an answer. 408, 425 and 429 ask for patience (RFC 9110, RFC 8470, RFC 6585); 400, 413 and 422 refuse the content.
func answerOf(r *http.Response) answer {
	a := answer{ok: r.StatusCode >= 200 && r.StatusCode <= 299, text: fmt.Sprintf("answers %d", r.StatusCode)}
	switch r.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		a.refused = true
	}
	if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.after = min(time.Duration(seconds)*time.Second, mostRetry)
	}
	return a
}

func (w *worker) position() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Position
}

// passed notes that a message is dealt with.
func (w *worker) passed(seq uint64) {
	w.mu.Lock()
	w.state.Position = seq
	w.mu.Unlock()
	w.save(false)
}

// save keeps the state, at once or if it is time. What cannot be kept is kept later: a crash before that sends again.
func (w *worker) save(now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !now && w.engine.cfg.Now().Sub(w.saved) < saveEvery {
		return
	}
	w.saved = w.engine.cfg.Now()
	if err := w.state.write(w.engine.path(w.receiver.Name)); err != nil {
		w.engine.cfg.Log.Error("position of notifications is not kept", slog.String("receiver", w.receiver.Name), slog.Any("error", err))
	}
}
