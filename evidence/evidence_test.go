package evidence

import (
	"testing"
)

// story is a log with agents, a gateway and an importer over a day.
func story(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(3)
	w.clock("10:00")
	a.send(2)
	a.send(4, held(1))
	w.clock("11:00")
	a.send(1)
	w.access()
	return w
}

func TestGoodBundle(t *testing.T) {
	w := story(t)
	v := verify(t, w.bundle("09:30", "10:30"), w.policy())
	b, _ := v.JSON()
	t.Logf("%s", b)
	if v.Exit != 0 {
		t.Errorf("exit %d", v.Exit)
	}
}
