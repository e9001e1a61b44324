package event

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

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
func (n *normaliser) each(value []byte, add func([]byte)) {
	n.add = add
	n.content(value, maxNestedJSON)
}

func (n *normaliser) content(b []byte, depth int) {
	if depth > 0 && isJSON(b) {
		n.json(b, depth)
		return
	}
	n.scan(b, inText)
}

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

// url finds scheme://… in a token and returns the end of the URL, or 0.
func (n *normaliser) url(b []byte, start, end int, in where) int {
	i := bytes.Index(b[start:end], []byte("://"))
	if i < 1 || !isLetter(b[start+i-1]) {
		return 0
	}
	from := start + i + 3
	to := from + urlLength(b[from:])
	n.address(b[from:to], in)
	return to
}

// urlLength is the length of the URL that b begins with.
func urlLength(b []byte) int {
	for i, c := range b {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("\"'<>()[]{}|\\^`,;"), c) >= 0 {
			return i
		}
	}
	return len(b)
}

// address adds a URL without its scheme, its host, and what its path and query hold; of a URL inside a URL's query only the
// first two, so that the work stays linear.
func (n *normaliser) address(b []byte, in where) {
	b, _, _ = bytes.Cut(b, []byte("#"))
	b = bytes.TrimRight(b, ".:!?&*/")
	cut := bytes.IndexAny(b, "/?")
	if cut < 0 {
		cut = len(b)
	}
	host, rest := trimHost(b[:cut]), b[cut:]
	name, _, _ := bytes.Cut(host, []byte(":"))
	if len(name) < 3 {
		return
	}
	if bytes.IndexByte(name, '.') > 0 && !isLoopback(name) {
		n.emit(name)
	}
	if len(rest) > 0 {
		n.emit(host, rest)
	}
	if in != inURL {
		n.scan(n.unpercent(rest), inURL)
	}
}

// trimHost cuts what does not tell hosts apart: user, default port, "www.".
func trimHost(host []byte) []byte {
	host = host[bytes.LastIndexByte(host, '@')+1:]
	host = bytes.TrimSuffix(bytes.TrimSuffix(host, []byte(":443")), []byte(":80"))
	if len(host) > 4 && bytes.EqualFold(host[:4], []byte("www.")) {
		host = host[4:]
	}
	return bytes.TrimRight(host, ".")
}

func isLoopback(host []byte) bool {
	return bytes.HasPrefix(host, []byte("127.")) || bytes.Equal(host, []byte("0.0.0.0"))
}

// unpercent decodes %41 and + in a path and query.
func (n *normaliser) unpercent(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	n.decoded = n.decoded[:0]
	for i := 0; i < len(b); i++ {
		if c := b[i]; c == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
			n.decoded = append(n.decoded, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
		} else {
			n.decoded = append(n.decoded, c)
		}
	}
	return n.decoded
}

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// emails adds the e-mail addresses around each @ of a token and reports whether there is one.
func (n *normaliser) emails(b []byte) (found bool) {
	for i, c := range b {
		if c != '@' {
			continue
		}
		from, to := i, i+1
		for from > 0 && (wordByte(b[from-1]) || b[from-1] == '.' || b[from-1] == '+') {
			from--
		}
		for to < len(b) && (wordByte(b[to]) || b[to] == '.') {
			to++
		}
		local, domain := bytes.TrimLeft(b[from:i], ".-+"), bytes.Trim(b[i+1:to], ".-_")
		if dot := bytes.LastIndexByte(domain, '.'); len(local) > 0 && dot > 0 && isLetter(domain[len(domain)-1]) {
			n.emit(local, []byte("@"), domain)
			found = true
		}
	}
	return found
}

// located adds what a token with slashes or dots names: a URL without its scheme, a host or file paths. It returns where to
// go on, or 0 if the token names none of them.
func (n *normaliser) located(b []byte, start, end int, seen uint8) int {
	for start < end && (b[start] == '-' || b[start] == ':') {
		start++
	}
	t := bytes.TrimRight(b[start:end], ".:-+")
	cut := bytes.IndexAny(t, "/\\")
	if cut < 0 {
		return n.host(t, end)
	}
	if cut > 0 && t[cut] == '/' && isHost(t[:cut]) {
		to := start + urlLength(b[start:])
		n.address(b[start:to], inText)
		return to
	}
	return n.paths(t, end)
}

