package ingest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// testFloor is how long content is kept in these tests.
const testFloor = 24 * time.Hour

func (s *site) expire(tenant string, before time.Time) (*apiv1.ExpireResponse, error) {
	return s.asKeeper().Expire(s.t.Context(), &apiv1.ExpireRequest{Tenant: tenant, Before: before.UnixNano(), Reason: "policy 4"})
}

// TestExpire: who asked is on the record before anything is dropped; a crash between the two leaves the content, and the same call
// drops it.
func TestExpire(t *testing.T) {
	s, _ := told(t, siteConfig{})
	before := s.clock.now().Add(-2 * testFloor)
	s.contents.fail(errors.New("killed"))
	if _, err := s.expire("acme", before); status.Code(err) != codes.Unavailable {
		t.Errorf("expired by a store that is down: %v", err)
	}
	if len(s.deeds("system.expiry")) != 1 || len(s.contents.expired) != 0 {
		t.Errorf("on record %v, dropped %v", s.deeds("system.expiry"), s.contents.expired)
	}
	s.contents.fail(nil)
	if got, err := s.expire("acme", before); err != nil || got.GetFirstKept() != 7 {
		t.Errorf("got %v, %v", got, err)
	}
	events := s.systemEvents("acme")
	x := events[len(events)-1].GetSystem()
	if x.GetExpiry().GetBefore() != before.UnixNano() || x.GetReason() != "policy 4" || x.GetActor() != "root" {
		t.Errorf("on record: %v", x)
	}
	if len(s.contents.expired) != 1 || !s.contents.expired[0].Equal(before) {
		t.Errorf("dropped %v", s.contents.expired)
	}
}

// TestExpireRefuses: what is too young, and what a hold keeps. Nothing is recorded then, and nothing dropped.
func TestExpireRefuses(t *testing.T) {
	s, _ := told(t, siteConfig{})
	s.hold("run/run-9", "case-12")
	old := s.clock.now().Add(-2 * testFloor)
	for name, c := range map[string]struct {
		before time.Time
		code   codes.Code
		says   string
	}{
		"younger than the floor": {s.clock.now().Add(-time.Hour), codes.InvalidArgument, "before: must be a time before "},
		"no time":                {time.Unix(0, 0), codes.InvalidArgument, "before: "},
		"a hold":                 {old, codes.FailedPrecondition, "case-12"},
	} {
		if _, err := s.expire("acme", c.before); status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s and %q", name, err, c.code, c.says)
		}
	}
	if len(s.deeds("system.expiry")) != 0 || len(s.contents.expired) != 0 {
		t.Errorf("on record %v, dropped %v", s.deeds("system.expiry"), s.contents.expired)
	}
}

// TestRotationIsOnTheRecord: the number of the new key, and who asked for it.
func TestRotationIsOnTheRecord(t *testing.T) {
	s, _ := told(t, siteConfig{})
	got, err := s.asKeeper().RotateFingerprintKey(t.Context(), &apiv1.RotateFingerprintKeyRequest{Tenant: "acme", Reason: "a folder was copied"})
	if err != nil || got.GetNumber() != 2 {
		t.Fatalf("rotated: %v, %v", got, err)
	}
	events := s.systemEvents("acme")
	if x := events[len(events)-1].GetSystem(); x.GetFingerprint().GetNumber() != 2 || x.GetReason() == "" {
		t.Errorf("on record: %v", x)
	}
	if key := ok(s.vault.FingerprintKeys("acme"))(t); len(key) != 2 {
		t.Errorf("%d keys", len(key))
	}
}
