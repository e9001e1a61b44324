package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

// exceptionTagLength is the length of the random tag that tells an exception in
// the middle of a result from data that looks like one.
const exceptionTagLength = 16

// Handler serves ClickHouse's HTTP interface from e, for a tool or driver on the
// same machine, by the same path as RoundTripper. It has no users: whoever
// reaches it may run any statement, so it answers only loopback addresses, and
// only under a loopback name, which keeps web pages out.
func Handler(e *Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Ok.\n") })
	mux.Handle("/{$}", front{transport{e}})
	return localOnly(mux)
}

func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.RemoteAddr) || !isLoopback(r.Host) {
			http.Error(w, "the embedded engine answers this machine only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

type front struct{ transport transport }

func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res, err := f.transport.RoundTrip(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer func() { _ = res.Body.Close() }()
	tag := rand.Text()[:exceptionTagLength]
	w.Header().Set(exceptionTagHeader, tag)
	if code := res.Header.Get(exceptionCodeHeader); code != "" {
		w.Header().Set(exceptionCodeHeader, code)
	}
	if res.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
	}
	w.WriteHeader(res.StatusCode)
	f.send(w, res.Body, tag)
}

// send copies the body. An exception in the middle of it is framed as a server
// frames it; any other break aborts the response, so that no client takes it for
// a complete one.
func (f front) send(w http.ResponseWriter, body io.Reader, tag string) {
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, *buffer)
	failed, ok := errors.AsType[*clickhouse.Exception](err)
	switch {
	case ok:
		_, _ = io.WriteString(w, frame(exceptionText(failed), tag))
	case err != nil:
		panic(http.ErrAbortHandler)
	}
}

// frame is the exception block of WriteBufferFromHTTPServerResponse.cpp.
func frame(text, tag string) string {
	return fmt.Sprintf("\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", tag, text, len(text)+1, tag)
}
