package event

import "unicode/utf8"

// highBits are the bits that no byte of ASCII has, of eight bytes.
const highBits = 0x8080808080808080

// isText says whether s is UTF-8. Most texts are a few letters, and ASCII: they are looked at eight at a time, the last eight of them
// together with some of those before, so that no rest is left to be looked at one by one.
func isText(s string) bool {
	if len(s) < 8 {
		return isShortText(s)
	}
	high := word(s[len(s)-8:])
	for rest := s; len(rest) > 8; rest = rest[8:] {
		high |= word(rest)
	}
	return high&highBits == 0 || utf8.ValidString(s)
}

// isShortText is isText for fewer than eight bytes.
func isShortText(s string) bool {
	high := byte(0)
	for i := range len(s) {
		high |= s[i]
	}
	return high < utf8.RuneSelf || utf8.ValidString(s)
}

// word is the first eight bytes.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
