package sidecar_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/edge/sidecar"
	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
)

const instance = "support-1"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func emitter(t *testing.T) (*edgetest.Server, *edge.Emitter) {
	t.Helper()
	server := edgetest.New(t)
	e, err := edge.Open(t.Context(), edge.Config{
		Dir: server.Join(t, instance), MaxBatchAge: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server, e
}

// reply is one answer.
type reply struct {
	OK    bool   `json:"ok"`
	ID    string `json:"id"`
	Line  int    `json:"line"`
	Field string `json:"field"`
	Error string `json:"error"`
}

func serve(t *testing.T, to sidecar.Recorder, input string) (replies []reply) {
	t.Helper()
	var out bytes.Buffer
	if err := sidecar.Serve(t.Context(), to, strings.NewReader(input), &out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		var r reply
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		replies = append(replies, r)
	}
	return replies
}

// TestTheExampleIsAccepted also holds it to completeness: a line for every action that a program can record.
func TestTheExampleIsAccepted(t *testing.T) {
	server, e := emitter(t)
	var example bytes.Buffer
	if err := sidecar.Example(&example); err != nil {
		t.Fatal(err)
	}
	for i, r := range serve(t, e, example.String()) {
		if !r.OK || r.ID == "" {
			t.Errorf("line %d: %+v", i+1, r)
		}
	}
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range server.Events(instance) {
		got = append(got, event.Action(ev))
	}
	want := slices.DeleteFunc(event.Actions(), func(a string) bool {
		return strings.HasPrefix(a, "system.") || strings.HasPrefix(a, "identity.epoch_") || a == "identity.heartbeat"
	})
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

func TestALineBecomesItsEvent(t *testing.T) {
	server, e := emitter(t)
	id := event.NewID(time.Now(), nil).String()
	cause := event.NewID(time.Now(), nil)
	line := fmt.Sprintf(`{"id":%q,"run":"r","principal":"p","occurred_at":1700000000000000001,"trust":"untrusted",
		"causes":[{"id":%q,"relation":"input","basis":"inferred"}],
		"execution":{"action":"proposed","call":"c","tool":"\u0073end \ud83d\ude00","attempt":2},
		"sealed":{"arguments":{"base64":"AAEC","media_type":"image/x","subject":"s"},"plan":"just\nsend"}}`, id, cause)
	line = strings.ReplaceAll(line, "\n", " ") + "\n"
	if r := serve(t, e, line); len(r) != 1 || !r[0].OK || r[0].ID != id {
		t.Fatalf("answers %+v", r)
	}
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ev := server.Events(instance)[0]
	x := ev.GetExecution()
	if ev.GetOccurredAt() != 1700000000000000001 || x.GetTool() != "send 😀" || x.GetAttempt() != 2 || string(ev.GetCauses()[0].GetId()) != string(cause[:]) {
		t.Errorf("event %v", ev)
	}
	if server.Opened(ev, "arguments") != "\x00\x01\x02" || server.Opened(ev, "plan") != "just\nsend" || ev.GetSealed()[0].GetSubject() != "s" {
		t.Errorf("sealed %v", ev.GetSealed())
	}
}

func TestRefusedLinesNameTheField(t *testing.T) {
	_, e := emitter(t)
	const body = `"execution":{"action":"proposed","call":"c"}`
	tests := map[string]struct{ line, field, reason string }{
		"not JSON":              {`hello`, "", "not an object"},
		"an array":              {`[]`, "", "not an object"},
		"two values":            {`{` + body + `}{}`, "", "more than one JSON value"},
		"cut short":             {`{"run":"r`, "run", "string has no end"},
		"no body":               {`{"run":"r"}`, "", "has none of identity, data, execution, approval, ask, done, watch"},
		"two bodies":            {`{` + body + `,"data":{"action":"memory_read"}}`, "data", "is a second body"},
		"unknown key":           {`{"color":"red",` + body + `}`, "color", "unknown key"},
		"unknown key inside":    {`{"execution":{"action":"proposed","call":"c","verb":"x"}}`, "execution.verb", "unknown key"},
		"repeated key":          {`{"run":"a","run":"b",` + body + `}`, "run", "given twice"},
		"repeated path":         {`{"sealed":{"a":"1","a":"2"},` + body + `}`, "sealed.a", "given twice"},
		"null":                  {`{"run":null,` + body + `}`, "run", "not a string"},
		"not UTF-8":             {"{\"run\":\"\xff\"," + body + "}", "", "line is not valid UTF-8"},
		"lone surrogate":        {`{"run":"\ud800",` + body + `}`, "run", "malformed escape in a string"},
		"bad enum":              {`{"trust":"maybe",` + body + `}`, "trust", "none of trusted, untrusted, checked"},
		"upper-case enum":       {`{"trust":"Trusted",` + body + `}`, "trust", "none of trusted, untrusted, checked"},
		"fraction":              {`{"execution":{"action":"proposed","call":"c","attempt":1.5}}`, "execution", "no comma or closing brace"},
		"too large a number":    {`{"execution":{"action":"proposed","call":"c","attempt":4294967296}}`, "execution.attempt", "out of range"},
		"negative":              {`{"execution":{"action":"proposed","call":"c","attempt":-1}}`, "execution.attempt", "out of range"},
		"bad cause":             {`{"causes":[{"id":"x","relation":"input"}],` + body + `}`, "causes[0].id", "not a UUIDv7 in lower case"},
		"upper-case digest":     {`{"execution":{"action":"proposed","call":"c","arguments_digest":"AB"}}`, "execution.arguments_digest", "not lower-case hexadecimal"},
		"bad base64":            {`{"sealed":{"a":{"base64":"?"}},` + body + `}`, "sealed.a.base64", "not base64"},
		"two values to seal":    {`{"sealed":{"a":{"base64":"","value":""}},` + body + `}`, "sealed.a", "needs one of value and base64"},
		"set by the sidecar":    {`{"tenant":"acme",` + body + `}`, "tenant", "is set by the sidecar"},
		"a system event":        {`{"system":{}}`, "system", "is set by the sidecar"},
		"the emitter's own":     {`{"identity":{"action":"heartbeat","interval":1}}`, "identity.action", "is recorded by the emitter itself"},
		"missing for action":    {`{"execution":{"action":"proposed"}}`, "execution.call", "missing"},
		"wrong for action":      {`{"execution":{"action":"proposed","call":"c","reason":"r"}}`, "execution.reason", "not allowed for this action"},
		"too long":              {`{"principal":"` + strings.Repeat("x", 257) + `",` + body + `}`, "principal", "longer than 256 bytes"},
		"too much to seal":      {`{"sealed":{"b":"","a":"` + strings.Repeat("x", event.MaxObject+1) + `"},` + body + `}`, "sealed.a", "longer than 16777216 bytes: cut it, see edge.Cut"},
		"longer than any event": {`{"run":"` + strings.Repeat("x", sidecar.MaxLine) + `"}`, "", "longer than 25165824 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			good := "\n{" + body + "}\n"
			got := serve(t, e, good+test.line+good)
			if len(got) != 3 || !got[0].OK || !got[2].OK {
				t.Fatalf("answers %+v", got)
			}
			want := reply{Line: 3, Field: test.field, Error: test.reason}
			if diff := cmp.Diff(want, got[1]); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteAheadIsAnsweredAfterTheReceipt(t *testing.T) {
	server, e := emitter(t)
	if r := serve(t, e, `{"write_ahead":true,"execution":{"action":"started","call":"c"}}`); !r[0].OK {
		t.Fatalf("answer %+v", r)
	}
	if n := len(server.Events(instance)); n != 1 {
		t.Errorf("the server has %d events", n)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	_, e := emitter(t)
	in, program := io.Pipe()
	ctx, stop := context.WithCancelCause(t.Context())
	stopped := errors.New("told to stop")
	stop(stopped)
	if err := sidecar.Serve(ctx, e, in, io.Discard); !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	program.Close()
}

func TestTheSocket(t *testing.T) {
	server, e := emitter(t)
	path := filepath.Join(t.TempDir(), "s")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sidecar.Listen(ctx, e, path) }()
	one, two := dial(t, path), dial(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := sidecar.Listen(t.Context(), e, path); err == nil || !strings.Contains(err.Error(), "another sidecar") {
		t.Errorf("listen twice: %v", err)
	}
	for range 3 {
		for _, conn := range []net.Conn{one, two} {
			ask(t, conn)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("still connected: %v", err)
	}
	if err := e.Flush(t.Context()); err != nil || len(server.Events(instance)) != 6 {
		t.Errorf("the server has %d events, %v", len(server.Events(instance)), err)
	}
}

// TestTheSocketReplacesNoFile: a name that is mistyped costs nobody a file.
func TestTheSocketReplacesNoFile(t *testing.T) {
	_, e := emitter(t)
	for _, suffix := range []string{"", ".new"} {
		path := filepath.Join(t.TempDir(), "notes")
		if err := os.WriteFile(path+suffix, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sidecar.Listen(t.Context(), e, path); !errors.Is(err, sidecar.ErrNotSocket) {
			t.Errorf("listen: %v", err)
		}
		if got, err := os.ReadFile(path + suffix); err != nil || string(got) != "mine" {
			t.Errorf("the file holds %q, %v", got, err)
		}
	}
}

// TestAnswersDoNotWaitForAReceipt: what is in the spool is said to be there, however long the next line takes.
func TestAnswersDoNotWaitForAReceipt(t *testing.T) {
	server, e := emitter(t)
	server.Stop()
	in, program := io.Pipe()
	heard, out := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sidecar.Serve(ctx, e, in, out) }()
	const body = `"execution":{"action":"started","call":"c"}}` + "\n"
	if _, err := io.WriteString(program, "{"+body+`{"write_ahead":true,`+body); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(heard).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"ok":true`) {
		t.Errorf("answer %q, %v", line, err)
	}
	stop()
	heard.Close() // nobody listens to the rest
	if err := <-done; err == nil {
		t.Error("nobody heard the rest, and that is no error")
	}
	program.Close()
	server.Start()
}

// TestAFullSpoolIsNoFaultOfTheLine: a program can tell what to correct from what to send again.
func TestAFullSpoolIsNoFaultOfTheLine(t *testing.T) {
	server := edgetest.New(t)
	e, err := edge.Open(t.Context(), edge.Config{
		Dir: server.Join(t, instance), SpoolMaxBytes: spool.LeastMaxBytes, FullPolicy: edge.Error, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	long := `{"data":{"action":"input_received"},"sealed":{"content":"` + strings.Repeat("x", event.MaxSealedInline) + `"}}` + "\n"
	var out bytes.Buffer
	if err := sidecar.Serve(t.Context(), e, strings.NewReader(strings.Repeat(long, spool.LeastMaxBytes/event.MaxSealedInline+1)), &out); err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := answers[len(answers)-1]; !strings.HasPrefix(answers[0], `{"ok":true`) || !strings.HasPrefix(last, `{"ok":false,"retry":true,"line":`) {
		t.Errorf("first %s, last %s", answers[0], last)
	}
	server.Start()
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	for range 200 {
		if conn, err := net.Dial("unix", path); err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", path)
	return nil
}

func ask(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, `{"execution":{"action":"proposed","call":"c"}}`+"\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `{"ok":true,"id":"`) {
		t.Errorf("answer %q, %v", line, err)
	}
}

// FuzzLine: a line that is accepted is JSON for other parsers too, and its event is what they read.
func FuzzLine(f *testing.F) {
	var example bytes.Buffer
	if err := sidecar.Example(&example); err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(example.Bytes()) {
		f.Add(line)
	}
	f.Add([]byte(`{"ask":{"call":"c","tool":"send","consequence":"high"},"run":"r","trust":"untrusted","sealed":{"arguments":"{}"}}`))
	f.Add([]byte(`{"done":{"call":"c","outcome":"error"},"sealed":{"error":"no"}}`))
	f.Add([]byte(`{"watch":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		parsed, err := sidecar.ParseLine(line)
		if err != nil {
			if _, ok := errors.AsType[*event.FieldError](err); !ok {
				t.Fatalf("error %v names no field", err)
			}
			return
		}
		var other struct {
			Run    string                     `json:"run"`
			Sealed map[string]json.RawMessage `json:"sealed"`
		}
		if err := json.Unmarshal(line, &other); err != nil {
			t.Fatalf("accepted, but not JSON: %v", err)
		}
		if parsed.Event.Plain.Run != other.Run || len(parsed.Event.Sealed) != len(other.Sealed) {
			t.Fatalf("run %q, sealed %d; others read %q, %d", parsed.Event.Plain.Run, len(parsed.Event.Sealed), other.Run, len(other.Sealed))
		}
	})
}
