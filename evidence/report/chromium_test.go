//go:build e2e

package report_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// chromium is one page of a headless browser without a network, driven over a pipe by the DevTools protocol
// (https://chromedevtools.github.io/devtools-protocol/): each message is JSON and ends in NUL.
type chromium struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	last    int
	events  []message // since the last visit
}

// message is what the browser says: an answer, which has an ID, or an event, which has a Method.
type message struct {
	ID        int             `json:"id"`
	Method    string          `json:"method"`
	SessionID string          `json:"sessionId"`
	Params    json.RawMessage `json:"params"`
	Result    json.RawMessage `json:"result"`
	Error     json.RawMessage `json:"error"`
}

// launch starts a browser that ends with the test. Every name that it looks up does not exist.
func launch(t *testing.T) *chromium {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium is installed (apt-get install chromium)")
	}
	hears, to, err1 := os.Pipe()
	from, says, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	profile := t.TempDir()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir="+profile)
	cmd.ExtraFiles = []*os.File{hears, says} // its descriptors 3 and 4
	if err := errors.Join(cmd.Start(), hears.Close(), says.Close()); err != nil {
		t.Fatal(err)
	}
	b := &chromium{t: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		b.end(cmd)
		_ = from.Close()
		forget(profile)
	})
	b.attach()
	return b
}

// patience is how long a browser may take to end, and its helpers to leave its folder alone.
const patience = 10 * time.Second

// end lets the browser end with its pipe; how is its own affair.
func (b *chromium) end(cmd *exec.Cmd) {
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = errors.Join(b.to.Close(), cmd.Wait())
}

// forget removes the browser's folder, in which helpers that outlive it by a moment still write.
func forget(profile string) {
	for until := time.Now().Add(patience); os.RemoveAll(profile) != nil && time.Now().Before(until); {
		time.Sleep(patience / 100)
	}
}

// attach opens a page and asks to be told of all that it does.
func (b *chromium) attach() {
	b.t.Helper()
	var page struct{ TargetID string }
	b.call("Target.createTarget", object{"url": "about:blank"}, &page)
	var at struct{ SessionID string }
	b.call("Target.attachToTarget", object{"targetId": page.TargetID, "flatten": true}, &at)
	b.session = at.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Runtime", "DOM"} {
		b.call(domain+".enable", nil, nil)
	}
}

// object is one of JSON.
type object map[string]any

// call asks for something and waits for the answer.
func (b *chromium) call(method string, params object, result any) {
	b.t.Helper()
	b.last++
	ask, err := json.Marshal(object{"id": b.last, "method": method, "params": params, "sessionId": b.session})
	if b.session == "" {
		ask, err = json.Marshal(object{"id": b.last, "method": method, "params": params})
	}
	if err == nil {
		_, err = b.to.Write(append(ask, 0))
	}
	for err == nil {
		var m message
		if m, err = b.read(); err == nil && m.ID == b.last && m.Method == "" {
			err = m.answer(result)
			break
		}
	}
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// answer is what was asked for.
func (m *message) answer(result any) error {
	if m.Error != nil {
		return fmt.Errorf("refused: %s", m.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// read takes the next message; events are kept.
func (b *chromium) read() (m message, err error) {
	text, err := b.from.ReadBytes(0)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m); err != nil {
		return m, err
	}
	if m.Method != "" {
		b.events = append(b.events, m)
	}
	return m, nil
}

// visit opens a file and waits until it and all that it asks for is there.
func (b *chromium) visit(file string) {
	b.t.Helper()
	b.events = nil
	b.call("Page.navigate", object{"url": "file://" + file}, nil)
	for !b.happened("Page.loadEventFired") {
		if _, err := b.read(); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *chromium) happened(method string) bool { return len(b.params(method)) > 0 }

// params are what the events of one sort say.
func (b *chromium) params(method string) (out []json.RawMessage) {
	for _, m := range b.events {
		if m.Method == method {
			out = append(out, m.Params)
		}
	}
	return out
}

// ask evaluates an expression in the page, on behalf of the browser and not of the page: its policy does not hinder that.
func (b *chromium) ask(expression string, result any) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", object{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s", r.ExceptionDetails)
	}
	if err := json.Unmarshal(r.Result.Value, result); err != nil {
		b.t.Fatal(err)
	}
}

// medium says for what the page is laid out, and how wide in CSS pixels.
func (b *chromium) medium(media, scheme string, width int) {
	b.t.Helper()
	b.call("Emulation.setEmulatedMedia", object{"media": media, "features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Emulation.setDeviceMetricsOverride", object{"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false}, nil)
}
