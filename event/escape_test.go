package event_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"Plain text, C:\\path & <b>":   "Plain text, C:\\path & <b>",
		"Grüße 東京 é 👍 \u00a0\u3000":    "Grüße 東京 é 👍 \u00a0\u3000",
		"\x1b[31mred\x1b[0m":           `\x1b[31mred\x1b[0m`,
		"a\nb\r\n\tc\x00\x7f":          `a\nb\r\n\tc\x00\x7f`,
		"\u009b31m\u0085":              `\u009b31m\u0085`,
		"\u202egnp.exe\u2066\u061c":    `\u202egnp.exe\u2066\u061c`,
		"a\u200bb\u200d\ufeff\u2060":   `a\u200bb\u200d\ufeff\u2060`,
		"line\u2028par\u2029":          `line\u2028par\u2029`,
		"tag\U000e0041\ufe0f\u3164":    `tag\U000e0041\ufe0f\u3164`,
		"\xff\xc3(":                    `\xff\xc3(`,
		"\ufffd":                       "\ufffd",
		"private \ue000 \U0010ffff":    `private \ue000 \U0010ffff`,
		"already \\x1b and \\n":        "already \\x1b and \\n",
		"soft\u00adhyphen \u180e":      `soft\u00adhyphen \u180e`,
		strings.Repeat("long ", 10000): strings.Repeat("long ", 10000),
	} {
		if got := event.Escape(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("\x1b]0;title\a\u202e\xff\U000e0041 plain")
	f.Fuzz(func(t *testing.T, s string) {
		out := event.Escape(s)
		if event.Escape(out) != out {
			t.Fatalf("%q escapes again as %q", out, event.Escape(out))
		}
		if !utf8.ValidString(out) || strings.ContainsFunc(out, func(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) }) {
			t.Fatalf("%q is not safe to show", out)
		}
	})
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc"},
		{"aé", 2, "a"},
		{"aé", 3, "aé"},
		{"a\xffb", 3, "ab"},
		{"東京", 5, "東"},
		{"x", 0, ""},
	} {
		if got := event.Cut(c.text, c.most); got != c.want {
			t.Errorf("%q to %d bytes is %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
