package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	chproto "github.com/ClickHouse/ch-go/proto"
	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

const (
	// helloQuery is the driver's first query on a connection.
	helloQuery = "SELECT displayName(), version(), revision(), timezone()"
	// plainRevision makes the driver read results in the plain Native format,
	// which is what the engine writes, and not in that of a protocol revision.
	plainRevision = 0
	// displayName is the server name that the driver sees.
	displayName = "embedded"

	exceptionCodeHeader = "X-Clickhouse-Exception-Code"
	exceptionTagHeader  = "X-Clickhouse-Exception-Tag"
)

type transport struct{ engine *Engine }

// RoundTripper answers requests of ClickHouse's HTTP interface without a
// network. A response's body is read from the engine while the statement runs:
// it must be closed, or its connection is not given back.
func (e *Engine) RoundTripper() http.RoundTripper { return transport{e} }

// RoundTrip runs the statement in req.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	res, err := t.engine.answer(req)
	if failed, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return refusal(req, failed), nil
	}
	return res, err
}

func (e *Engine) answer(req *http.Request) (*http.Response, error) {
	s, err := parseRequest(req)
	if err != nil {
		s.close()
		return nil, err
	}
	if s.revision > 0 && strings.TrimSpace(s.text) == helloQuery {
		return e.greet(req, s.revision)
	}
	if s.insert != nil && s.insert.rows.size == 0 {
		s.close()
		return response(req, http.StatusOK, nil), nil
	}
	r, err := e.execute(req.Context(), s)
	if err != nil {
		return nil, err
	}
	res := response(req, http.StatusOK, nil)
	res.Body, res.ContentLength = r, r.size()
	return res, nil
}

// greet answers the hello query, which the driver reads at its own revision.
func (e *Engine) greet(req *http.Request, revision int) (*http.Response, error) {
	name, version, zone, number := new(chproto.ColStr), new(chproto.ColStr), new(chproto.ColStr), new(chproto.ColUInt32)
	name.Append(displayName)
	version.Append(e.hello.version)
	zone.Append(e.hello.timezone)
	number.Append(plainRevision)
	var buf chproto.Buffer
	block := chproto.Block{Columns: 4, Rows: 1}
	err := block.EncodeBlock(&buf, revision, chproto.Input{
		{Name: "displayName()", Data: name},
		{Name: "version()", Data: version},
		{Name: "revision()", Data: number},
		{Name: "timezone()", Data: zone},
	})
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	return response(req, http.StatusOK, buf.Buf), nil
}

// refusal is a server's answer to a statement that failed.
func refusal(req *http.Request, e *clickhouse.Exception) *http.Response {
	res := response(req, http.StatusInternalServerError, []byte(exceptionText(e)+"\n"))
	res.Header.Set(exceptionCodeHeader, strconv.Itoa(int(e.Code)))
	return res
}

func response(req *http.Request, status int, body []byte) *http.Response {
	return &http.Response{
		Status:     strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode: status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		Request:       req,
	}
}
