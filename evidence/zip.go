package evidence

import (
	"encoding/binary"
	"math"
)

// entry is one stored file of a zip container (PKWARE APPNOTE 6.3.3). Everything else in the container follows from the
// entries: each has one encoding, which the writer writes and the reader compares with.
type entry struct {
	name   string
	size   uint64
	crc    uint32 // CRC-32 (IEEE) of the contents
	offset uint64 // of the local header
}

// Signatures and fixed values of APPNOTE 4.3. Times are the first that DOS knows, 1980-01-01 00:00:00, so that equal contents make
// equal containers.
const (
	sigLocal      = 0x04034b50
	sigCentral    = 0x02014b50
	sigEnd        = 0x06054b50
	sigEnd64      = 0x06064b50
	sigLocator64  = 0x07064b50
	zipVersion    = 20
	zipVersion64  = 45
	madeByUnix    = 3 << 8
	fileMode      = 0o100644 << 16
	dosDate       = 1<<5 | 1
	extraZip64    = 1
	lenEnd        = 22
	lenEnd64      = 56
	lenLocator64  = 20
	lenLocal      = 30
	lenCentral    = 46
	maxUint32Size = math.MaxUint32
)

// large reports whether a number needs its 64-bit field.
func large(n uint64) bool { return n >= maxUint32Size }

func short(n uint64) uint32 { return uint32(min(n, maxUint32Size)) }

// localHeader is what stands before the contents.
func (e *entry) localHeader() []byte {
	var extra []byte
	version := uint16(zipVersion)
	if large(e.size) {
		version = zipVersion64
		extra = extra64(e.size, e.size)
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, lenLocal+len(e.name)+len(extra)), sigLocal)
	b = e.appendCommon(b, version, len(extra))
	return append(append(b, e.name...), extra...)
}

// appendCommon appends the fields that local header and directory share: version, flags, method, time, date, CRC, sizes, lengths.
func (e *entry) appendCommon(b []byte, version uint16, extra int) []byte {
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0, 0, 0, 0, 0) // no flags, stored, midnight
	b = binary.LittleEndian.AppendUint16(b, dosDate)
	b = binary.LittleEndian.AppendUint32(b, e.crc)
	b = binary.LittleEndian.AppendUint32(b, short(e.size)) // compressed
	b = binary.LittleEndian.AppendUint32(b, short(e.size))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.name)))
	return binary.LittleEndian.AppendUint16(b, uint16(extra))
}

// appendCentral appends the entry of the directory.
func (e *entry) appendCentral(b []byte) []byte {
	var numbers []uint64
	if large(e.size) {
		numbers = append(numbers, e.size, e.size)
	}
	if large(e.offset) {
		numbers = append(numbers, e.offset)
	}
	version := uint16(zipVersion)
	var extra []byte
	if len(numbers) > 0 {
		version, extra = zipVersion64, extra64(numbers...)
	}
	b = binary.LittleEndian.AppendUint32(b, sigCentral)
	b = binary.LittleEndian.AppendUint16(b, madeByUnix|version)
	b = e.appendCommon(b, version, len(extra))
	b = append(b, 0, 0, 0, 0, 0, 0) // no comment, first disk, binary
	b = binary.LittleEndian.AppendUint32(b, fileMode)
	b = binary.LittleEndian.AppendUint32(b, short(e.offset))
	return append(append(b, e.name...), extra...)
}

// extra64 is the Zip64 extra field (APPNOTE 4.5.3): only the numbers that do not fit.
func extra64(numbers ...uint64) []byte {
	b := binary.LittleEndian.AppendUint16(nil, extraZip64)
	b = binary.LittleEndian.AppendUint16(b, uint16(8*len(numbers)))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// place sets the offsets of entries that follow each other from the beginning, and returns where the directory begins.
func place(entries []entry) (end uint64) {
	for i := range entries {
		e := &entries[i]
		e.offset = end
		end += uint64(len(e.localHeader())) + e.size
	}
	return end
}

// tail is everything after the contents: the directory, which begins at start, and the records that end the container.
func tail(entries []entry, start uint64) []byte {
	var b []byte
	for i := range entries {
		b = entries[i].appendCentral(b)
	}
	size := uint64(len(b))
	if large(start) {
		b = appendEnd64(b, uint64(len(entries)), size, start)
	}
	b = binary.LittleEndian.AppendUint32(b, sigEnd)
	b = append(b, 0, 0, 0, 0) // first disk
	b = binary.LittleEndian.AppendUint16(b, uint16(len(entries)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(entries)))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, short(start))
	return append(b, 0, 0) // no comment
}

// appendEnd64 appends the Zip64 end record and its locator (APPNOTE 4.3.14, 4.3.15).
func appendEnd64(b []byte, count, size, start uint64) []byte {
	at := start + uint64(len(b))
	b = binary.LittleEndian.AppendUint32(b, sigEnd64)
	b = binary.LittleEndian.AppendUint64(b, lenEnd64-12)
	b = binary.LittleEndian.AppendUint16(b, madeByUnix|zipVersion64)
	b = binary.LittleEndian.AppendUint16(b, zipVersion64)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // first disk
	for _, n := range []uint64{count, count, size, start} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, sigLocator64)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, at)
	return append(b, 1, 0, 0, 0) // one disk
}
