package torture

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// traced are the system calls by which bytes reach files and sockets.
const traced = "trace=openat,close,lseek,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync," +
	"ftruncate,link,linkat,rename,renameat,renameat2,unlink,unlinkat"

// strace is the words before a program that has its system calls written into a file.
func strace(t testing.TB, file string) []string {
	t.Helper()
	return []string{program(t, "strace", "strace"), "-f", "--seccomp-bpf", "-qqq", "-yy", "-ttt", "-s", "0", "-e", traced, "-o", file}
}

// call is one finished system call. Lines are those of the trace: what begins after another has ended has the
// higher number.
type call struct {
	name       string
	path       string // of its file, or the connection, as strace prints it
	to         string // of a rename or a link
	fd         int
	offset     int64 // of a positioned write or a seek; the length of a truncation
	flags      string
	result     int64
	begin, end int
	at         time.Time // when it began
}

var (
	// 1234 1700000000.123456 write(7</tmp/x>, ""..., 12) = 12
	lineForm    = regexp.MustCompile(`^(\d+) +(\d+)\.(\d+) (.*)$`)
	callForm    = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?(?: .*)?$`)
	fdForm      = regexp.MustCompile(`^(\d+)<(.*?)>(?:\(deleted\))?(?:,|$)`)
	quotedForm  = regexp.MustCompile(`"([^"]*)"`)
	resumedForm = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
)

// readTrace reads a trace in the order in which calls have ended.
func readTrace(t testing.TB, file string) (calls []call) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unfinished := map[string]call{} // by thread; path holds the text so far
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		m := lineForm.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		thread, text := m[1], m[4]
		c := call{begin: n, end: n, at: stamp(m[2], m[3])}
		if begun, cut := strings.CutSuffix(text, " <unfinished ...>"); cut {
			c.path = begun
			unfinished[thread] = c
			continue
		}
		if r := resumedForm.FindStringSubmatch(text); r != nil {
			first := unfinished[thread]
			delete(unfinished, thread)
			c.begin, c.at, text = first.begin, first.at, first.path+r[2]
		}
		if c.parse(text) {
			calls = append(calls, c)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

func stamp(seconds, fraction string) time.Time {
	s, _ := strconv.ParseInt(seconds, 10, 64)
	us, _ := strconv.ParseInt((fraction + "000000")[:6], 10, 64)
	return time.Unix(s, us*1000)
}

// parse reads "write(7</tmp/x>, ..., 12) = 12". It is false for a call that failed or cannot be read.
func (c *call) parse(text string) bool {
	m := callForm.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	var err error
	if c.result, err = strconv.ParseInt(m[3], 10, 64); err != nil || c.result < 0 {
		return false
	}
	c.name, c.fd = m[1], -1
	arguments := m[2]
	if fd := fdForm.FindStringSubmatch(arguments); fd != nil {
		c.fd, _ = strconv.Atoi(fd[1])
		c.path = fd[2]
	} else {
		c.path = ""
	}
	switch c.name {
	case "openat":
		c.fd, c.path, c.flags = int(c.result), m[4], arguments
	case "rename", "renameat", "renameat2", "link", "linkat":
		c.twoPaths(arguments)
	case "unlink", "unlinkat":
		c.path = firstQuoted(arguments)
	case "pwrite64", "ftruncate", "lseek":
		c.offset = lastNumber(arguments)
	}
	return true
}

func (c *call) twoPaths(arguments string) {
	names := quotedForm.FindAllStringSubmatch(arguments, 2)
	if len(names) == 2 {
		c.path, c.to = names[0][1], names[1][1]
	}
}

func firstQuoted(arguments string) string {
	if m := quotedForm.FindStringSubmatch(arguments); m != nil {
		return m[1]
	}
	return ""
}

// lastNumber is the last argument that is a number: the offset of a pwrite64, the length of an ftruncate.
func lastNumber(arguments string) int64 {
	parts := strings.Split(arguments, ", ")
	for i := len(parts) - 1; i > 0; i-- {
		if n, err := strconv.ParseInt(parts[i], 10, 64); err == nil {
			return n
		}
	}
	return 0
}

func (c *call) String() string {
	return fmt.Sprintf("line %d: %s %s = %d", c.begin, c.name, c.path, c.result)
}

func (c *call) isWrite() bool {
	return strings.HasPrefix(c.name, "write") || strings.HasPrefix(c.name, "pwrite") || strings.HasPrefix(c.name, "send")
}

func (c *call) isSync() bool { return c.name == "fsync" || c.name == "fdatasync" }

// disk follows the files of one process from their creation on.
type disk struct {
	files map[string]*file
	open  map[int]*handle
}

// file is what is known of one file. A sync covers what was written before it began.
type file struct {
	length int64
	synced int64 // length that is on disk for sure
}

type handle struct {
	file   *file
	offset int64
	sync   bool // every write is synced when it returns
	append bool
}

// moment is a call that begins or has ended.
type moment struct {
	line  int
	begin bool
	call  *call
}

// replay follows calls to their end: what is on disk for sure then.
func replay(calls []call) *disk {
	d := &disk{files: map[string]*file{}, open: map[int]*handle{}}
	var moments []moment
	for i := range calls {
		moments = append(moments, moment{calls[i].begin, true, &calls[i]}, moment{calls[i].end, false, &calls[i]})
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.line, b.line) })
	covered := map[*call]int64{} // length when a sync began
	for _, m := range moments {
		h := d.open[m.call.fd]
		switch {
		case m.begin && m.call.name == "close": // the number may be given to another file before close has returned
			delete(d.open, m.call.fd)
		case m.begin && m.call.isSync() && h != nil:
			covered[m.call] = h.file.length
		case !m.begin && m.call.isSync() && h != nil:
			h.file.synced = max(h.file.synced, covered[m.call])
		case !m.begin && m.call.name != "close":
			d.ended(m.call, h)
		}
	}
	return d
}

