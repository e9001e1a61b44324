package engine

import "strings"

// kind is the kind of a token of ClickHouse SQL.
type kind byte

const (
	end        kind = iota
	word            // name, keyword or number
	quotedName      // `a b` or "a b"
	literal         // 'text' or $tag$text$tag$
	mark            // one byte of punctuation
)

// token is one token and its place in the text.
type token struct {
	kind   kind
	text   string // as written
	offset int
}

func (t token) is(keyword string) bool { return t.kind == word && strings.EqualFold(t.text, keyword) }

func (t token) isMark(c string) bool { return t.kind == mark && t.text == c }

// lexer splits a statement just far enough to tell its kind, find its end and
// read the head of an INSERT; the engine's own parser judges the rest. An
// unterminated quote or comment runs to the end of the text.
type lexer struct {
	text string
	pos  int
}

func (l *lexer) next() token {
	l.skip()
	start := l.pos
	if start >= len(l.text) {
		return token{kind: end, offset: start}
	}
	k, size := measure(l.text[start:])
	l.pos += size
	return token{kind: k, text: l.text[start:l.pos], offset: start}
}

func (l *lexer) peek() token {
	ahead := *l
	return ahead.next()
}

func (l *lexer) accept(keyword string) bool {
	ahead := *l
	if !ahead.next().is(keyword) {
		return false
	}
	*l = ahead
	return true
}

func (l *lexer) acceptMark(c string) bool {
	ahead := *l
	if !ahead.next().isMark(c) {
		return false
	}
	*l = ahead
	return true
}

// skip passes blanks and comments.
func (l *lexer) skip() {
	for l.pos < len(l.text) {
		n := blank(l.text[l.pos:])
		if n == 0 {
			return
		}
		l.pos += n
	}
}

func blank(s string) int {
	switch {
	case strings.IndexByte(" \t\n\r\v\f", s[0]) >= 0:
		return 1
	case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "# "), strings.HasPrefix(s, "#!"):
		return through(s, 0, "\n")
	case strings.HasPrefix(s, "/*"):
		return through(s, 2, "*/")
	}
	return 0
}

// through is the length up to and with the first stop after from.
func through(s string, from int, stop string) int {
	i := strings.Index(s[from:], stop)
	if i < 0 {
		return len(s)
	}
	return from + i + len(stop)
}

func measure(s string) (kind, int) {
	switch c := s[0]; {
	case c == '\'':
		return literal, quoted(s)
	case c == '`' || c == '"':
		return quotedName, quoted(s)
	case c == '$' && heredoc(s) > 0:
		return literal, heredoc(s)
	case isWordByte(c):
		return word, wordLen(s)
	}
	return mark, 1
}

// quoted is the length of a quoted token: a backslash escapes the next byte, a
// doubled quote stands for itself.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] != s[0]:
		case i+1 < len(s) && s[i+1] == s[0]:
			i++
		default:
			return i + 1
		}
	}
	return len(s)
}

// heredoc is the length of $tag$…$tag$, 0 when s does not begin with one.
func heredoc(s string) int {
	tag := 1 + wordLen(s[1:])
	if tag >= len(s) || s[tag] != '$' {
		return 0
	}
	i := strings.Index(s[tag+1:], s[:tag+1])
	if i < 0 {
		return 0
	}
	return tag + 1 + i + tag + 1
}

func wordLen(s string) int {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return i
		}
	}
	return len(s)
}

func isWordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isName tells whether s can name a setting or a parameter unquoted.
func isName(s string) bool {
	return s != "" && wordLen(s) == len(s) && (s[0] < '0' || s[0] > '9')
}

// quoteLiteral writes s as an SQL string.
func quoteLiteral(s string) string { return quoteWith(s, "'") }

// quoteName writes s as an SQL identifier.
func quoteName(s string) string { return quoteWith(s, "`") }

func quoteWith(s, q string) string {
	return q + strings.NewReplacer(`\`, `\\`, q, `\`+q).Replace(s) + q
}
