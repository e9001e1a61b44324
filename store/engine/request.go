package engine

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaxQueryBytes bounds the text of a statement, as a server's
// http_max_uri_size and max_query_size do.
const MaxQueryBytes = 16 << 20

const (
	// defaultFormat is a server's format for a request that names none.
	defaultFormat = "TabSeparated"
	// nativeFormat is the engine's own.
	nativeFormat = "Native"
	// defaultDatabase is that of a statement that names none.
	defaultDatabase = "default"
)

// statement is one request, ready to run.
type statement struct {
	text     string
	format   string // of a result whose statement has no FORMAT clause
	database string
	settings map[string]string
	params   []param // by name
	shape    shape
	insert   *insert // when the rows came apart; text is then made late
	revision int     // of the client's native protocol
}

// shape is how a statement is run.
type shape byte

const (
	whole   shape = iota // its result is made before it is sent
	streams              // a SELECT
	session              // leaves settings or temporary tables in its connection
)

// httpOnly are the parameters of the HTTP interface that are no settings. They
// speak of transport, users and buffering, which the embedded engine has not.
var httpOnly = map[string]bool{
	"query": true, "database": true, "default_format": true, "client_protocol_version": true,
	"query_id": true, "quota_key": true, "user": true, "password": true, "role": true,
	"wait_end_of_query": true, "buffer_size": true, "stacktrace": true, "close_session": true,
	"compress": true, "decompress": true, "network_compression_method": true,
	"network_zstd_compression_level": true,
}

// parseRequest reads a request of the HTTP interface. The rows of an insert are
// spooled; the caller closes the statement.
func parseRequest(r *http.Request) (*statement, error) {
	values := r.URL.Query()
	s := &statement{
		format:   or(values.Get("default_format"), defaultFormat),
		database: or(values.Get("database"), defaultDatabase),
	}
	s.revision, _ = strconv.Atoi(values.Get("client_protocol_version"))
	if err := supported(r, values); err != nil {
		return nil, err
	}
	if err := s.read(values); err != nil {
		return nil, err
	}
	return s, s.readBody(values.Get("query"), r)
}

// supported refuses what would change the meaning of a request if ignored.
func supported(r *http.Request, values url.Values) error {
	switch {
	case values.Get("compress") == "1", values.Get("decompress") == "1", r.Header.Get("Content-Encoding") != "":
		return refuse("compression: there is no network")
	case values.Has("session_id"):
		return refuse("sessions")
	case strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/"):
		return refuse("external tables")
	case !isName(or(values.Get("default_format"), defaultFormat)):
		return raise(codeBadArguments, "BAD_ARGUMENTS", "bad format name %q", values.Get("default_format"))
	}
	return nil
}

// read takes the parameters and settings from the address.
func (s *statement) read(values url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values.Get(name)
		bare, isParam := strings.CutPrefix(name, "param_")
		switch {
		case isParam:
			s.params = append(s.params, param{bare, value})
		case httpOnly[name]:
		case !isName(name):
			return raise(codeBadArguments, "BAD_ARGUMENTS", "bad setting name %q", name)
		default:
			if s.settings == nil {
				s.settings = map[string]string{}
			}
			s.settings[name] = value
		}
	}
	return nil
}

// readBody takes the statement: the query parameter, then the body, as a server
// does; for an insert with the parameter the body is its rows.
func (s *statement) readBody(query string, r *http.Request) error {
	if head := (&lexer{text: query}).next(); head.is("INSERT") && r.Body != nil && r.Body != http.NoBody {
		return s.readInsert(query, requestRows{r.Body})
	}
	body, err := readText(r.Body)
	if err != nil {
		return err
	}
	s.text = body
	if query != "" {
		s.text = query + "\n" + body
	}
	s.shape, err = shapeOf(s.text)
	return err
}

// requestRows is the rows of an insert that come in a request.
type requestRows struct{ io.Reader }

func (b requestRows) WriteTo(w io.Writer) (int64, error) {
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	return io.CopyBuffer(w, struct{ io.Reader }{b.Reader}, *buffer)
}

func (s *statement) readInsert(query string, rows io.WriterTo) error {
	ins, err := parseInsert(query)
	if err != nil {
		return err
	}
	s.insert = ins
	ins.rows, err = fill(rows)
	return err
}

func readText(r io.Reader) (string, error) {
	if r == nil {
		return "", nil
	}
	b := new(strings.Builder)
	n, err := io.Copy(b, io.LimitReader(r, MaxQueryBytes+1))
	if err != nil {
		return "", fmt.Errorf("read statement: %w", err)
	}
	if n > MaxQueryBytes {
		return "", raise(codeTooLarge, "TOO_MANY_BYTES", "a statement of more than %d bytes", MaxQueryBytes)
	}
	return b.String(), nil
}

func (s *statement) close() {
	if s != nil && s.insert != nil && s.insert.rows != nil {
		_ = s.insert.rows.close() // memory; nothing can be lost
	}
}

// shapeOf tells how to run text, and refuses several statements in one, as a
// server does over HTTP. What an INSERT carries after its head is data.
func shapeOf(text string) (shape, error) {
	l := &lexer{text: text}
	for l.acceptMark("(") {
	}
	first := l.next()
	if first.kind == end {
		return whole, raise(codeSyntaxError, "SYNTAX_ERROR", "empty query")
	}
	if !first.is("INSERT") && several(l) {
		return whole, raise(codeSyntaxError, "SYNTAX_ERROR", "several statements in one request")
	}
	return shapeBy(first, l.next(), l.next(), l.next()), nil
}

func several(l *lexer) bool {
	ahead := *l
	for t := ahead.next(); t.kind != end; t = ahead.next() {
		if t.isMark(";") {
			return ahead.next().kind != end
		}
	}
	return false
}

func shapeBy(first token, then ...token) shape {
	switch {
	case first.is("SELECT"), first.is("WITH"):
		return streams
	case first.is("SET"), first.is("USE"), first.is("BEGIN"), first.is("START"), first.is("COMMIT"), first.is("ROLLBACK"):
		return session
	case slices.ContainsFunc(then, func(t token) bool { return t.is("TEMPORARY") }):
		return session
	}
	return whole
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
