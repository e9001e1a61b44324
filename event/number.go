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
	var room [maxDigitGroups + 6]digitGroup // a date and a number
	groups, i := room[:0], from
	for separator := byte(0); len(groups) < cap(groups); {
		size := digitRun(b[i:])
		groups = append(groups, digitGroup{b[i : i+size], separator})
		i += size
		skip := joint(b[i:])
		if skip == 0 {
			break
		}
		separator = b[i]
		i += skip
	}
	n.numbers(groups, from > 0 && b[from-1] == '+')
	return i
}

func digitRun(b []byte) int {
	for i, c := range b {
		if !isDigit(c) {
			return i
		}
	}
	return len(b)
}

// joint is the length of a separator, one or two of " -./()" on one line, that more digits and no letters follow.
func joint(b []byte) int {
	i := 0
	for i < len(b) && i < 3 && bytes.IndexByte([]byte(" -./()"), b[i]) >= 0 {
		i++
	}
	if i == 0 || i > 2 || i == 2 && b[0] == b[1] {
		return 0
	}
	size := digitRun(b[i:])
	if rest := b[i+size:]; size == 0 || len(rest) > 0 && (isLetter(rest[0]) || rest[0] == '_') {
		return 0
	}
	return i
}

// numbers adds the values in a row of groups.
func (n *normaliser) numbers(groups []digitGroup, international bool) {
	for len(groups) >= 3 && isDate(groups) {
		groups = groups[3:]
	}
	switch {
	case len(groups) == 4 && isIPv4(groups):
		n.ipv4(groups)
	case international:
		n.digits(groups)
	default:
		n.wholes(groups)
	}
}

// wholes leaves fractions out: what follows a dot that is alone between two groups.
func (n *normaliser) wholes(groups []digitGroup) {
	dot := func(i int) bool { return i < len(groups) && groups[i].separator == '.' }
	from := 0
	for i := 1; i < len(groups); i++ {
		if dot(i) && !dot(i-1) && !dot(i+1) {
			n.segments(groups[from:i])
			from = i + 1
		}
	}
	n.segments(groups[from:])
}

// segments adds long groups alone and short neighbours together.
func (n *normaliser) segments(groups []digitGroup) {
	from := 0
	for i, g := range groups {
		if len(g.digits) >= minDigits {
			n.digits(groups[from:i])
			n.digits(groups[i : i+1])
			from = i + 1
		}
	}
	n.digits(groups[from:])
}

// digits adds the digits of groups as one number.
func (n *normaliser) digits(groups []digitGroup) {
	if len(groups) > maxDigitGroups || allYears(groups) {
		return
	}
	n.value = n.value[:0]
	for _, g := range groups {
		if len(n.value)+len(g.digits) > maxDigits {
			return
		}
		n.value = append(n.value, g.digits...)
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

func allYears(groups []digitGroup) bool {
	for _, g := range groups {
		if !isYear(g.digits) {
			return false
		}
	}
	return true
}

// isIPv4: four numbers under 256, joined by dots (RFC 3986 section 3.2.2).
func isIPv4(groups []digitGroup) bool {
	for i, g := range groups {
		if len(g.digits) > 3 || i > 0 && g.separator != '.' {
			return false
		}
		if v := decimal(g.digits); v > 255 {
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
func (n *normaliser) ipv4(g []digitGroup) {
	dot := []byte(".")
	if a := decimal(g[0].digits); a != 0 && a != 127 && a != 255 {
		n.emit(g[0].digits, dot, g[1].digits, dot, g[2].digits, dot, g[3].digits)
	}
}
