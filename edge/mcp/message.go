package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// message is one JSON-RPC 2.0 message that has one meaning only, whoever parses it.
type message struct {
	text   []byte          // the whole, without white space
	id     json.RawMessage // a string or an integer; nil in a notification
	method string          // empty in an answer
	params json.RawMessage
	result json.RawMessage
	err    json.RawMessage
}

func (m *message) isRequest() bool { return m.method != "" && m.id != nil }
func (m *message) isAnswer() bool  { return m.method == "" }

// Keys with a meaning. One that differs from them only by case is refused: some parsers take it for the key itself.
var (
	messageKeys = []string{"jsonrpc", "id", "method", "params", "result", "error"}
	paramsKeys  = []string{"_meta", "arguments", "cursor", "inputResponses", "name", "requestId", "requestState", "task", "taskId", "uri"}
)

// integer is how ids may be written that are numbers: in one way only.
var integer = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

// parse reads a line. White space goes, because some servers take a carriage return for the end of a line.
func parse(line []byte) (*message, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("not valid UTF-8")
	}
	var text bytes.Buffer
	if err := json.Compact(&text, line); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if err := unambiguous(text.Bytes()); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text.Bytes(), &members); err != nil || members == nil {
		return nil, errors.New("not an object: batches are not supported")
	}
	m := &message{text: text.Bytes(), params: members["params"], result: members["result"], err: members["error"]}
	return m, errors.Join(m.envelope(members), m.caseOf(members))
}

// envelope reads what makes a message a request, a notification or an answer.
func (m *message) envelope(members map[string]json.RawMessage) error {
	if id := members["id"]; id != nil && string(id) != "null" {
		if id[0] != '"' && !integer.Match(id) {
			return errors.New("id: neither a string nor an integer")
		}
		m.id = id
	}
	method, isMethod := members["method"]
	switch {
	case string(members["jsonrpc"]) != `"2.0"`:
		return errors.New(`jsonrpc: not "2.0"`)
	case isMethod:
		if err := json.Unmarshal(method, &m.method); err != nil || m.method == "" || m.result != nil || m.err != nil {
			return errors.New("method: not a name, or beside a result or an error")
		}
	case (m.result == nil) == (m.err == nil):
		return errors.New("neither method nor one of result and error")
	}
	return nil
}

// caseOf refuses keys that are written otherwise than the protocol has them. Of params that are passed on unread, none is.
func (m *message) caseOf(members map[string]json.RawMessage) error {
	var params map[string]json.RawMessage
	if !decidedOn(m.method) {
		return misspelt(members, messageKeys)
	}
	_ = json.Unmarshal(m.params, &params) // params that are no object have no keys
	return errors.Join(misspelt(members, messageKeys), misspelt(params, paramsKeys))
}

func misspelt(members map[string]json.RawMessage, known []string) error {
	for key := range members {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
		if i >= 0 && known[i] != key {
			return fmt.Errorf("%s is written otherwise", known[i])
		}
	}
	return nil
}

// unambiguous refuses keys that are given twice, and what nests too deep.
func unambiguous(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var open []map[string]bool // of each bracket: its keys, nil for an array
	key := false               // the next token is a key
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
		switch token {
		case json.Delim('{'):
			open, key = append(open, map[string]bool{}), true
		case json.Delim('['):
			open, key = append(open, nil), false
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			key = len(open) > 0 && open[len(open)-1] != nil
		default:
			keys := top(open)
			if name, isText := token.(string); key && isText {
				if keys[name] {
					return errors.New("a key is given twice")
				}
				keys[name] = true
			}
			key = keys != nil && !key
		}
		if len(open) > maxDepth {
			return fmt.Errorf("nested deeper than %d", maxDepth)
		}
	}
}

func top(open []map[string]bool) map[string]bool {
	if len(open) == 0 {
		return nil
	}
	return open[len(open)-1]
}

// wire is a message that we write.
type wire struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// encode writes one line.
func (w wire) encode() []byte {
	w.Version = "2.0"
	return append(encode(w), '\n')
}

// encode is JSON as it is, without escapes for HTML. It takes only what can be encoded.
func encode(v any) []byte {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("mcp: encode: " + err.Error())
	}
	return bytes.TrimSuffix(text.Bytes(), []byte{'\n'})
}

// failure is an answer that refuses a request. Without an id it is for a line that could not be read.
func failure(id json.RawMessage, code int64, reason string) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	return wire{ID: id, Error: encode(&jsonrpc.Error{Code: code, Message: reason})}.encode()
}
