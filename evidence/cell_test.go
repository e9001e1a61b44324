package evidence

import (
	"slices"
	"testing"
)

// A cell shows a text as it is, unless it could drive a spreadsheet, a terminal or a reader's eye.
func TestCells(t *testing.T) {
	for text, want := range map[string]string{
		"":                           ``,
		"plain":                      `"plain"`,
		`he said "no"`:               `"he said ""no"""`,
		"~":                          `"~"`,
		"   ":                        `"   "`,
		"=1+1":                       `"'=1+1"`,
		"  -1":                       `"'  -1"`,
		"1=1":                        `"1=1"`,
		"\x1b[2J":                    `"\x1b[2J"`,
		"a\x7fb":                     `"a\x7fb"`,
		"\u0080":                     `"\u0080"`,
		"\u00e9 \u4e2d":              "\"\u00e9 \u4e2d\"",
		"\u202e":                     `"\u202e"`,
		"\ufffd":                     `"\ufffd"`,
		"\xff\xc3":                   `"\xff\xc3"`,
		"\uffff\U00010000":           `"\uffff\U00010000"`,
		"\U000e0041":                 `"\U000e0041"`,
		"caf\u00e9 \"\x00\" m\u00fc": "\"caf\u00e9 \"\"\\x00\"\" m\u00fc\"",
	} {
		var r row
		r.begin()
		if r.text(text); string(r.b) != want+"," {
			t.Errorf("%q: %s, want %s", text, r.b, want)
		}
	}
}

// The first and the last character of every range are shown, and what is next to them only if it is of another range.
func TestShownRanges(t *testing.T) {
	within := func(c rune) bool {
		return slices.ContainsFunc(shownRanges[:], func(r [2]rune) bool { return c == r[0] || c == r[1] || c > r[0] && c < r[1] })
	}
	for _, r := range shownRanges {
		for _, c := range []rune{r[0] - 1, r[0], r[0] + 1, r[1] - 1, r[1], r[1] + 1} {
			if shown(c) != within(c) {
				t.Errorf("%U: %t", c, shown(c))
			}
		}
	}
}

// Times are written to the nanosecond, one after the other.
func TestTimesInCells(t *testing.T) {
	var r row
	for ns, want := range map[int64]string{0: ",", 1: "1970-01-01T00:00:00.000000001Z,", 1_000_000_001: "1970-01-01T00:00:01.000000001Z,", 1_987_654_321: "1970-01-01T00:00:01.987654321Z,"} {
		for range 2 {
			r.begin()
			if r.time(ns); string(r.b) != want {
				t.Errorf("%d: %s, want %s", ns, r.b, want)
			}
		}
	}
}
