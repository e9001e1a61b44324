package contain_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

func lasts(d time.Duration) func(*apiv1.ContainRequest) {
	return func(r *apiv1.ContainRequest) { r.Lasts = int64(d) }
}

// TestAnExpiringContainmentPagesFirst: it ends by itself, after a person was told, and not before.
func TestAnExpiringContainmentPagesFirst(t *testing.T) {
	var paged atomic.Int64
	s := newSite(t, quick(func(c *contain.Config) {
		c.Page = func(_ event.TenantID, c *contain.Containment) {
			if c.Phase.Holds() {
				paged.Store(c.EndsAt())
			}
		}
	}))
	first := s.contain(s.dana, "instance/acme/support-1", contain.Pause, lasts(2*time.Second))
	if end := first.GetContainment().GetEndsAt(); end <= first.GetContainment().GetRequestedAt() {
		t.Errorf("it ends at %d", end)
	}
	if again := s.contain(s.dana, "instance/acme/support-1", contain.Pause, lasts(2*time.Second)); !again.GetAlready() {
		t.Errorf("the same again: %v", again)
	}
	eventually(t, "it ends", func() bool { return s.contained()[0].GetState() == "released" })
	got := s.contained()[0]
	if end := paged.Load(); end == 0 || got.GetReleasedAt() < end {
		t.Errorf("told %d, ended %d", end, got.GetReleasedAt())
	}
	if got.GetReleasedBy() != "" {
		t.Errorf("released by %q", got.GetReleasedBy())
	}
}

// TestWhatLastsLongerIsAnotherContainment: so the shorter one may end.
func TestWhatLastsLongerIsAnotherContainment(t *testing.T) {
	s := newSite(t)
	s.contain(s.dana, "instance/acme/support-1", contain.Pause, lasts(time.Hour))
	for _, test := range []struct {
		lasts   time.Duration
		already bool
	}{{time.Minute, true}, {2 * time.Hour, false}, {time.Hour, true}, {0, false}, {2 * time.Hour, true}} {
		if got := s.contain(s.dana, "instance/acme/support-1", contain.Pause, lasts(test.lasts)); got.GetAlready() != test.already {
			t.Errorf("%s: already %v", test.lasts, got.GetAlready())
		}
	}
	r := &apiv1.ContainRequest{Tenant: "acme", Target: "tenant/acme", Level: "pause", Reason: "x", Lasts: int64(contain.MaxLasts) + 1}
	if _, err := apiv1.NewContainmentServiceClient(s.dana).Contain(t.Context(), r); err == nil {
		t.Error("too long a time is taken")
	}
}
