package main

import (
	"fmt"
	"strings"

	"github.com/agentcustody/custody/event"
)

// parseName reads a short name of an enumeration; the error lists the names.
func parseName[E ~int32](names event.Names[E], s string) (E, error) {
	if v, ok := names.Parse(s); ok && s != "" {
		return v, nil
	}
	return 0, fmt.Errorf("%q is not one of %s", s, strings.Join(names.All(), ", "))
}

// named is parseName for one enumeration.
func named[E ~int32](names event.Names[E]) func(string) (E, error) {
	return func(s string) (E, error) { return parseName(names, s) }
}
