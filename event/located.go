package event

import (
	"bytes"
	"slices"
)

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

// unpercent decodes %41 in a path and query (RFC 3986 section 2.1).
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
