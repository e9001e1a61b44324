package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
)

// Recorder is what takes the events: an *edge.Emitter.
type Recorder interface {
	// Record returns the event's id when the event survives the death of the process.
	Record(ctx context.Context, ev *edge.Event) (event.ID, error)
	// WriteAhead is Record, and returns when Custody has given the receipt.
	WriteAhead(ctx context.Context, ev *edge.Event) (event.ID, error)
	// Adopt is the context of a run, in which edge.Begin asks the gate.
	Adopt(ctx context.Context, o edge.RunOptions, given edge.Trust, known ...edge.Known) context.Context
	// InForce is what is contained, and a channel that is closed when that may have changed.
	InForce() (all []edge.Containment, changed <-chan struct{})
}

// answer is the answer to one line.
type answer struct {
	OK    bool   `json:"ok"`
	Retry bool   `json:"retry,omitempty"` // nothing is wrong with the line
	ID    string `json:"id,omitempty"`
	Line  int    `json:"line,omitempty"` // of the input, from 1
	Field string `json:"field,omitempty"`
	Error string `json:"error,omitempty"`

	Call     string `json:"call,omitempty"`
	Decision string `json:"decision,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Serve serves the lines of one program: it records each of in and answers it on out, until in ends or ctx is done. Empty lines
// are passed over. If ctx ends first, one goroutine stays until its read of in returns.
func Serve(ctx context.Context, to Recorder, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &connection{gate: newGate(to), to: to, out: bufio.NewWriter(out)}
	lines := make(chan input)
	go read(ctx, in, lines)
	err := c.serve(ctx, lines)
	cancel() // nobody hears the answers to asks any more
	if unsaid := c.flush(); err == nil {
		err = unsaid
	}
	return errors.Join(err, c.gate.close())
}

// connection is one program's. It belongs to one goroutine.
type connection struct {
	gate *gate
	to   Recorder
	out  *bufio.Writer
}

func (c *connection) serve(ctx context.Context, lines <-chan input) error {
	for number := 1; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-c.gate.pushes:
			if err := c.pushed(p); err != nil {
				return err
			}
		case d := <-c.gate.decided:
			if err := c.decided(ctx, d); err != nil {
				return err
			}
		case line := <-lines:
			if err := c.line(ctx, line, number); err != nil {
				return err
			}
			if line.err != nil {
				return errors.Join(ended(line.err, number), c.settle(ctx, c.gate.waits))
			}
			number++
		}
	}
}

// settle goes on answering asks, and reads no line, for as long as what it waits for is not there.
func (c *connection) settle(ctx context.Context, waits func() bool) error {
	for waits() {
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case p := <-c.gate.pushes:
			err = c.pushed(p)
		case d := <-c.gate.decided:
			err = c.decided(ctx, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decided answers an ask.
func (c *connection) decided(ctx context.Context, d decided) error {
	c.gate.settled(ctx, d)
	if err := write(c.out, d.answer); err != nil {
		return err
	}
	return c.flush()
}

// pushed writes a line that answers nothing, if the program wants such lines.
func (c *connection) pushed(p push) error {
	if !c.gate.watching {
		return nil
	}
	if err := write(c.out, p); err != nil {
		return err
	}
	return c.flush()
}

func (c *connection) flush() error {
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// input is one line of a stream.
type input struct {
	text    []byte
	tooLong bool
	more    bool  // another line is already there: its answer can go together with this one's
	err     error // that the stream ended with
}

// read passes lines on until the stream ends.
func read(ctx context.Context, in io.Reader, lines chan<- input) {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		text, tooLong, err := readLine(r)
		select {
		case lines <- input{text, tooLong, r.Buffered() > 0, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// line answers one line.
func (c *connection) line(ctx context.Context, line input, number int) error {
	if len(bytes.TrimSpace(line.text)) > 0 || line.tooLong {
		a, err := c.handle(ctx, line.text, line.tooLong, number)
		if err == nil && a != nil {
			err = write(c.out, a)
		}
		if err != nil {
			return err
		}
	}
	if line.more && line.err == nil {
		return nil
	}
	return c.flush()
}

func ended(err error, number int) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read line %d: %w", number, err)
}

// readLine reads up to the next newline. Of a line that is too long, the rest is read and thrown away.
func readLine(r *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxLine+1 {
			line, tooLong = line[:0], true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSuffix(line, []byte{'\n'}), tooLong, err
		}
	}
}

func write(w *bufio.Writer, line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// handle does what a line wants. An ask that may be put has no answer yet. The error is that of the connection.
func (c *connection) handle(ctx context.Context, line []byte, tooLong bool, number int) (*answer, error) {
	if tooLong {
		return &answer{Line: number, Error: fmt.Sprintf("longer than %d bytes", MaxLine)}, nil
	}
	parsed, err := ParseLine(line)
	if err != nil {
		a := failure(err, number, nil)
		return &a, nil
	}
	var a answer
	switch call := parsed.Event.Plain.GetExecution().GetCall(); parsed.Verb {
	case Ask:
		if err := c.gate.refuseAsk(call); err != nil {
			a = failure(err, number, nil)
			break
		}
		c.gate.put(ctx, parsed, number)
		return nil, nil
	case Done:
		if err := c.flush(); err != nil { // it may wait
			return nil, err
		}
		if err := c.settle(ctx, func() bool { return c.gate.asking[call] }); err != nil {
			return nil, err
		}
		a = c.gate.done(parsed)
	case Watch:
		c.gate.watch(ctx)
		a = answer{OK: true}
	default:
		if err := c.flushBefore(parsed); err != nil {
			return nil, err
		}
		a = record(ctx, c.to, parsed, number)
	}
	if !a.OK {
		a.Line = number
	}
	return &a, nil
}

// flushBefore writes what is answered already, if the answer to a line takes as long as Custody does.
func (c *connection) flushBefore(l *Line) error {
	if !l.WriteAhead {
		return nil
	}
	return c.flush()
}

func record(ctx context.Context, to Recorder, l *Line, number int) answer {
	record := to.Record
	if l.WriteAhead {
		record = to.WriteAhead
	}
	id, err := record(ctx, l.Event)
	if err != nil {
		return failure(err, number, l.Event.Sealed)
	}
	return answer{OK: true, ID: id.String()}
}

func failure(err error, number int, sealed []edge.Content) answer {
	var field *event.FieldError
	if !errors.As(err, &field) {
		return answer{Line: number, Error: err.Error(), Retry: errors.Is(err, edge.ErrSpoolFull)}
	}
	name := named(field.Field, sealed)
	return answer{Line: number, Field: name[:min(len(name), maxField)], Error: field.Reason}
}

// maxField is how much of a field's name an answer repeats: names may come from the line.
const maxField = 256

// named turns "sealed[2].value" into "sealed.arguments": in a line, sealed content has names and no order.
func named(field string, sealed []edge.Content) string {
	index, ok := strings.CutPrefix(field, "sealed[")
	if !ok {
		return field
	}
	index, _, _ = strings.Cut(index, "]")
	if i, err := strconv.Atoi(index); err == nil && i < len(sealed) {
		return join("sealed", sealed[i].Path)
	}
	return field
}

// Listen serves every program that connects to the Unix socket at path, until ctx is done. Only the owner can connect.
func Listen(ctx context.Context, to Recorder, path string) error {
	listener, err := listen(path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	defer os.Remove(path) //nolint:errcheck // a left-over socket is replaced at the next start
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", path, err)
		}
		connections.Go(func() { serveOne(ctx, to, conn) })
	}
}

// serveOne serves one connection. What goes wrong with it is its program's to see.
func serveOne(ctx context.Context, to Recorder, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = Serve(ctx, to, conn, conn)
}

// listen makes the socket with its mode before anybody can find it, and replaces one that nobody listens on.
func listen(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close() //nolint:errcheck // it was only a question
		return nil, errors.New("another sidecar listens there")
	}
	temp := path + ".new"
	if err := errors.Join(free(path), free(temp)); err != nil {
		return nil, err
	}
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temp, 0o600), os.Rename(temp, path)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// ErrNotSocket says that the name of a socket is that of something else, which stays as it is.
var ErrNotSocket = errors.New("is there, and is no socket")

// free reports whether a socket may take a name: nothing is there, or another socket.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s %w", path, ErrNotSocket)
	}
	return nil
}