// host adds t if it is a host and returns end, otherwise 0.
func (n *normaliser) host(t []byte, end int) int {
	if !isHost(t) {
		return 0
	}
	n.address(t, inText)
	return end
}

// isHost reports whether t is a dotted name under a common top-level domain. Domains that are also file extensions (.md,
// .py), methods (.info, .app) or words (.it, .in) are left out.
func isHost(t []byte) bool {
	t, _, _ = bytes.Cut(t, []byte(":"))
	dot := bytes.LastIndexByte(t, '.')
	if dot < 2 || len(t) < 6 || len(t)-dot > 9 || bytes.ContainsAny(t, "@_+~") {
		return false
	}
	var tld [8]byte
	for i, c := range t[dot+1:] {
		tld[i] = lower(c)
	}
	switch string(tld[:len(t)-dot-1]) {
	case "com", "net", "org", "edu", "gov", "mil", "biz", "cloud", "online", "site", "xyz",
		"example", "test", "invalid", "internal", "corp", "onion",
		"io", "ai", "eu", "de", "uk", "fr", "nl", "ch", "es", "pt", "dk", "se", "fi", "pl", "cz", "ie", "ca", "mx", "br",
		"au", "nz", "jp", "cn", "kr", "sg", "hk", "tw", "za", "ru", "ua", "tr", "il":
		return true
	}
	return false
}

// paths adds the file paths between the colons of a token and returns end, or 0 if there is none.
func (n *normaliser) paths(t []byte, end int) (next int) {
	for len(t) > 0 {
		colon := bytes.IndexByte(t, ':')
		if colon == 1 && len(t) > 2 && isLetter(t[0]) && tokenClass[t[2]] == slashByte {
			colon = bytes.IndexByte(t[2:], ':') + 2 // a drive letter
			if colon == 1 {
				colon = -1
			}
		}
		part := t
		if t = nil; colon >= 0 {
			part, t = part[:colon], part[colon+1:]
		}
		if n.path(part) {
			next = end
		}
	}
	return next
}

// path adds one file path and reports whether it is one.
func (n *normaliser) path(t []byte) bool {
	t = bytes.TrimRight(t, "/\\.-+")
	for len(t) > 1 && t[0] == '.' && tokenClass[t[1]] == slashByte {
		t = t[2:]
	}
	last := bytes.LastIndexAny(t, "/\\")
	if len(t) < minPath || last < 0 {
		return false
	}
	firstSlash := bytes.IndexAny(t, "/\\")
	rooted := firstSlash == 0 || t[0] == '~' || t[1] == ':' || t[0] == '.'
	if !(rooted && last > firstSlash) && !hasExtension(t[last+1:]) {
		return false
	}
	n.value = n.value[:0]
	for _, c := range t[:min(len(t), maxValue)] {
		if c == '\\' {
			c = '/'
		}
		n.value = append(n.value, lower(c))
	}
	n.add(n.value)
	return true
}

// hasExtension: a name, a dot, and one to five letters and digits that begin with a letter.
func hasExtension(name []byte) bool {
	dot := bytes.LastIndexByte(name, '.')
	if dot < 1 || len(name)-dot < 2 || len(name)-dot > 6 || !isLetter(name[dot+1]) {
		return false
	}
	return !slices.ContainsFunc(name[dot+1:], func(c byte) bool { return !isLetter(c) && !isDigit(c) })
}

// words looks at the words of a token that hold digits and returns where to go on.
func (n *normaliser) words(b []byte, start, end int) int {
	for i := start; i < end; {
		if !wordByte(b[i]) || b[i] == '-' || b[i] == '_' {
			i++
			continue
		}
		from, letters, digits := i, 0, 0
		for ; i < end && wordByte(b[i]); i++ {
			if isLetter(b[i]) {
				letters++
			} else if isDigit(b[i]) {
				digits++
			}
		}
		switch {
		case digits == 0:
		case letters == 0 && bytes.IndexByte(b[from:i], '_') < 0:
			i = max(i, n.number(b, from))
		case !n.iban(b, from, &i):
			n.code(bytes.TrimRight(b[from:i], "-_"), digits)
		}
		end = max(end, i)
	}
	return end
}

