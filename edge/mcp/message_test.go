package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	request := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`
	tests := map[string]struct{ line, err string }{
		"request":                   {request, ""},
		"notification":              {`{"jsonrpc":"2.0","method":"notifications/initialized"}`, ""},
		"id null is none":           {`{"jsonrpc":"2.0","id":null,"method":"x"}`, ""},
		"answer":                    {`{"jsonrpc":"2.0","id":"a","result":{}}`, ""},
		"unknown members":           {`{"jsonrpc":"2.0","id":"a","method":"x","extra":1}`, ""},
		"white space":               {" { \t\"jsonrpc\" : \"2.0\", \r \"method\":\"x\" } ", ""},
		"not JSON":                  {`{"jsonrpc":`, "not JSON"},
		"not UTF-8":                 {"\xff", "not valid UTF-8"},
		"two values":                {request + request, "not JSON"},
		"batch":                     {"[" + request + "]", "batches are not supported"},
		"null":                      {"null", "not an object"},
		"version":                   {`{"jsonrpc":"1.0","method":"x"}`, "jsonrpc"},
		"two methods":               {`{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`, "given twice"},
		"two names inside":          {`{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":"a","name":"b"}}`, "given twice"},
		"two names deep inside":     {`{"jsonrpc":"2.0","id":1,"method":"x","params":[{"a":[{"b":1,"b":2}]}]}`, "given twice"},
		"escaped key twice":         {`{"jsonrpc":"2.0","id":1,"method":"x","\u006dethod":"y"}`, "given twice"},
		"method by another case":    {`{"jsonrpc":"2.0","id":1,"result":{},"Method":"tools/call"}`, "written otherwise"},
		"name by another case":      {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}`, "written otherwise"},
		"a fold that is not ASCII":  {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argument\u017f":{}}}`, "written otherwise"},
		"method and result":         {`{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`, "beside a result"},
		"result and error":          {`{"jsonrpc":"2.0","id":1,"error":{},"result":{}}`, "neither"},
		"nothing":                   {`{"jsonrpc":"2.0","id":1}`, "neither"},
		"method is a number":        {`{"jsonrpc":"2.0","id":1,"method":7}`, "method"},
		"id is a fraction":          {`{"jsonrpc":"2.0","id":1.5,"method":"x"}`, "id"},
		"id in another way":         {`{"jsonrpc":"2.0","id":1e0,"method":"x"}`, "id"},
		"id is an object":           {`{"jsonrpc":"2.0","id":{},"method":"x"}`, "id"},
		"deep":                      {`{"jsonrpc":"2.0","method":"x","params":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, "nested deeper"},
		"deeper than the Go parser": {strings.Repeat("[", 20000), "not JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := parse([]byte(test.line))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || bytes.ContainsAny(m.text, "\r\n") {
				t.Fatalf("%q, %v", m.text, err)
			}
		})
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", MaxMessage+1)
	l := newLines(strings.NewReader("a\n\n \r\n" + long + "\nb\n" + long[:MaxMessage] + "\nlast"))
	for _, want := range []struct {
		size int
		err  error
	}{{2, nil}, {0, errTooLong}, {2, nil}, {MaxMessage + 1, nil}, {4, nil}, {0, io.EOF}} {
		if line, err := l.next(); len(line) != want.size || !errors.Is(err, want.err) {
			t.Fatalf("%d bytes, %v; want %v", len(line), err, want)
		}
	}
}

// FuzzParse: what is taken is one line with one meaning, and is the same when it is read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":[1,{}]}}}`))
	f.Add([]byte("{\"jsonrpc\":\"2.0\",\r\"id\":\"\\ud800\",\"result\":{}}"))
	f.Add([]byte(`{"jsonrpc":"2.0","id":-0,"error":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parse(line)
		if err != nil {
			return
		}
		again, err := parse(m.text)
		if err != nil || !bytes.Equal(again.text, m.text) || again.method != m.method || !bytes.Equal(again.id, m.id) {
			t.Fatalf("%q again is %+v, %v", m.text, again, err)
		}
		var loose map[string]any
		if err := json.Unmarshal(m.text, &loose); err != nil || bytes.ContainsAny(m.text, "\r\n") {
			t.Fatalf("%q: %v", m.text, err)
		}
		if method, _ := loose["method"].(string); method != m.method {
			t.Fatalf("%q is method %q for another parser", m.text, method)
		}
	})
}

// FuzzTools: the digest of a tool is of what it means, not of how it is written.
func FuzzTools(f *testing.F) {
	f.Add([]byte(`{"tools":[{"name":"send","description":"sends <mail>","inputSchema":{"b":1.50,"a":[true,null]}}],"nextCursor":"2"}`))
	f.Add([]byte(`{"tools":[{"name":""}]}`))
	f.Add([]byte(`{"tools":null,"nextCursor":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || unambiguous(raw) != nil {
			return // a message like that was refused before
		}
		list, next, err := readPage(raw)
		if err != nil {
			return
		}
		for _, x := range list {
			var again bytes.Buffer
			if err := json.Indent(&again, x.text, "\r", "\t"); err != nil {
				t.Fatal(err)
			}
			page := append(append([]byte(`{"nextCursor":`), encode(next)...), `,"tools":[`+again.String()+`]}`...)
			other, otherNext, err := readPage(page)
			if err != nil || len(other) != 1 || other[0].name != x.name || other[0].digest != x.digest || otherNext != next {
				t.Fatalf("%s again is %v, %q, %v", x.text, other, otherNext, err)
			}
		}
	})
}
