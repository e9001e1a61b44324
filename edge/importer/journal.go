package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/agentcustody/custody/event"
)

// journal is a file with a line for each run that its sink has. As the spool it survives the death of the process, and
// not of the power.
type journal struct {
	runs map[place]map[string]bool // when it was opened

	mu   sync.Mutex // guards writes to file
	file *os.File   // nil: nothing is kept
}

// entry is a line of the journal.
type entry struct {
	Tenant   event.TenantID   `json:"tenant"`
	Instance event.InstanceID `json:"instance"`
	Run      string           `json:"run"`
	Events   int              `json:"events"`
}

// maxLine is more than a line of the journal takes: its names are at most 63, 63 and 64 bytes.
const maxLine = 1024

// openJournal reads the journal of an import, and cuts off a last line that was not written whole.
func openJournal(dir, name string) (*journal, error) {
	j := &journal{runs: map[place]map[string]bool{}}
	if dir == "" {
		return j, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, name+".journal"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := j.load(file); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", file.Name(), err), file.Close())
	}
	j.file = file
	return j, nil
}

func (j *journal) load(file *os.File) error {
	lines, whole := bufio.NewReaderSize(file, maxLine), int64(0)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var e entry
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		j.put(e)
		whole += int64(len(line))
	}
	if err := file.Truncate(whole); err != nil {
		return err
	}
	_, err := file.Seek(whole, io.SeekStart)
	return err
}

func (j *journal) put(e entry) {
	at := place{e.Tenant, e.Instance}
	if j.runs[at] == nil {
		j.runs[at] = map[string]bool{}
	}
	j.runs[at][e.Run] = true
}

// has reports whether the run was finished when the journal was opened.
func (j *journal) has(at place, run string) bool { return j.runs[at][run] }

// add appends the line of a run that is finished.
func (j *journal) add(at place, run string, events int) error {
	if j.file == nil {
		return nil
	}
	line, err := json.Marshal(entry{at.tenant, at.instance, run, events})
	if err == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// cursor is a small file that says how far an instance's present run has come. It is one line, written over in place by
// one system call after each event.
type cursor struct {
	run    string
	events int
	file   *os.File // nil: nothing is kept
	line   []byte
}

// openCursor reads the cursor of an instance.
func openCursor(dir, name string, at place) (*cursor, error) {
	if dir == "" {
		return new(cursor), nil
	}
	dir = filepath.Join(dir, name+".cursors")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of cursors: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, string(at.tenant)+"."+string(at.instance)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open cursor: %w", err)
	}
	c := &cursor{file: file, line: make([]byte, maxID+cursorCount+2)}
	if n, err := file.ReadAt(c.line, 0); n == len(c.line) {
		c.load(string(bytes.TrimSuffix(c.line, []byte("\n"))))
	} else if !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("read cursor: %w", err), file.Close())
	}
	return c, nil
}

// cursorCount is the width of the number of events, which is at most some 30,000.
const cursorCount = 10

func (c *cursor) load(line string) {
	run, count, _ := strings.Cut(line, " ")
	if n, err := strconv.Atoi(strings.TrimSpace(count)); err == nil {
		c.run, c.events = run, n
	}
}

// set says that the sink has the first events of a run.
func (c *cursor) set(run string, events int) error {
	if c.file == nil {
		return nil
	}
	c.line = fmt.Appendf(c.line[:0], "%-*s %*d\n", maxID, run, cursorCount, events)
	if _, err := c.file.WriteAt(c.line, 0); err != nil {
		return fmt.Errorf("write cursor: %w", err)
	}
	return nil
}

func (c *cursor) close() error {
	if c.file == nil {
		return nil
	}
	if err := c.file.Close(); err != nil {
		return fmt.Errorf("close cursor: %w", err)
	}
	return nil
}
