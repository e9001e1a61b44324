package event

// The rules of NormaliserV1: what in a text is distinctive enough to be traced, and in which form.
//
//	e-mail address   lower case                                              Bob@Corp.example.  → bob@corp.example
//	URL              lower case, no scheme, user, "www.", default port,      https://www.A.example/x/?q=1#top → a.example/x/?q=1
//	                 fragment or trailing slash; also its host alone, and
//	                 what its path and query hold, percent-decoded
//	host             lower case; in prose only under a common top-level domain
//	IP address       dotted; not loopback
//	file path        lower case, forward slashes; absolute with two separators, or relative with an extension
//	number           digits only, no leading zeros, 7 to 24 of them, in groups as people write accounts, cards and telephones;
//	                 not dates, times, years or fractions
//	IBAN             lower case, no spaces, if its check digits are right (ISO 13616)
//	UUID             lower case, no hyphens
//	code             lower case; letters mixed with at least four digits, or changing often between both
//
// Upper case is folded for ASCII, and other bytes separate values. A text that has the shape of JSON is walked: its strings are
// unescaped first, and strings that hold JSON again are walked too; of object keys only addresses and URLs count. Numbers of
// one line may form a value together, never those of two.
const (
	minDigits      = 7    // of a number: a local telephone number
	maxDigits      = 24   // of a number: more are a table, not an identifier
	maxDigitGroups = 6    // of a number: a telephone number with extension
	minCode        = 6    // of a code: a booking reference
	minCodeDigits  = 4    // of a code of at least 8 letters and digits
	minCodeChanges = 3    // of a shorter code: changes between letters and digits
	minPath        = 8    // of a file path
	maxValue       = 2048 // longer values count by their beginning, which bounds memory
	maxNestedJSON  = 3    // JSON in strings of JSON: tool arguments, inside a message, inside a request
)

// Classes of bytes; a byte of class 0 separates tokens.
const (
	letterByte = 1 << iota
	digitByte
	atByte
	slashByte
	dotByte
	colonByte
	joinByte
)

// tokenClass gives each byte its class.
var tokenClass = func() (t [256]uint8) {
	for c := range 128 {
		switch {
		case isLetter(byte(c)):
			t[c] = letterByte
		case isDigit(byte(c)):
			t[c] = digitByte
		}
	}
	t['@'], t['/'], t['\\'], t['.'], t[':'] = atByte, slashByte, slashByte, dotByte, colonByte
	t['-'], t['_'], t['+'], t['~'] = joinByte, joinByte, joinByte, joinByte
	return t
}()

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// wordByte is a byte of codes and names.
func wordByte(c byte) bool { return tokenClass[c]&(letterByte|digitByte) != 0 || c == '-' || c == '_' }

// normaliser finds the distinctive values of a text in one pass. It reuses its memory.
type normaliser struct {
	add     func([]byte)
	value   []byte // the value being normalised
	text    []byte // a JSON string without its escapes
	decoded []byte // a path and query without percent-encoding
	inner   *normaliser
}

// where is what a text stands in, and so which values count.
type where uint8

const (
	inText where = iota
	inURL        // slashes separate words
	inKey        // of a JSON object: only addresses and URLs count
)

// each calls add with every distinctive value, normalised, in the order of the text and as often as it stands there. The
// slice is valid during the call only.
func (n *normaliser) each(value []byte) { n.content(value, maxNestedJSON) }

func (n *normaliser) content(b []byte, depth int) {
	if depth > 0 && isJSON(b) {
		n.json(b, depth)
		return
	}
	n.scan(b, inText)
}

// scan splits b into tokens and looks at those that may hold something distinctive; ordinary words cost one table look-up a
// byte.
func (n *normaliser) scan(b []byte, in where) {
	for i := 0; i < len(b); {
		class := tokenClass[b[i]]
		if class == 0 {
			i++
			continue
		}
		start, seen := i, class
		for i++; i < len(b); i++ {
			if class = tokenClass[b[i]]; class == 0 {
				break
			}
			seen |= class
		}
		if seen&(digitByte|atByte|slashByte|dotByte) != 0 {
			i = n.token(b, start, i, seen, in)
		}
	}
}

// token looks at b[start:end] and returns where to go on: end, or further if the value extends beyond the token.
func (n *normaliser) token(b []byte, start, end int, seen uint8, in where) int {
	if seen&slashByte != 0 && seen&colonByte != 0 {
		if next := n.url(b, start, end, in); next > 0 {
			return next
		}
	}
	if seen&atByte != 0 && n.emails(b[start:end]) {
		return end
	}
	if in == inKey {
		return end
	}
	if seen&(slashByte|dotByte) != 0 && seen&letterByte != 0 && in == inText {
		if next := n.located(b, start, end, seen); next > 0 {
			return next
		}
	}
	if seen&digitByte != 0 {
		return n.words(b, start, end)
	}
	return end
}

// emit adds a value in lower case.
func (n *normaliser) emit(parts ...[]byte) {
	n.value = n.value[:0]
	for _, p := range parts {
		for _, c := range p[:min(len(p), maxValue)] {
			n.value = append(n.value, lower(c))
		}
	}
	n.add(n.value)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
