package torture

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// roleEmit is the child that records.
const roleEmit = "emit"

// emitConfig says what to record.
type emitConfig struct {
	Dir   string // the emitter's folder
	Diary string // the file that says what returned
	Start int    // counts the starts of this emitter
	Seed  uint64
	Size  int // bytes of sealed content, about
}

const (
	recorders  = 2                    // goroutines of one child
	calmPause  = 8 * time.Millisecond // between two events, about
	flushPause = 20 * time.Millisecond
	burst      = 40   // events without a pause, now and then
	subjects   = 2000 // whom sealed content is about: many, so that keys are made all the time
)

// emit records until it is killed, or drains and ends when the parent says so.
func emit(c emitConfig) error {
	e, err := edge.Open(context.Background(), edge.Config{
		Dir: c.Dir, MaxBatchAge: 2 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, CloseTimeout: patience,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	d, err := openDiary(c.Diary)
	if err != nil {
		return err
	}
	r := &recorder{config: c, emitter: e, diary: d}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	failed := make(chan error, recorders+1)
	for i := range recorders {
		r.work.Go(func() { failed <- r.record(ctx, i) })
	}
	r.work.Go(func() { failed <- r.flush(ctx) })
	told := make(chan error, 1)
	go func() { told <- commands(func(string) error { return errStop }) }()
	select {
	case err := <-failed:
		return err
	case err := <-told:
		if err != errStop { //nolint:errorlint // never wrapped
			return err
		}
	}
	stop()
	r.work.Wait()
	return r.drain()
}

// recorder is the work of one child.
type recorder struct {
	config  emitConfig
	emitter *edge.Emitter
	diary   *diary
	work    sync.WaitGroup
}

// record records numbered events, and writes each down when Record has returned.
func (r *recorder) record(ctx context.Context, worker int) error {
	rnd := rand.New(rand.NewPCG(r.config.Seed, uint64(worker)))
	for n := 1; ctx.Err() == nil; n++ {
		note := fmt.Sprintf("%d/%d/%d", r.config.Start, worker, n)
		subject := fmt.Sprint("user-", rnd.IntN(subjects))
		id, err := r.emitter.Record(context.Background(), eventOf(note, subject, rnd.IntN(2*r.config.Size+1)))
		if err == nil {
			err = r.diary.recorded(id, note)
		}
		if err != nil {
			return err
		}
		if n/burst%8 != 7 {
			time.Sleep(rand.N(2 * calmPause))
		}
	}
	return nil
}

// eventOf is an event that carries its note, and content to seal.
func eventOf(note, subject string, size int) *edge.Event {
	return &edge.Event{
		Plain: &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_RESOURCE_READ, Source: "torture", Resource: note,
		}}},
		Sealed: []edge.Content{{Path: "content", Subject: subject, Value: []byte(strings.Repeat(note+" ", size/(len(note)+1)+1))}},
	}
}

// flush asks for receipts again and again, and writes down for how many events they have come.
func (r *recorder) flush(ctx context.Context) error {
	for ctx.Err() == nil {
		n := r.diary.count()
		if err := r.emitter.Flush(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := r.diary.flushed(n); err != nil {
			return err
		}
		time.Sleep(rand.N(2 * flushPause))
	}
	return nil
}

// drain waits for the last receipt.
func (r *recorder) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n := r.diary.count()
	if err := r.emitter.Flush(ctx); err != nil {
		return err
	}
	if err := r.diary.flushed(n); err != nil {
		return err
	}
	return r.emitter.Close(ctx)
}

// diary is the file in which a child writes what returned. A line is one write, so a kill leaves whole lines but
// for the last.
type diary struct {
	mu   sync.Mutex
	file *os.File
	n    int // events in the file
}

func openDiary(path string) (*diary, error) {
	before, err := readDiary(path)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = file.WriteString("\n") // after a line that was cut off
	}
	return &diary{file: file, n: len(before.recorded)}, err
}

func (d *diary) recorded(id event.ID, note string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	_, err := fmt.Fprintf(d.file, "recorded %s %s.\n", hex.EncodeToString(id[:]), note)
	return err
}

func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// flushed says that the first n events have their receipts.
func (d *diary) flushed(n int) error {
	_, err := fmt.Fprintf(d.file, "flushed %d.\n", n)
	return err
}

// promises are what a diary says.
type promises struct {
	recorded []seen // in the order in which Record returned
	flushed  int    // so many of them are under receipts
}

// readDiary reads the whole lines of a diary; none is no error.
func readDiary(path string) (p promises, err error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return promises{}, nil
	}
	if err != nil {
		return promises{}, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var s seen
		var n int
		line, whole := strings.CutSuffix(lines.Text(), ".")
		if _, err := fmt.Sscanf(line, "recorded %s %s", &s.ID, &s.Note); err == nil && whole {
			p.recorded = append(p.recorded, s)
		}
		if _, err := fmt.Sscanf(line, "flushed %d", &n); err == nil && whole {
			p.flushed = max(p.flushed, n)
		}
	}
	return p, lines.Err()
}