func (d *disk) ended(c *call, h *handle) {
	switch {
	case c.name == "openat":
		d.opened(c)
	case strings.HasPrefix(c.name, "rename"):
		d.renamed(c.path, c.to)
	case strings.HasPrefix(c.name, "link"):
		if f := d.files[c.path]; f != nil {
			d.files[c.to] = f
		}
	case strings.HasPrefix(c.name, "unlink"):
		delete(d.files, c.path)
	case h != nil:
		h.ended(c)
	}
}

func (d *disk) opened(c *call) {
	f := d.files[c.path]
	switch created := strings.Contains(c.flags, "O_CREAT"); {
	case f == nil && !created:
		return // it was there before, and is on disk
	case f == nil:
		f = new(file)
		d.files[c.path] = f
	}
	if strings.Contains(c.flags, "O_TRUNC") {
		f.length, f.synced = 0, 0
	}
	d.open[c.fd] = &handle{file: f, sync: strings.Contains(c.flags, "SYNC"), append: strings.Contains(c.flags, "O_APPEND")}
}

// renamed moves a file, or everything in a folder.
func (d *disk) renamed(from, to string) {
	for path, f := range d.files {
		if rest, inside := strings.CutPrefix(path, from); inside && (rest == "" || rest[0] == '/') {
			delete(d.files, path)
			d.files[to+rest] = f
		}
	}
}

func (h *handle) ended(c *call) {
	f := h.file
	switch {
	case c.name == "lseek":
		h.offset = c.result
	case c.name == "ftruncate":
		f.length, f.synced = c.offset, min(f.synced, c.offset)
	case c.isWrite():
		h.wrote(c)
	}
}

func (h *handle) wrote(c *call) {
	at := h.offset
	if h.append {
		at = h.file.length
	}
	if c.name == "pwrite64" {
		at = c.offset
	} else {
		h.offset = at + c.result
	}
	if h.file.length = max(h.file.length, at+c.result); h.sync {
		h.file.synced = h.file.length
	}
}

// cutBack copies a folder as a power cut would leave it: every file has the length that was synced, and a file
// that was written and never synced is not there. It returns how many files lost something.
func (d *disk) cutBack(t testing.TB, from, to string) (shorter int) {
	t.Helper()
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	for path, f := range d.files {
		rel, inside := strings.CutPrefix(path, from+"/")
		info, err := os.Stat(filepath.Join(to, rel))
		if !inside || err != nil || !info.Mode().IsRegular() || f.synced >= info.Size() {
			continue
		}
		shorter++
		if f.synced == 0 {
			err = os.Remove(filepath.Join(to, rel))
		} else {
			err = os.Truncate(filepath.Join(to, rel), f.synced)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return shorter
}
