package limit

import (
	"testing"
	"time"
)

// TestLimits: each measurement runs and gives something.
func TestLimits(t *testing.T) {
	const moment = 50 * time.Millisecond
	s, err := MeasureSync(t.TempDir(), moment)
	if err != nil || s.P50 <= 0 || s.P99 < s.P50 {
		t.Errorf("sync %+v, %v", s, err)
	}
	if Hashes(moment) <= 0 {
		t.Error("no hashes")
	}
	if sign, verify := Signatures(moment); sign <= 0 || verify <= 0 {
		t.Error("no signatures")
	}
	perSecond, bytes, err := JetStream(t.Context(), t.TempDir(), moment)
	if err != nil || perSecond <= 0 || bytes < BatchEvents*400 {
		t.Errorf("JetStream %v events/s of %v bytes a message, %v", perSecond, bytes, err)
	}
	perSecond, bytes, err = Insert(t.Context(), t.TempDir(), 1000, moment)
	if err != nil || perSecond <= 0 || bytes < 400 {
		t.Errorf("insert %v events/s of %v bytes, %v", perSecond, bytes, err)
	}
	t.Logf("fsync p50 %v p99 %v; insert %.0f/s", s.P50, s.P99, perSecond)
}
