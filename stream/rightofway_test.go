package stream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// waited is how long somebody gives way.
func waited(r *RightOfWay) time.Duration {
	began := time.Now()
	r.Give(context.Background())
	return time.Since(began)
}

// TestRightOfWay: others wait until all that have it have given it back, for a bounded time, and it can be taken only now and then.
func TestRightOfWay(t *testing.T) {
	const short = mostWay / 8
	tests := map[string]struct {
		take func(*RightOfWay)
		want time.Duration // that another waits
	}{
		"free": {func(*RightOfWay) {}, 0},
		"taken": {func(r *RightOfWay) {
			time.AfterFunc(short, r.Take())
		}, short},
		"taken by two": {func(r *RightOfWay) {
			time.AfterFunc(short, r.Take())
			time.AfterFunc(2*short, r.Take())
		}, 2 * short},
		"given back twice": {func(r *RightOfWay) {
			giveBack := r.Take()
			giveBack()
			giveBack()
			time.Sleep(time.Second)
			time.AfterFunc(short, r.Take())
		}, short},
		"never given back": {func(r *RightOfWay) { r.Take() }, mostWay},
		"taken again at once": {func(r *RightOfWay) {
			giveBack := r.Take()
			time.Sleep(short)
			giveBack()
			time.AfterFunc(short, r.Take())
		}, 0},
		"taken again in time": {func(r *RightOfWay) {
			giveBack := r.Take()
			time.Sleep(short)
			giveBack()
			time.Sleep(wayShare * short)
			time.AfterFunc(short, r.Take())
		}, short},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := new(RightOfWay)
				test.take(r)
				if got := waited(r); got != test.want {
					t.Errorf("another waits %s, want %s", got, test.want)
				}
				time.Sleep(time.Second) // until every timer has ended
			})
		})
	}
}

// TestWhoGivesWay: agents' messages give way, Custody's own do not, and whoever is stopped does not wait on.
func TestWhoGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := new(RightOfWay)
		turns := newTurns(&Config{Dir: t.Name(), Way: way})
		time.AfterFunc(mostWay/2, way.Take())
		for subject, want := range map[string]time.Duration{SystemSubject("acme"): 0, EventSubject("acme", [32]byte{1}): mostWay / 2} {
			began := time.Now()
			end, err := turns.take(t.Context(), subject)
			if err != nil {
				t.Fatal(err)
			}
			end()
			if got := time.Since(began); got != want {
				t.Errorf("%s has its turn after %s, want %s", subject, got, want)
			}
		}
		time.Sleep(time.Second)
		way.Take()
		ctx, stop := context.WithTimeout(t.Context(), mostWay/4)
		defer stop()
		began := time.Now()
		if way.Give(ctx); time.Since(began) != mostWay/4 {
			t.Error("whoever is stopped waits on")
		}
		time.Sleep(time.Second)
	})
	var nobody *RightOfWay
	nobody.Take()()
	nobody.Give(t.Context())
}
