package edge

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// receiptFile keeps the newest receipts, one JSON object a line: at least the last maxReceipts and at most twice as many.
type receiptFile struct {
	dir   string
	file  *os.File
	lines int
}

const (
	// maxReceipts is some minutes of a busy agent, about 600 KiB.
	maxReceipts    = 1024
	receiptsNewest = "receipts.jsonl"
	receiptsOlder  = "receipts.1.jsonl"
)

// storedReceipt is one line.
type storedReceipt struct {
	Batch    string `json:"batch"` // digest in hexadecimal
	FirstSeq uint64 `json:"first_seq"`
	Count    int    `json:"count"`
	Sequence uint64 `json:"stream_seq"`
	Note     string `json:"note"` // the signed note itself
}

func (r *receiptFile) add(out *outgoing, receipt *apiv1.Receipt) error {
	if err := r.ready(); err != nil {
		return fmt.Errorf("keep receipt: %w", err)
	}
	line, err := json.Marshal(storedReceipt{
		Batch: hex.EncodeToString(receipt.GetBatchDigest()), FirstSeq: uint64(out.statement.First), Count: out.statement.Count,
		Sequence: receipt.GetStreamSeq(), Note: string(receipt.GetNote()),
	})
	if err != nil {
		return fmt.Errorf("keep receipt: %w", err)
	}
	if _, err := r.file.Write(append(line, '\n')); err != nil {
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