// code adds a word that mixes letters and digits, if it is distinctive.
func (n *normaliser) code(w []byte, digits int) {
	if isUUID(w) {
		n.emit(w[:8], w[9:13], w[14:18], w[19:23], w[24:])
		return
	}
	if !isTime(w) && !isYearWord(w, digits) && distinctiveCode(w, digits) {
		n.emit(w)
	}
}

func distinctiveCode(w []byte, digits int) bool {
	if len(w) >= 8 && digits >= minCodeDigits {
		return true
	}
	changes := 0
	for i := 1; i < len(w); i++ {
		if tokenClass[w[i]] != tokenClass[w[i-1]] && tokenClass[w[i]] != joinByte && tokenClass[w[i-1]] != joinByte {
			changes++
		}
	}
	return len(w) >= minCode && digits >= 2 && changes >= minCodeChanges
}

func isUUID(w []byte) bool {
	if len(w) != 36 || w[8] != '-' || w[13] != '-' || w[18] != '-' || w[23] != '-' {
		return false
	}
	for i, c := range w {
		if !isHex(c) && i != 8 && i != 13 && i != 18 && i != 23 {
			return false
		}
	}
	return true
}

// isTime: the beginning of 2024-05-13T14:22:01Z, or 20240513T142201Z.
func isTime(w []byte) bool {
	t := bytes.IndexAny(w, "Tt")
	switch t {
	case 8:
		return isDay(w[:8])
	case 10:
		return w[4] == '-' && w[7] == '-' && isYear(w[:4]) && len(w) <= 16
	}
	return false
}

// isYearWord: letters and one year, as in windows2000 or FY-2024.
func isYearWord(w []byte, digits int) bool {
	return digits == 4 && (isYear(w[len(w)-4:]) || isYear(w[:4]))
}

func isYear(w []byte) bool {
	return len(w) == 4 && isDigit(w[2]) && isDigit(w[3]) && (w[0] == '1' && w[1] == '9' || w[0] == '2' && w[1] == '0')
}

// isDay is YYYYMMDD.
func isDay(w []byte) bool {
	return len(w) == 8 && isYear(w[:4]) && inRange(w[4:6], 12) && inRange(w[6:8], 31)
}

// inRange reports whether one or two digits are a number from 1 to most.
func inRange(w []byte, most int) bool {
	v := 0
	for _, c := range w {
		if !isDigit(c) {
			return false
		}
		v = v*10 + int(c-'0')
	}
	return len(w) <= 2 && v >= 1 && v <= most
}

// iban adds an IBAN that begins at b[from], in one piece or in groups of four, and moves end behind it.
func (n *normaliser) iban(b []byte, from int, end *int) bool {
	if len(b)-from < 15 || !isLetter(b[from]) || !isLetter(b[from+1]) || !isDigit(b[from+2]) || !isDigit(b[from+3]) {
		return false
	}
	var buf [34]byte
	size, group := 0, 0
	for i := from; i <= len(b); i++ {
		ends := i == len(b) || !isLetter(b[i]) && !isDigit(b[i])
		switch {
		case ends && size >= 15 && validIBAN(buf[:size]):
			n.emit(buf[:size])
			*end = i
			return true
		case ends && (group != 4 || i == len(b) || b[i] != ' '), size == len(buf):
			return false
		case ends:
			group = 0
		default:
			buf[size] = b[i]
			size, group = size+1, group+1
		}
	}
	return false
}

// validIBAN checks ISO 7064 mod 97-10 over the IBAN with its first four characters moved to the end.
func validIBAN(w []byte) bool {
	sum := 0
	for i := range w {
		c := lower(w[(i+4)%len(w)])
		if isDigit(c) {
			sum = (sum*10 + int(c-'0')) % 97
		} else {
			sum = (sum*100 + int(c-'a') + 10) % 97
		}
	}
	return sum == 1
}
