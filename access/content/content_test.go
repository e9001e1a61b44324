package content

import (
	"bytes"
	"errors"
	"testing"

	"github.com/agentcustody/custody/event"
)

func TestOpeningIsSplitAgain(t *testing.T) {
	salt := [event.SaltSize]byte{1, 2, 3}
	for _, value := range []string{"", "x", "a longer value"} {
		gotSalt, got, err := SplitOpening(AppendOpening(nil, salt[:], []byte(value)))
		if err != nil || gotSalt != salt || string(got) != value {
			t.Errorf("%q: got %x, %q, %v", value, gotSalt, got, err)
		}
	}
	if _, _, err := SplitOpening(make([]byte, event.SaltSize-1)); !errors.Is(err, ErrOpening) {
		t.Errorf("short plaintext: got %v", err)
	}
}

// TestNothingStandsForAnother: no two places have the same additional data or the same key.
func TestNothingStandsForAnother(t *testing.T) {
	id, hash := event.ID{1}, [32]byte{1}
	data := [][]byte{
		AppendOpeningData(nil, "a", id, "p"), AppendOpeningData(nil, "a", event.ID{2}, "p"), AppendOpeningData(nil, "b", id, "p"),
		AppendOpeningData(nil, "a", id, "q"), AppendHeldData(nil, "a", hash), AppendHeldData(nil, "b", hash), AppendHeldData(nil, "a", [32]byte{2}),
	}
	for i := range data {
		for j := range i {
			if bytes.Equal(data[i], data[j]) {
				t.Errorf("%d and %d are equal: %q", i, j, data[i])
			}
		}
	}
	names := map[string]bool{SubjectKey(""): true, SubjectKey("t"): true, SubjectKey("h"): true, HeldKey: true}
	if len(names) != 4 {
		t.Errorf("keys share names: %v", names)
	}
}
