package sidecar

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
)

// reader takes one JSON text apart (RFC 8259). It accepts one meaning only: no repeated keys, no lone surrogates, integers
// without fraction or exponent. Errors are *event.FieldError with the path of the value.
type reader struct {
	b   []byte
	pos int
}

func wrong(path, reason string) error { return &event.FieldError{Field: path, Reason: reason} }

// next skips white space and returns the next byte without taking it, 0 at the end.
func (r *reader) next() byte {
	for r.pos < len(r.b) {
		switch c := r.b[r.pos]; c {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

// take takes the next byte if it is c.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.pos++
	return true
}

// end refuses what follows the value.
func (r *reader) end() error {
	if r.next() != 0 || r.pos < len(r.b) {
		return wrong("", "more than one JSON value")
	}
	return nil
}

// object calls each with every key; each must take the value.
func (r *reader) object(path string, each func(key string) error) error {
	if !r.take('{') {
		return wrong(path, "not an object")
	}
	seen := make(map[string]bool)
	for first := true; !r.take('}'); first = false {
		if !first && !r.take(',') {
			return wrong(path, "no comma or closing brace")
		}
		key, err := r.text(path)
		if err != nil {
			return err
		}
		switch {
		case seen[key]:
			return wrong(join(path, key), "given twice")
		case !r.take(':'):
			return wrong(join(path, key), "no colon after the key")
		}
		seen[key] = true
		if err := each(key); err != nil {
			return err
		}
	}
	return nil
}

// array calls each for every element, with its path; each must take the value.
func (r *reader) array(path string, each func(path string) error) error {
	if !r.take('[') {
		return wrong(path, "not an array")
	}
	for i := 0; !r.take(']'); i++ {
		if i > 0 && !r.take(',') {
			return wrong(path, "no comma or closing bracket")
		}
		if err := each(path + "[" + strconv.Itoa(i) + "]"); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) boolean(path string) (bool, error) {
	r.next()
	for word, value := range map[string]bool{"true": true, "false": false} {
		if end := r.pos + len(word); end <= len(r.b) && string(r.b[r.pos:end]) == word {
			r.pos = end
			return value, nil
		}
	}
	return false, wrong(path, "not true or false")
}

// integer is in the form that JSON has for integers.
func (r *reader) integer(path string) (string, error) {
	r.next()
	start := r.pos
	r.take('-')
	digits := r.pos
	for r.pos < len(r.b) && r.b[r.pos] >= '0' && r.b[r.pos] <= '9' {
		r.pos++
	}
	if r.pos == digits || (r.b[digits] == '0' && r.pos > digits+1) {
		return "", wrong(path, "not an integer")
	}
	return string(r.b[start:r.pos]), nil
}

func (r *reader) unsigned(path string, most uint64) (uint64, error) {
	digits, err := r.integer(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > most {
		return 0, wrong(path, "out of range")
	}
	return n, nil
}

func (r *reader) signed(path string) (int64, error) {
	digits, err := r.integer(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, wrong(path, "out of range")
	}
	return n, nil
}

// text is a string. The line is known to be valid UTF-8.
func (r *reader) text(path string) (string, error) {
	if !r.take('"') {
		return "", wrong(path, "not a string")
	}
	var out []byte
	for r.pos < len(r.b) {
		c := r.b[r.pos]
		r.pos++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", wrong(path, "control character in a string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		char, ok := r.escape()
		if !ok {
			return "", wrong(path, "malformed escape in a string")
		}
		out = utf8.AppendRune(out, char)
	}
	return "", wrong(path, "string has no end")
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what follows a backslash.
func (r *reader) escape() (rune, bool) {
	if r.pos >= len(r.b) {
		return 0, false
	}
	c := r.b[r.pos]
	r.pos++
	if c != 'u' {
		char, ok := escapes[c]
		return char, ok
	}
	char, ok := r.hex4()
	if !ok || !utf16.IsSurrogate(char) {
		return char, ok
	}
	if r.pos+2 > len(r.b) || string(r.b[r.pos:r.pos+2]) != `\u` {
		return 0, false
	}
	r.pos += 2
	low, ok := r.hex4()
	char = utf16.DecodeRune(char, low)
	return char, ok && char != utf8.RuneError
}

func (r *reader) hex4() (rune, bool) {
	if r.pos+4 > len(r.b) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.b[r.pos:r.pos+4]), 16, 16)
	r.pos += 4
	return rune(n & math.MaxUint16), err == nil
}

// join is the path of a key.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
