package evidence

import (
	"bytes"
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agentcustody/custody/chain"
)

// MaxSample is the most rows that are drawn at a time: more than anybody examines by hand.
const MaxSample = 10_000

// sampleDomain separates the ranks of rows from other hashes.
const sampleDomain = "custody/sample/v1\x00"

const (
	populationFolder = "populations/"
	populationSuffix = ".csv"
)

// ErrSample says that a sample cannot be drawn as it was asked for.
var ErrSample = errors.New("no such sample")

// Sample is an auditor's selection from a population: the same for everybody who knows its file, the seed and the count.
type Sample struct {
	Population string      // name of the file without its folder and ending
	Seed       uint64      // chosen by the auditor, after the bundle was made
	Rows       uint64      // of the population
	Header     []string    // names of its columns
	Picked     []SampleRow // in the order of the file
	Manifest   chain.Hash  // SHA-256 of the bundle's manifest.json; zeros if the file stands alone
}

// SampleRow is one row that was drawn.
type SampleRow struct {
	Number uint64 // place in the file, from 1, without the header
	Cells  []string
}

// rank is SHA-256("custody/sample/v1\0" ‖ seed (8) ‖ length of the population's name (4) ‖ its name ‖ number of the row (8)), big
// endian. It rests on nothing in the row, so that whoever makes the population cannot steer what is drawn from it, and
// not on the count, so that a larger sample contains the smaller one.
func rank(seed uint64, population string, number uint64) chain.Hash {
	b := binary.BigEndian.AppendUint64([]byte(sampleDomain), seed)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(population))), population...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, number))
}

// Draw reads a population in CSV (RFC 4180) with a header, and picks the count rows of the lowest rank, or all if there are fewer. In memory are only
// those. The error is ErrSample or that of the file.
func Draw(file io.Reader, population string, seed uint64, count int) (*Sample, error) {
	if count < 1 || count > MaxSample {
		return nil, fmt.Errorf("draw %d rows, at most %d: %w", count, MaxSample, ErrSample)
	}
	rows := csv.NewReader(file)
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("draw from %s: header: %w", population, errors.Join(ErrSample, err))
	}
	s := &Sample{Population: population, Seed: seed, Header: header}
	var lowest ranked
	for {
		cells, err := rows.Read()
		if errors.Is(err, io.EOF) {
			s.Picked = lowest.rows()
			return s, nil
		}
		if err != nil {
			return nil, fmt.Errorf("draw from %s: %w", population, errors.Join(ErrSample, err))
		}
		s.Rows++
		lowest.offer(rankedRow{rank(seed, population, s.Rows), SampleRow{s.Rows, cells}}, count)
	}
}

// rankedRow is a row with its rank.
type rankedRow struct {
	rank chain.Hash
	SampleRow
}

// ranked are the rows of the lowest ranks so far; it is a heap with the highest of them on top.
type ranked []rankedRow

// Len implements heap.Interface.
func (r ranked) Len() int { return len(r) }

// Less implements heap.Interface.
func (r ranked) Less(i, j int) bool { return bytes.Compare(r[i].rank[:], r[j].rank[:]) > 0 }

// Swap implements heap.Interface.
func (r ranked) Swap(i, j int) { r[i], r[j] = r[j], r[i] }

// Push implements heap.Interface.
func (r *ranked) Push(x any) { *r = append(*r, x.(rankedRow)) }

// Pop implements heap.Interface.
func (r *ranked) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// offer keeps a row if it is among the lowest.
func (r *ranked) offer(row rankedRow, count int) {
	if len(*r) < count {
		heap.Push(r, row)
	} else if bytes.Compare(row.rank[:], (*r)[0].rank[:]) < 0 {
		(*r)[0] = row
		heap.Fix(r, 0)
	}
}

// rows are those that were kept, in the order of the file.
func (r ranked) rows() []SampleRow {
	picked := make([]SampleRow, len(r))
	for i := range r {
		picked[i] = r[i].SampleRow
	}
	slices.SortFunc(picked, func(a, b SampleRow) int { return cmp.Compare(a.Number, b.Number) })
	return picked
}

// Populations are the names of the files from which a sample can be drawn.
func Populations() (names []string) {
	for _, m := range layout {
		if name, is := strings.CutPrefix(m.name, populationFolder); is {
			names = append(names, strings.TrimSuffix(name, populationSuffix))
		}
	}
	return names
}

// DrawFrom draws a sample from a population of a bundle whose files are those that its list names, or from the population's own file if that is
// what it is given. Whether the population is that of the records is for Verify. The errors are ErrSample, ErrContainer, ErrManifest, ErrJSON and
// those of the file.
func DrawFrom(file io.ReaderAt, size int64, population string, seed uint64, count int) (*Sample, error) {
	is, err := isBundle(file, size)
	if err != nil {
		return nil, fmt.Errorf("draw from %s: %w", population, err)
	}
	if is {
		return drawFromBundle(file, size, population, seed, count)
	}
	return Draw(io.NewSectionReader(file, 0, size), population, seed, count)
}

func drawFromBundle(bundle io.ReaderAt, size int64, population string, seed uint64, count int) (*Sample, error) {
	if !slices.Contains(Populations(), population) {
		return nil, fmt.Errorf("draw from %q: there are %s: %w", population, strings.Join(Populations(), ", "), ErrSample)
	}
	c, err := openContainer(bundle, size)
	if err != nil {
		return nil, fmt.Errorf("draw from %s: %w", population, err)
	}
	file, err := c.read(fileManifest)
	if err == nil {
		_, err = checkManifest(c, file)
	}
	if err != nil {
		return nil, fmt.Errorf("draw from %s: %w", population, err)
	}
	s, err := Draw(c.open(populationFolder+population+populationSuffix), population, seed, count)
	if err == nil {
		s.Manifest = sha256Of(file)
	}
	return s, err
}
