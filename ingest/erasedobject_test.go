package ingest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/object"
)

// TestObjectAndOpeningGoTogether: an object that came before an erasure is asked for again by a batch that comes after it,
// so that one key holds both.
func TestObjectAndOpeningGoTogether(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEventAt(long(100<<10), time.Minute)
	subject := x.event.GetSealed()[0].GetSubject()
	a.upload(x)
	s.mustErase(subject, 1)
	wantRefusal(t, a.deliver(a.longBatch(x)), noObject, "openings[0]")
	a.upload(x)
	a.accept(a.longBatch(x))
	if diff := cmp.Diff([]uint32{2}, s.generations(a, subject)); diff != "" {
		t.Error(diff)
	}
	var got bytes.Buffer
	salt := [event.SaltSize]byte(x.opening.GetSalt())
	if err := s.objects.CopyTo(&got, s.ref("acme", x), &salt); err != nil || !bytes.Equal(got.Bytes(), x.value) {
		t.Errorf("%d bytes are stored: %v", got.Len(), err)
	}
	s.mustErase(subject, 2)
	if err := s.objects.CopyTo(&got, s.ref("acme", x), &salt); err == nil {
		t.Error("the object is readable after the erasure")
	}
}

// TestLateObjectIsRemoved: of a late opening the object goes too.
func TestLateObjectIsRemoved(t *testing.T) {
	s, a := told(t, siteConfig{})
	x := a.longEventAt(long(100<<10), -time.Hour)
	subject := x.event.GetSealed()[0].GetSubject()
	a.tell(subject, "an order", 0)
	s.mustErase(subject, 1)
	a.upload(x)
	a.accept(a.longBatch(x))
	if diff := cmp.Diff([]uint32{1}, s.generations(a, subject)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.objects.Stat(s.ref("acme", x)); !errors.Is(err, object.ErrMissing) {
		t.Errorf("the object is still there: %v", err)
	}
}

// longEventAt is longEvent at another time.
func (a *agent) longEventAt(value []byte, occurred time.Duration) *sent {
	x := a.longEvent(value)
	x.event.OccurredAt += int64(occurred)
	return x
}
