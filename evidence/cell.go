package evidence

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
)

// A cell of populations/*.csv is a number, a name of this format, or a text in quotes. Who opens the file in a spreadsheet must
// see what an agent wrote and run none of it, and who derives the file again, in whatever language and year, must get the same
// bytes: so the rule is a table of its own and no property of a Unicode version.

// shownRanges are the characters that a text cell shows as they are; every other one is written as \x1b, \u202e or
// \U000e0041. Control, direction-changing, invisible and combining characters are in none of them.
var shownRanges = [...][2]rune{
	{' ', '~'},       // ASCII
	{0x00a1, 0x00ac}, // Latin-1 without the soft hyphen
	{0x00ae, 0x024f}, // Latin
	{0x0370, 0x03ff}, // Greek
	{0x0400, 0x0481}, // Cyrillic without its combining marks
	{0x048a, 0x052f}, //
	{0x3041, 0x3096}, // Hiragana
	{0x30a1, 0x30fc}, // Katakana
	{0x4e00, 0x9fff}, // CJK
	{0xac00, 0xd7a3}, // Hangul
}

func shown(r rune) bool {
	for _, s := range &shownRanges {
		if r <= s[1] {
			return r >= s[0]
		}
	}
	return false
}

// row is one line of a CSV file (RFC 4180, with LF) under construction.
type row struct {
	b     []byte
	clock clock
}

// begin starts a line.
func (r *row) begin() { r.b = r.b[:0] }

// end turns the last comma into the end of the line.
func (r *row) end() []byte {
	r.b[len(r.b)-1] = '\n'
	return r.b
}

func (r *row) number(n uint64) { r.b = append(strconv.AppendUint(r.b, n, 10), ',') }

// name is a word of this format: nothing in it needs quotes.
func (r *row) name(s string) { r.b = append(append(r.b, s...), ',') }

func (r *row) hex(b []byte) { r.b = append(hex.AppendEncode(r.b, b), ',') }

// id is the text form of an event's id (RFC 9562 section 4), or nothing.
func (r *row) id(b []byte) {
	if len(b) == event.IDSize {
		var h [2 * event.IDSize]byte
		hex.Encode(h[:], b)
		for i, end := range [...]int{8, 12, 16, 20, 32} {
			if i > 0 {
				r.b = append(r.b, '-')
			}
			r.b = append(r.b, h[[...]int{0, 8, 12, 16, 20}[i]:end]...)
		}
	}
	r.b = append(r.b, ',')
}

// time is an Instant, or nothing for 0.
func (r *row) time(ns int64) {
	if ns > 0 {
		r.b = r.clock.append(r.b, ns)
	}
	r.b = append(r.b, ',')
}

// text is what somebody wrote: in quotes, without what drives a terminal or a reader's eye, and with an apostrophe in front of
// what a spreadsheet would take for a formula.
func (r *row) text(s string) {
	if s == "" {
		r.b = append(r.b, ',')
		return
	}
	r.b = append(r.b, '"')
	if isFormula(s) {
		r.b = append(r.b, '\'')
	}
	r.b = append(appendShown(r.b, s), '"', ',')
}

// isFormula reports whether a spreadsheet may compute a text: it begins, after spaces, with one of = + - @.
func isFormula(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case ' ':
		case '=', '+', '-', '@':
			return true
		default:
			return false
		}
	}
	return false
}

// appendShown appends a text with quotes doubled and everything outside shownRanges written out.
func appendShown(b []byte, s string) []byte {
	for len(s) > 0 {
		n := plainText(s)
		b, s = append(b, s[:n]...), s[n:]
		if len(s) == 0 {
			break
		}
		c, size := utf8.DecodeRuneInString(s)
		b, s = appendOther(b, c, s[:size]), s[size:]
	}
	return b
}

// plainText is the length of the beginning of s that needs no second look: printable ASCII without quotes.
func plainText(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' {
			return i
		}
	}
	return len(s)
}

func appendOther(b []byte, c rune, raw string) []byte {
	switch {
	case c == '"':
		return append(b, '"', '"')
	case shown(c):
		return append(b, raw...)
	case c == utf8.RuneError && len(raw) == 1 || c < utf8.RuneSelf:
		return fmt.Appendf(b, `\x%02x`, raw[0])
	case c <= 0xffff:
		return fmt.Appendf(b, `\u%04x`, c)
	}
	return fmt.Appendf(b, `\U%08x`, c)
}

// clock writes instants. Those of one second share its text, because most records follow others of their second.
type clock struct {
	second int64
	text   []byte // "2006-01-02T15:04:05."
}

func (c *clock) append(b []byte, ns int64) []byte {
	second, rest := ns/1e9, ns%1e9
	if second != c.second || c.text == nil {
		c.second, c.text = second, time.Unix(second, 0).UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, c.text...)
	for unit := int64(1e8); unit > 0; unit /= 10 {
		b = append(b, byte('0'+rest/unit%10))
	}
	return append(b, 'Z')
}
