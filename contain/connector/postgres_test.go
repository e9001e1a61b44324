package connector

import (
	"errors"
	"testing"

	"github.com/agentcustody/custody/contain"
)

// TestConnectionStrings: a login stays local, or crosses a network only to a server that is verified. Errors do not repeat it.
func TestConnectionStrings(t *testing.T) {
	tests := map[string]bool{
		"host=/run/postgresql user=c password=s3cret":                true,
		"host=127.0.0.1 user=c password=s3cret sslmode=disable":      true,
		"postgres://c:s3cret@localhost/db":                           true,
		"postgres://c:s3cret@db.example/db?sslmode=verify-full":      true,
		"postgres://c:s3cret@db.example/db?sslmode=disable":          false,
		"postgres://c:s3cret@db.example/db":                          false, // prefer: falls back to the clear
		"postgres://c:s3cret@db.example/db?sslmode=require":          false, // anybody may answer
		"postgres://c:s3cret@localhost,db.example/db?sslmode=prefer": false,
		"postgres://c:s3cret@db.example:port/db":                     false,
		"host=db.example user=c password=s3cret sslmode=nonsense":    false,
	}
	for text, want := range tests {
		cfg, err := connection(secretFile(t, text))
		(&world{secrets: []string{"s3cret"}}).hears(t, "", err)
		if (err == nil) != want || err == nil && cfg.Password != "s3cret" || err != nil && !errors.Is(err, contain.ErrNotSent) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestLogins reads NAME:PASSWORD.
func TestLogins(t *testing.T) {
	tests := map[string]string{"a:b": "b", "a:b:c": "b:c", "": "", "a": "", ":b": "", "a:": "", "a:b\nc:d": ""}
	for text, want := range tests {
		_, password, err := secretFile(t, text).login()
		if (err == nil) != (want != "") || password != want {
			t.Errorf("%q: %q, %v", text, password, err)
		}
	}
}
