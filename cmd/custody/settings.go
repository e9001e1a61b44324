package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentcustody/custody/internal/node"
)

// settingsFile remembers how `custody serve` was last run on a data folder, for the commands that start a server for
// themselves. It holds no secret.
const settingsFile = "serve.json"

// The environment may name the store and the stream, because a command line is open to everybody on the machine.
const (
	envStore  = "CUSTODY_STORE"
	envStream = "CUSTODY_STREAM"
)

// settings is what is remembered.
type settings struct {
	Listen    string `json:"listen"`
	Advertise string `json:"advertise,omitempty"`
	Domain    string `json:"domain"`
	Elsewhere bool   `json:"elsewhere,omitempty"` // store or stream are not in the data folder
	// Connectors is the file of connectors, if serve was told one.
	Connectors string `json:"connectors,omitempty"`
	RulesOff   bool   `json:"rules_off,omitempty"`
}

func (a *app) loadSettings() (settings, error) {
	s := settings{Listen: node.DefaultListen, Domain: node.DefaultDomain}
	raw, err := os.ReadFile(a.path(settingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read %s: %w", settingsFile, err)
	}
	return s, nil
}

func (a *app) saveSettings(s settings) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if next := a.path(settingsFile + ".new"); err == nil {
		err = os.WriteFile(next, append(raw, '\n'), 0o600)
		if err == nil {
			err = os.Rename(next, a.path(settingsFile))
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", settingsFile, err)
	}
	return nil
}

// absolute is a path that means the same in every folder; empty stays so.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); path != "" && err == nil {
		return whole
	}
	return path
}

// path is a file of the data folder.
func (a *app) path(parts ...string) string {
	return filepath.Join(append([]string{a.data}, parts...)...)
}

// isFolder reports whether the data folder has been served before.
func (a *app) isFolder() bool { return exists(a.path("keys", "system.pem")) }

// unreadable says why nobody can tell whether the data folder has been served before: it is another user's, or is no folder.
func (a *app) unreadable() error {
	_, err := os.Stat(a.path("keys", "system.pem"))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("look into the data folder: %w", err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
