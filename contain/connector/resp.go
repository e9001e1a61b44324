package connector

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/agentcustody/custody/contain"
)

const (
	// maxReply bounds one text of a reply, in bytes: a list of ten thousand clients has about 4 MB.
	maxReply = 8 << 20
	// maxItems bounds an array of a reply.
	maxItems = 1 << 16
	// maxDepth bounds arrays in arrays: what is asked here has two.
	maxDepth = 8
)

// reply is a value of RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/): a string, an int64, a []reply, a
// refusal, or nil.
type reply any

// refusal is a server's error, by its first word alone: the rest may repeat what was sent, a password too.
type refusal string

func (r refusal) Error() string { return "the server says " + string(r) }

// wire is one connection to a Redis server.
type wire struct {
	net.Conn
	in *bufio.Reader
}

// dialRedis connects, with TLS for rediss. The connection ends with ctx.
func dialRedis(ctx context.Context, u *url.URL, config *tls.Config) (*wire, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if u.Scheme == "rediss" {
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
		}
		conn = secured
	}
	return &wire{conn, bufio.NewReader(conn)}, nil
}

// do sends one command and reads its reply. A refusal is an error.
func (w *wire) do(args ...string) (reply, error) {
	if _, err := w.Write(encodeCommand(args)); err != nil {
		return nil, err
	}
	r, err := readReply(w.in, maxDepth)
	if err != nil {
		return nil, err
	}
	if refused, ok := r.(refusal); ok {
		return nil, refused
	}
	return r, nil
}

func encodeCommand(args []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b
}

var errReply = errors.New("not a reply of Redis")

// readReply reads one value.
func readReply(in *bufio.Reader, depth int) (reply, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || text == "" || depth == 0 {
		return nil, errReply
	}
	switch kind, rest := text[0], text[1:]; kind {
	case '+':
		return rest, nil
	case '-':
		word, _, _ := strings.Cut(rest, " ")
		return refusal(word), nil
	case ':':
		n, err := strconv.ParseInt(rest, 10, 64)
		return n, err
	case '$':
		return readText(in, rest)
	case '*':
		return readItems(in, rest, depth)
	}
	return nil, errReply
}

// readText reads a bulk string of a length; -1 is nil.
func readText(in *bufio.Reader, length string) (reply, error) {
	n, err := strconv.Atoi(length)
	switch {
	case n == -1:
		return nil, nil
	case err != nil || n < 0 || n > maxReply:
		return nil, errReply
	}
	b, err := io.ReadAll(io.LimitReader(in, int64(n)+2))
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok || len(text) != n {
		return nil, errReply
	}
	return text, nil
}

// readItems reads an array of a length; -1 is nil.
func readItems(in *bufio.Reader, length string, depth int) (reply, error) {
	n, err := strconv.Atoi(length)
	switch {
	case n == -1:
		return nil, nil
	case err != nil || n < 0 || n > maxItems:
		return nil, errReply
	}
	var list []reply
	for range n {
		r, err := readReply(in, depth-1)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
