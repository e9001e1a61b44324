package importer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// ErrKind says that a path leads to nothing that is read: another must be named.
var ErrKind = errors.New(".json, .jsonl, .json.zst or .jsonl.zst file")

// What is wrong with a file as a whole.
var (
	errNoRun      = errors.New("no run in it")
	errNotRegular = errors.New("not a regular file") // a pipe that nobody writes to could not be interrupted
)

// find is the files to read: those that are named, and those of a known kind in the folders that are named. Lists of
// runs come before single runs, because their records have ids, and for equal runs the first counts.
func find(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		found, err := under(path)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no %w", strings.Join(paths, ", "), ErrKind)
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return slices.Compact(files), nil
}

func under(path string) (files []string, err error) {
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || entry.IsDir():
			return err
		case file == path && !known(file):
			return fmt.Errorf("%s: not a %w", file, ErrKind)
		case file == path || known(file) && !labels(file):
			files = append(files, file)
		}
		return nil
	})
	return files, err
}

func known(file string) bool { return lines(file) || strings.HasSuffix(plain(file), ".json") }

func lines(file string) bool { return strings.HasSuffix(plain(file), ".jsonl") }

func plain(file string) string { return strings.TrimSuffix(file, ".zst") }

// labels is the name of files that hold what runs are scored by; in a folder they are passed over.
func labels(file string) bool { return strings.HasPrefix(filepath.Base(file), "labels.") }

func rank(file string) int {
	if lines(file) {
		return 0
	}
	return 1
}

// record is the JSON of one run, or why there is none.
type record struct {
	raw   []byte
	where Problem // Reason is empty if all is well
}

// records are the runs of a file, in order. What ends the file early is its last record.
func records(file string) iter.Seq[record] {
	return func(yield func(record) bool) {
		r, err := open(file)
		if err != nil {
			yield(record{where: Problem{File: file, Reason: err.Error()}})
			return
		}
		defer r.Close() //nolint:errcheck // it was only read
		next := splitter(r, lines(file))
		for first := true; ; first = false {
			raw, line, err := next()
			if first && errors.Is(err, io.EOF) {
				err = errNoRun
			}
			if errors.Is(err, io.EOF) || !yield(newRecord(file, raw, line, err)) || fatal(err) {
				return
			}
		}
	}
}

func newRecord(file string, raw []byte, line int, err error) record {
	r := record{raw: raw, where: Problem{File: file, Line: line}}
	switch {
	case err != nil:
		r.where.Reason = err.Error()
	case !utf8.Valid(raw):
		r.where.Reason = "not UTF-8"
	}
	return r
}

// fatal reports whether the rest of the file cannot be read.
func fatal(err error) bool { return err != nil && !errors.Is(err, errTooLong) }

// open opens a file and unpacks it as it is read.
func open(file string) (io.ReadCloser, error) {
	if info, err := os.Stat(file); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(file)
	if err != nil || plain(file) == file {
		return f, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return packed{z, f}, nil
}

// packed closes the decoder and the file beneath it.
type packed struct {
	*zstd.Decoder
	file *os.File
}

func (p packed) Close() error {
	p.Decoder.Close()
	return p.file.Close()
}
