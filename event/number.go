package event

import "bytes"

// digitGroup is one run of digits and the separator before it.
type digitGroup struct {
	digits    []byte
	separator byte // 0 before the first
}

// number looks at the groups of digits that begin at b[from], joined as people write long numbers: "4111 1111 1111 1111",
// "+49 (30) 123-456", "12.34.56". It returns where to go on.
func (n *normaliser) number(b []byte, from int) int {
	p := phrase{n: n, international: from > 0 && b[from-1] == '+'}
	i := from
	for {
		var room [chunkGroups]digitGroup
		chunk, next := digitChunk(b, i, room[:0])
		p.chunk(chunk)
		skip := joint(b[next:])
		if skip == 0 {
			p.flush()
			return next
		}
		i = next + skip
	}
}

// chunkGroups is the length of a chunk: two dates.
const chunkGroups = 6

// digitChunk is the groups from b[i] on that no space separates, at most chunkGroups, and their end.
func digitChunk(b []byte, i int, chunk []digitGroup) ([]digitGroup, int) {
	for separator := byte(0); ; {
		size := digitRun(b[i:])
		chunk = append(chunk, digitGroup{b[i : i+size], separator})
		i += size
		skip := joint(b[i:])
		if skip == 0 || bytes.IndexByte(b[i:i+skip], ' ') >= 0 || len(chunk) == chunkGroups {
			return chunk, i
		}
		separator = b[i]
		i += skip
	}
}

// phrase is a row of chunks: short groups that follow each other are one number.
type phrase struct {
	n             *normaliser
	international bool // it begins with +
	groups        [maxDigitGroups][]byte
	count         int // of groups, also of those that found no room
	size          int // their digits
}

// chunk adds what stands between two spaces.
func (p *phrase) chunk(c []digitGroup) {
	for len(c) >= 3 && isDate(c) {
		p.flush()
		c = c[3:]
	}
	switch {
	case isIPv4(c):
		p.flush()
		p.n.ipv4(c)
	case len(c) == 2 && c[1].separator == '.' && !p.international:
		p.group(c[0].digits)
		p.flush() // the fraction is none of it
	default:
		for _, g := range c {
			p.group(g.digits)
		}
	}
}

// group adds one group: a long one is a number of its own, but not in an international number, which has 15 digits at most
// (ITU-T E.164).
func (p *phrase) group(digits []byte) {
	if p.international && p.size+len(digits) > 15 {
		p.flush()
	}
	long := len(digits) >= minDigits && !p.international
	if long {
		p.flush()
	}
	if p.count < len(p.groups) {
		p.groups[p.count] = digits
	}
	p.count, p.size = p.count+1, p.size+len(digits)
	if long {
		p.flush()
	}
}

// flush ends a number. More groups than identifiers have are the row of a table.
func (p *phrase) flush() {
	if p.count <= maxDigitGroups && p.size <= maxDigits {
		p.n.digits(p.groups[:p.count])
	}
	p.international, p.count, p.size = false, 0, 0
}

func digitRun(b []byte) int {
	for i, c := range b {
		if !isDigit(c) {
			return i
		}
	}
	return len(b)
}

// joint is the length of a separator that more digits and no letters follow: one of " -./", or two with a parenthesis.
func joint(b []byte) int {
	i := 0
	for i < len(b) && i < 3 && bytes.IndexByte([]byte(" -./()"), b[i]) >= 0 {
		i++
	}
	if i == 0 || i > 2 || i == 2 && !bytes.ContainsAny(b[:2], "()") {
		return 0
	}
	size := digitRun(b[i:])
	if rest := b[i+size:]; size == 0 || len(rest) > 0 && (isLetter(rest[0]) || rest[0] == '_') {
		return 0
	}
	return i
}

// digits adds groups as one number.
func (n *normaliser) digits(groups [][]byte) {
	if allYears(groups) {
		return
	}
	n.value = n.value[:0]
	for _, g := range groups {
		n.value = append(n.value, g...)
	}
	if len(groups) == 1 && isDay(n.value) {
		return
	}
	if v := bytes.TrimLeft(n.value, "0"); len(v) >= minDigits {
		n.add(v)
	}
}

// isDate: 2024-05-13, 13.05.2024 or 5/13/24 at the start of groups.
func isDate(g []digitGroup) bool {
	a, b, c := g[0].digits, g[1].digits, g[2].digits
	if s := g[1].separator; s != g[2].separator || s != '-' && s != '.' && s != '/' {
		return false
	}
	if len(a) == 4 {
		return isYear(a) && inRange(b, 12) && inRange(c, 31)
	}
	dayMonth := inRange(a, 31) && inRange(b, 12) || inRange(a, 12) && inRange(b, 31)
	return dayMonth && (isYear(c) || len(c) == 2)
}

func allYears(groups [][]byte) bool {
	for _, g := range groups {
		if !isYear(g) {
			return false
		}
	}
	return true
}

// isIPv4: four numbers under 256, joined by dots (RFC 3986 section 3.2.2), and perhaps the length of a prefix.
func isIPv4(c []digitGroup) bool {
	if len(c) < 4 || len(c) > 4 && c[4].separator == '.' {
		return false
	}
	for i, g := range c[:4] {
		if len(g.digits) > 3 || i > 0 && g.separator != '.' || decimal(g.digits) > 255 {
			return false
		}
	}
	return true
}

func decimal(digits []byte) int {
	v := 0
	for _, c := range digits {
		v = v*10 + int(c-'0')
	}
	return v
}

// ipv4 adds an address that is of one host.
func (n *normaliser) ipv4(c []digitGroup) {
	dot := []byte(".")
	if a := decimal(c[0].digits); a != 0 && a != 127 && a != 255 {
		n.emit(c[0].digits, dot, c[1].digits, dot, c[2].digits, dot, c[3].digits)
	}
}
