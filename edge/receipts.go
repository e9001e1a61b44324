package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
)

// keptLine is the line for the receipt of a batch.
func keptLine(out *outgoing, receipt *apiv1.Receipt) ([]byte, error) {
	kept := signer.KeptReceipt{Note: string(receipt.GetNote()), Statement: out.statement.Bytes}
	return kept.Line()
}

// receiptFile keeps the newest receipts, one signer.KeptReceipt a line: at least the last maxReceipts and at most twice as many.
type receiptFile struct {
	dir   string
	file  *os.File
	lines int
}

const (
	// maxReceipts is some minutes of a busy agent, about 900 KiB.
	maxReceipts    = 1024
	receiptsNewest = "receipts.jsonl"
	receiptsOlder  = "receipts.1.jsonl"
)

func (r *receiptFile) add(line []byte) error {
	if err := r.ready(); err != nil {
		return fmt.Errorf("keep receipt: %w", err)
	}
	if _, err := r.file.Write(line); err != nil {
		return fmt.Errorf("keep receipt: %w", err)
	}
	r.lines++
	return nil
}

// ready opens the file, and moves a full one aside.
func (r *receiptFile) ready() error {
	if r.file == nil {
		return r.open()
	}
	if r.lines < maxReceipts {
		return nil
	}
	if err := r.close(); err != nil {
		return err
	}
	newest := filepath.Join(r.dir, receiptsNewest)
	if err := os.Rename(newest, filepath.Join(r.dir, receiptsOlder)); err != nil {
		return err
	}
	return r.open()
}

func (r *receiptFile) open() error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	newest := filepath.Join(r.dir, receiptsNewest)
	have, err := os.ReadFile(newest)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r.lines = bytes.Count(have, []byte{'\n'})
	r.file, err = os.OpenFile(newest, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return err
}

func (r *receiptFile) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// receiptArchive is Config.Receipts: every receipt, one signer.KeptReceipt a line, added before the batch leaves the spool. Each line is
// one write, so a kill -9 leaves whole lines; what a loss of power or a full disk cuts short is taken off before the next line, and its
// batch is still in the spool. It is synced when it is closed. It belongs to the goroutine of the session.
type receiptArchive struct {
	name string // empty: nothing is kept
	file *os.File
}

// receiptBegins is how every line begins. What does not is nobody's half line, and is not cut off.
const receiptBegins = `{"note":"custody/receipt/v1\n`

// ErrNoReceipts says that Config.Receipts names a file of something else, which stays as it is.
var ErrNoReceipts = errors.New("is no file of receipts: its last line is something else")

// open says early that nothing can be kept there.
func (l *receiptArchive) open() error {
	if l.name == "" {
		return nil
	}
	if err := l.ready(); err != nil {
		return fmt.Errorf("keep receipts in %s: %w", l.name, err)
	}
	return nil
}

func (l *receiptArchive) add(line []byte) error {
	if err := l.open(); err != nil || l.name == "" {
		return err
	}
	if _, err := l.file.Write(line); err != nil {
		return fmt.Errorf("keep receipt: %w", errors.Join(err, l.close()))
	}
	return nil
}

// ready opens the file, anew if it was moved away.
func (l *receiptArchive) ready() error {
	if l.file != nil {
		if l.stands() {
			return nil
		}
		if err := l.close(); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(l.name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := cutHalfLine(file); err != nil {
		return errors.Join(err, file.Close())
	}
	l.file = file
	return nil
}

// stands reports whether the open file is still the one of that name.
func (l *receiptArchive) stands() bool {
	open, err1 := l.file.Stat()
	named, err2 := os.Stat(l.name)
	return err1 == nil && err2 == nil && os.SameFile(open, named)
}

// cutHalfLine takes off what stands behind the last newline.
func cutHalfLine(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	tail := make([]byte, min(info.Size(), 2*signer.MaxKeptReceipt))
	if _, err := file.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	last, half := tail[:max(end-1, 0)], tail[end:]
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	switch known := min(len(half), len(receiptBegins)); {
	case end > 0 && !bytes.HasPrefix(last, []byte(receiptBegins)), string(half[:known]) != receiptBegins[:known], len(half) > signer.MaxKeptReceipt:
		return ErrNoReceipts
	case len(half) == 0:
		return nil
	}
	return file.Truncate(info.Size() - int64(len(half)))
}

func (l *receiptArchive) close() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	return err
}
