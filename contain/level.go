package contain

import (
	"fmt"
	"slices"
)

// Level says how much a containment stops.
type Level string

// The levels, from the mildest.
const (
	Restrict   Level = "restrict"   // acts of high consequence need an approval
	Pause      Level = "pause"      // nothing runs
	Quarantine Level = "quarantine" // nothing runs, credentials are revoked, records are held
)

var levels = []Level{Restrict, Pause, Quarantine}

// ParseLevel reads a level.
func ParseLevel(text string) (Level, error) {
	if !slices.Contains(levels, Level(text)) {
		return "", fmt.Errorf("%q is not restrict, pause or quarantine", text)
	}
	return Level(text), nil
}

// Covers reports whether l stops all that other stops.
func (l Level) Covers(other Level) bool {
	return slices.Index(levels, l) >= slices.Index(levels, other)
}
