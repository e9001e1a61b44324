package event

import "bytes"

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
