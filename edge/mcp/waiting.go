package mcp

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
)

// waiting are the calls for which the server wants input first. The client gives it by making the call again, and the two are
// attempts of one call: by the state that the server gave for that, or else by the names of what it asked for.
type waiting struct {
	mu  sync.Mutex
	all []wanted // oldest first
}

// wanted is one call that the server has not made yet.
type wanted struct {
	tool, method, state, inputs string
	call                        string
	attempt                     uint32
	started                     event.ID
}

// add notes that a call waits for input.
func (w *waiting) add(act *edge.Act, t *target, r *result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) >= maxAwaiting {
		w.all = w.all[1:]
	}
	w.all = append(w.all, wanted{
		tool: t.tool, method: t.method, state: r.RequestState, inputs: names(r.InputRequests),
		call: act.ID(), attempt: max(t.options.Attempt, 1), started: act.Started(),
	})
}

// resume makes a call the next attempt of the one that it gives the input for, if there is one.
func (w *waiting) resume(t *target) {
	if len(t.params.InputResponses) == 0 && t.params.RequestState == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	inputs := names(t.params.InputResponses)
	i := slices.IndexFunc(w.all, func(x wanted) bool {
		same := x.tool == t.tool && x.method == t.method && x.state == t.params.RequestState
		return same && (x.state != "" || x.inputs == inputs)
	})
	if i < 0 {
		return
	}
	t.options.ID, t.options.Attempt, t.options.RetryOf = w.all[i].call, w.all[i].attempt+1, w.all[i].started
	w.all = slices.Delete(w.all, i, i+1)
}

// names are the keys of a map, in order, none of which can be taken for two.
func names[V any](m map[string]V) string {
	var all strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all.Write(encode(key))
	}
	return all.String()
}
