package event

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// literalLength is the length of the literal that b begins with, 0 if it is none.
func literalLength(b []byte) int {
	for _, l := range [...]string{"true", "false", "null"} {
		if len(b) >= len(l) && string(b[:len(l)]) == l {
			return len(l)
		}
	}
	return 0
}

// betweenStrings are the bytes of JSON outside strings, without brackets and literals.
var betweenStrings = func() (t [256]bool) {
	for _, c := range []byte(",: \n\r\t0123456789.-+eE") {
		t[c] = true
	}
	return t
}()

// beginsJSON reports whether b begins as a JSON object, array or string.
func beginsJSON(b []byte) bool {
	for len(b) > 0 && b[0] <= ' ' {
		b = b[1:]
	}
	return len(b) > 1 && (b[0] == '{' || b[0] == '[' || b[0] == '"')
}

// isJSON reports whether b has the shape of JSON values one after the other: whole strings with right escapes, and between
// them balanced brackets, numbers and literals. That is enough to find the strings, and much faster than a parser.
func isJSON(b []byte) bool {
	if !beginsJSON(b) {
		return false
	}
	open := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			end, _ := stringEnd(b[i+1:])
			if end < 0 {
				return false
			}
			i += 1 + end
		case c == '{' || c == '[':
			open++
		case c == '}' || c == ']':
			open--
		case isLetter(c) && !(c|0x20 == 'e' && isDigit(b[max(i-1, 0)])):
			size := literalLength(b[i:])
			if size == 0 {
				return false
			}
			i += size - 1
		case !betweenStrings[c]:
			return false
		}
		if open < 0 {
			return false
		}
	}
	return open == 0
}

// json walks what isJSON has seen: strings, and the numbers between them.
func (n *normaliser) json(b []byte, depth int) {
	for len(b) > 0 {
		quote := bytes.IndexByte(b, '"')
		if quote < 0 {
			n.scan(b, inText)
			return
		}
		n.scan(b[:quote], inText)
		b = b[quote+1:]
		end, escaped := stringEnd(b)
		n.jsonString(b[:end], escaped, isKey(b[end+1:]), depth)
		b = b[end+1:]
	}
}

// stringEnd is the place of the closing quote of a JSON string, and whether there are escapes before it; -1 if it has no end
// or a wrong escape.
func stringEnd(b []byte) (end int, escaped bool) {
	end = bytes.IndexByte(b, '"')
	if end < 0 || bytes.IndexByte(b[:end], '\\') < 0 {
		return end, false
	}
	for end = 0; end < len(b) && b[end] != '"'; end++ {
		if b[end] == '\\' {
			size := escapeLength(b[end:])
			if size == 0 {
				return -1, true
			}
			end += size - 1
		}
	}
	if end == len(b) {
		return -1, true
	}
	return end, true
}

// escapeLength is the length of the escape that b begins with, 0 if it is none.
func escapeLength(b []byte) int {
	switch {
	case len(b) < 2 || bytes.IndexByte([]byte(`"\/bfnrtu`), b[1]) < 0:
		return 0
	case b[1] != 'u':
		return 2
	case len(b) < 6 || !isHex(b[2]) || !isHex(b[3]) || !isHex(b[4]) || !isHex(b[5]):
		return 0
	}
	return 6
}

// isKey reports whether a colon follows a JSON string.
func isKey(after []byte) bool {
	for len(after) > 0 && after[0] <= ' ' {
		after = after[1:]
	}
	return len(after) > 0 && after[0] == ':'
}

func (n *normaliser) jsonString(b []byte, escaped, key bool, depth int) {
	if escaped {
		n.text = unescape(n.text[:0], b)
		b = n.text
	}
	switch {
	case key:
		n.scan(b, inKey)
	case beginsJSON(b):
		n.nested().walk(b, n.add, depth-1)
	default:
		n.scan(b, inText)
	}
}

// unescape appends a JSON string without its escapes (RFC 8259 section 7).
func unescape(dst, b []byte) []byte {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(dst, b...)
		}
		dst = append(dst, b[:i]...)
		var r rune
		r, b = unescapeOne(b[i+1:])
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// unescapeOne reads what follows a backslash.
func unescapeOne(b []byte) (rune, []byte) {
	switch c := b[0]; c {
	case 'n', 'r', 't', 'b', 'f':
		return '\n', b[1:] // white space separates, whichever it is
	case 'u':
		r := unescapeUnit(b[1:])
		if utf16.IsSurrogate(r) && len(b) >= 11 && b[5] == '\\' && b[6] == 'u' {
			return utf16.DecodeRune(r, unescapeUnit(b[7:])), b[11:]
		}
		return r, b[5:]
	default:
		return rune(c), b[1:]
	}
}

func unescapeUnit(b []byte) rune {
	return rune(unhex(b[0]))<<12 | rune(unhex(b[1]))<<8 | rune(unhex(b[2]))<<4 | rune(unhex(b[3]))
}

// nested is a normaliser whose memory is free while n's is in use.
func (n *normaliser) nested() *normaliser {
	if n.inner == nil {
		n.inner = new(normaliser)
	}
	return n.inner
}

func (n *normaliser) walk(b []byte, add func([]byte), depth int) {
	n.add = add
	n.content(b, depth)
}
