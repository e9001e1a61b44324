package event

import (
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestTextIsUTF8(t *testing.T) {
	for _, s := range []string{
		"", "a", "seven b", "eight by", "nine byte", "\x80", "\xc3", "ü", "texts of £", "£ of texts", "12345678\x80", "\x8012345678",
		"1234567\x80", "123456789abcdef\xff", "\xff23456789abcdef", "日本語の文字", "日本語の文\xe6\xad",
	} {
		if isText(s) != utf8.ValidString(s) {
			t.Errorf("%q: %v", s, isText(s))
		}
	}
}

func TestTextIsUTF8Anywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.StringMatching(`[a-z]{1,40}`).Draw(t, "text"))
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		if s := string(b); isText(s) != utf8.ValidString(s) {
			t.Fatalf("%q: %v", s, isText(s))
		}
	})
}
