package stream

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Class says what a subject carries.
type Class uint8

// The classes of subject. The zero value is no class.
const (
	ClassEvents Class = iota + 1 // batches of emitters
	ClassSystem                  // Custody's own batches
	ClassLate                    // batches at or before their emitter's head
	ClassTick                    // empty messages that move time on
)

// Subject prefixes and filters.
const (
	TickSubject  = "custody.tick"
	SystemFilter = systemPrefix + ">"

	eventsPrefix = "custody.ev."
	systemPrefix = "custody.sys."
	latePrefix   = "custody.late."
)

// Subject is a parsed subject.
type Subject struct {
	Class  Class
	Tenant string   // empty for ClassTick
	KeyID  [32]byte // zero except for ClassEvents
}

// EventSubject is the subject of one emitter.
func EventSubject(tenant string, keyID [32]byte) string {
	return eventsPrefix + tenant + "." + hex.EncodeToString(keyID[:])
}

// SystemSubject is the subject of Custody's own batches in a tenant's log.
func SystemSubject(tenant string) string { return systemPrefix + tenant }

// LateSubject is the subject of a tenant's late batches.
func LateSubject(tenant string) string { return latePrefix + tenant }

// String is the inverse of ParseSubject.
func (s Subject) String() string {
	switch s.Class {
	case ClassEvents:
		return EventSubject(s.Tenant, s.KeyID)
	case ClassSystem:
		return SystemSubject(s.Tenant)
	case ClassLate:
		return LateSubject(s.Tenant)
	case ClassTick:
		return TickSubject
	}
	return ""
}

// ParseSubject reads a subject of the stream. It accepts only what String returns.
func ParseSubject(text string) (Subject, error) {
	s, ok := splitSubject(text)
	if !ok || !validTenant(s) || s.String() != text {
		return Subject{}, fmt.Errorf("parse subject %q: not a subject of the stream", text)
	}
	return s, nil
}

func splitSubject(text string) (s Subject, ok bool) {
	if text == TickSubject {
		return Subject{Class: ClassTick}, true
	}
	if tenant, found := strings.CutPrefix(text, systemPrefix); found {
		return Subject{Class: ClassSystem, Tenant: tenant}, true
	}
	if tenant, found := strings.CutPrefix(text, latePrefix); found {
		return Subject{Class: ClassLate, Tenant: tenant}, true
	}
	rest, found := strings.CutPrefix(text, eventsPrefix)
	tenant, key, split := strings.Cut(rest, ".")
	if !found || !split || len(key) != hex.EncodedLen(len(s.KeyID)) {
		return Subject{}, false
	}
	s = Subject{Class: ClassEvents, Tenant: tenant}
	_, err := hex.Decode(s.KeyID[:], []byte(key))
	return s, err == nil
}

// validTenant holds a tenant to [a-z0-9-]{1,63}; a tick has none.
func validTenant(s Subject) bool {
	if s.Class == ClassTick {
		return s.Tenant == ""
	}
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	return s.Tenant != "" && len(s.Tenant) <= maxTenant && !strings.ContainsFunc(s.Tenant, other)
}

// maxTenant is the longest tenant id, so that it also fits a DNS label.
const maxTenant = 63

// isSystem reports whether a subject carries Custody's own messages, which have a quota of their own.
func isSystem(subject string) bool {
	return subject == TickSubject || strings.HasPrefix(subject, systemPrefix)
}
