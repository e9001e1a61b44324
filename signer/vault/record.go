package vault

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// fileHeader begins every key file.
const fileHeader = "custody/keys/v1\n"

// recordType says what a record means.
type recordType byte

const (
	recordKey    recordType = 1
	recordErased recordType = 2
)

const (
	recordSize = 1 + 32 + 4 + nonceSize + keySize + tagSize
	frameExtra = 4 + 4 // count and CRC
	// maxFrame is the most records of a frame: one sync writes at most 400 KiB,
	// and an unfinished tail cannot be longer.
	maxFrame = 4096
	maxTail  = frameExtra + maxFrame*recordSize
)

// ErrCorrupt says that files of the vault are damaged or missing. They must be
// restored from a copy; nothing is repaired silently.
var ErrCorrupt = errors.New("key vault is corrupt")

// errBroken says that a frame is not whole.
var errBroken = errors.New("broken frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type subjectHash [32]byte

// wrapped is a data key encrypted under the tenant's key-encryption key.
type wrapped struct {
	generation uint32
	nonce      [nonceSize]byte
	box        [keySize + tagSize]byte
}

type record struct {
	kind    recordType
	subject subjectHash
	wrapped
}

func (r *record) append(b []byte) []byte {
	b = append(append(b, byte(r.kind)), r.subject[:]...)
	b = binary.BigEndian.AppendUint32(b, r.generation)
	return append(append(b, r.nonce[:]...), r.box[:]...)
}

func parseRecord(b []byte) (record, error) {
	r := record{kind: recordType(b[0]), subject: subjectHash(b[1:33])}
	r.generation = binary.BigEndian.Uint32(b[33:37])
	copy(r.nonce[:], b[37:49])
	copy(r.box[:], b[49:])
	blank := r.nonce == [nonceSize]byte{} && r.box == [keySize + tagSize]byte{}
	if r.generation == 0 || r.kind != recordKey && (r.kind != recordErased || !blank) {
		return record{}, fmt.Errorf("record of type %d, generation %d: %w", r.kind, r.generation, ErrCorrupt)
	}
	return r, nil
}

// appendFrame appends one frame of 1 to maxFrame records.
func appendFrame(b []byte, records []record) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(records)))
	for i := range records {
		b = records[i].append(b)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// readFrames calls each for every record of a key file of the given size, and
// returns the length of the whole frames: less than size if the last frame was
// left unfinished.
func readFrames(file io.ReaderAt, size int64, each func(record) error) (int64, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, size), 1<<16)
	header := make([]byte, len(fileHeader))
	if _, err := io.ReadFull(in, header); err != nil || string(header) != fileHeader {
		return 0, fmt.Errorf("header %q: %w", header, ErrCorrupt)
	}
	at := int64(len(fileHeader))
	for at < size {
		frame, err := readFrame(in, size-at)
		if errors.Is(err, errBroken) {
			return at, checkTail(file, at, size)
		}
		if err == nil {
			err = readRecords(frame, each)
		}
		if err != nil {
			return 0, fmt.Errorf("frame at byte %d: %w", at, err)
		}
		at += int64(len(frame))
	}
	return at, nil
}

// readFrame reads one frame of at most rest bytes. The error is errBroken if
// its bytes are missing or altered.
func readFrame(in io.Reader, rest int64) ([]byte, error) {
	var count [4]byte
	if rest < int64(len(count)) {
		return nil, errBroken
	}
	if _, err := io.ReadFull(in, count[:]); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	length, ok := frameLength(count[:])
	if !ok || length > rest {
		return nil, errBroken
	}
	frame := make([]byte, length)
	copy(frame, count[:])
	if _, err := io.ReadFull(in, frame[len(count):]); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if !frameHolds(frame) {
		return nil, errBroken
	}
	return frame, nil
}

// frameLength is the length of a frame that begins with these 4 bytes.
func frameLength(count []byte) (int64, bool) {
	n := int64(binary.BigEndian.Uint32(count))
	return frameExtra + n*recordSize, n > 0 && n <= maxFrame
}

func frameHolds(frame []byte) bool {
	end := len(frame) - 4
	return crc32.Checksum(frame[:end], castagnoli) == binary.BigEndian.Uint32(frame[end:])
}

// checkTail decides what a broken frame is. A crash leaves one, in whatever
// order the medium wrote its bytes, with nothing after it. If a whole frame
// follows, or more than a frame's bytes, it was damaged later: ErrCorrupt.
func checkTail(file io.ReaderAt, at, size int64) error {
	if size-at > maxTail {
		return fmt.Errorf("frame at byte %d: %w", at, ErrCorrupt)
	}
	tail := make([]byte, size-at)
	if _, err := file.ReadAt(tail, at); err != nil {
		return fmt.Errorf("read tail: %w", err)
	}
	for i := 1; i+frameExtra <= len(tail); i++ {
		length, ok := frameLength(tail[i : i+4])
		if ok && length <= int64(len(tail)-i) && frameHolds(tail[i:i+int(length)]) {
			return fmt.Errorf("frame at byte %d, with a whole one after it: %w", at, ErrCorrupt)
		}
	}
	return nil
}

func readRecords(frame []byte, each func(record) error) error {
	for at := 4; at < len(frame)-4; at += recordSize {
		r, err := parseRecord(frame[at : at+recordSize])
		if err != nil {
			return err
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a whole key file.
func writeFile(w io.Writer, records func(yield func(record) bool)) error {
	if _, err := io.WriteString(w, fileHeader); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	batch := make([]record, 0, maxFrame)
	var buf []byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		buf = appendFrame(buf[:0], batch)
		batch = batch[:0]
		_, err := w.Write(buf)
		return err
	}
	for r := range records {
		if batch = append(batch, r); len(batch) == maxFrame {
			if err := flush(); err != nil {
				return fmt.Errorf("write frame: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}
