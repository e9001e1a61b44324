package event

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes text of an agent safe to show to a person on a terminal or in a line of a log: control characters, line
// breaks, invisible and direction-changing characters and bytes that are not UTF-8 appear as \n, \t, \r, \x1b, \u202e or
// \U000e0041. Everything else stays, the backslash too, so that Escape of escaped text is the same text; it is a view, not
// an encoding to decode. HTML needs its own escaping besides.
func Escape(s string) string {
	i := plain(s)
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		escapeRune(&b, r, s[i:i+size])
		i += size
	}
	return b.String()
}

// plain is the length of the leading printable ASCII.
func plain(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return i
		}
	}
	return len(s)
}

func escapeRune(b *strings.Builder, r rune, raw string) {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		fmt.Fprintf(b, `\x%02x`, raw[0])
	case visible(r):
		b.WriteString(raw)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < utf8.RuneSelf:
		fmt.Fprintf(b, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// visible reports whether r shows itself, or is an ordinary space: not in the categories Cc, Cf, Co, Cs, Zl, Zp, and none
// of the letters and symbols that fonts leave blank.
func visible(r rune) bool {
	switch r {
	case 0x034f, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x2800, 0x3164, 0xffa0: // joiner, Hangul and Khmer fillers, blank Braille
		return false
	}
	if r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef { // variation selectors carry hidden bytes
		return false
	}
	return unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)
}

// Cut is as much of the beginning of s as fits into so many bytes, without what is not UTF-8: no letter is cut in the middle, so it can be
// sent and stored. An agent chooses its names, and must not end a stream with them.
func Cut(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "") }
