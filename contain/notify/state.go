package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	// maxRemembered is how many notifications are remembered as dealt with: more than all firings of a few tenants.
	maxRemembered = 16_384
	// maxState bounds the file of a state, bytes.
	maxState = 4 << 20
)

// state is how far a receiver has got.
type state struct {
	Position      uint64   `json:"position"`       // stream sequence up to which everything is dealt with
	Delivered     uint64   `json:"delivered"`      // notifications
	GivenUp       uint64   `json:"given_up"`       // notifications
	LastDelivered int64    `json:"last_delivered"` // ns since the Unix epoch
	IDs           []string `json:"ids"`            // of notifications that are dealt with, the newest last
	Keys          []string `json:"keys"`           // of what was raised and not resolved, the newest last

	known map[string]bool // IDs
}

// has reports whether a notification is dealt with.
func (s *state) has(id string) bool {
	if s.known == nil {
		s.known = make(map[string]bool, len(s.IDs))
		for _, id := range s.IDs {
			s.known[id] = true
		}
	}
	return s.known[id]
}

// raised reports whether something of a key was told and is not over.
func (s *state) raised(key string) bool { return slices.Contains(s.Keys, key) }

// deliver notes a notification as dealt with.
func (s *state) deliver(n *Notification) {
	if !s.has(n.ID) {
		s.known[n.ID] = true
		s.IDs = append(s.IDs, n.ID)
	}
	if len(s.IDs) > maxRemembered {
		delete(s.known, s.IDs[0])
		s.IDs = slices.Delete(s.IDs, 0, 1)
	}
	s.Keys = slices.DeleteFunc(s.Keys, func(k string) bool { return k == n.Key })
	if !n.Resolved && n.Kind != Fired && n.Kind != Flood && n.Kind != Glass { // these have no end that is told
		s.Keys = append(s.Keys, n.Key)
	}
	if len(s.Keys) > maxRemembered {
		s.Keys = slices.Delete(s.Keys, 0, 1)
	}
}

// parseState reads a state.
func parseState(b []byte) (s state, err error) {
	if err = json.Unmarshal(b, &s); err == nil && (len(s.IDs) > maxRemembered || len(s.Keys) > maxRemembered) {
		err = fmt.Errorf("more than %d remembered", maxRemembered)
	}
	return s, err
}

// readState reads a state from a file; found says whether there is one.
func readState(path string) (s state, found bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState))
	if err == nil {
		s, err = parseState(b)
	}
	if err != nil {
		return state{}, true, fmt.Errorf("%s: %w", path, err)
	}
	return s, true, nil
}

// write replaces the file. A crash leaves the one before or the new one.
func (s *state) write(path string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".notify-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
