//go:build interop

package connector

import "testing"

// PGWorld is for the tests of the whole system.
type PGWorld = pgWorld

// NewPGWorld starts a PostgreSQL server.
func NewPGWorld(t *testing.T) *PGWorld { return newPGWorld(t) }

// Files are the files of Custody's login and of the agent's.
func (w *pgWorld) Files() (admin, login string) {
	p := w.connector("custody", "c-secret")
	return string(p.admin), string(p.login)
}

// LogsIn reports whether a role can log in.
func (w *pgWorld) LogsIn(role, password string) bool {
	db, err := w.tryLogin(role, password)
	if err == nil {
		hangUp(db)
	}
	return err == nil
}
