package evidence

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The standard library must see the same files, so that unzip does too.
func TestBundleIsAnOrdinaryZip(t *testing.T) {
	bundle := morning(t).bundle("08:30", "11:00")
	z, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, bundle)
	var names []string
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r) // checks the CRC
		if err != nil || !bytes.Equal(content, files[f.Name]) || f.Method != zip.Store || f.Mode() != 0o644 {
			t.Errorf("%s: %d bytes, method %d, mode %s: %v", f.Name, len(content), f.Method, f.Mode(), err)
		}
		names = append(names, f.Name)
	}
	var want []string
	for _, l := range layout {
		want = append(want, l.name)
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// sparse is a container of enormous files of zeros, of which only the structure is there.
type sparse struct {
	parts map[int64][]byte
	size  int64
}

func makeSparse(sizes map[string]uint64) *sparse {
	entries := make([]entry, len(layout))
	for i, l := range layout {
		entries[i] = entry{name: l.name, size: sizes[l.name], crc: uint32(i)}
	}
	start := place(entries)
	s := &sparse{parts: map[int64][]byte{int64(start): tail(entries, start)}}
	for i := range entries {
		s.parts[int64(entries[i].offset)] = entries[i].localHeader()
	}
	s.size = int64(start) + int64(len(s.parts[int64(start)]))
	return s
}

func (s *sparse) ReadAt(b []byte, at int64) (int, error) {
	clear(b)
	for offset, part := range s.parts {
		if from := max(offset, at); from < min(offset+int64(len(part)), at+int64(len(b))) {
			copy(b[from-at:], part[from-offset:])
		}
	}
	return len(b), nil
}

func TestLargeContainers(t *testing.T) {
	const gib = 1 << 30
	for name, sizes := range map[string]map[string]uint64{
		"small":               {fileEvents: 5},
		"just under 4 GiB":    {fileVerify: 4*gib - 2},
		"32 bits all set":     {fileEvents: 4*gib - 1},
		"4 GiB":               {fileEvents: 4 * gib},
		"offsets over 4 GiB":  {fileLeaves: 2 * gib, fileBatches: 2 * gib, fileEvents: 2 * gib},
		"several large files": {fileLeaves: 5 * gib, fileEvents: 900 * gib, fileOpenings: 7000 * gib},
	} {
		if name == "just under 4 GiB" {
			sizes = map[string]uint64{fileOpenings: 4*gib - 2}
		}
		t.Run(name, func(t *testing.T) {
			s := makeSparse(sizes)
			c, err := openContainer(s, s.size)
			if err != nil {
				t.Fatal(err)
			}
			z, err := zip.NewReader(s, s.size)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range z.File {
				e := &c.entries[i]
				offset, err := f.DataOffset()
				if err != nil || f.UncompressedSize64 != e.size || offset != int64(e.offset)+int64(len(e.localHeader())) || e.size != sizes[e.name] {
					t.Errorf("%s: %d bytes at %d, want %d: %v", e.name, e.size, offset, f.UncompressedSize64, err)
				}
			}
		})
	}
}

// The header of a large file has its sizes in 64 bits behind its name (PKWARE APPNOTE 4.5.3), and that of another has none.
func TestHeadersOfLargeFiles(t *testing.T) {
	const head, name = "PK\x03\x04", "large.bin"
	for size, want := range map[uint64]string{
		maxUint32Size - 1: head + "\x14\x00" + strings.Repeat("\x00", 6) + "\x21\x00" + "\x04\x03\x02\x01" + "\xfe\xff\xff\xff\xfe\xff\xff\xff" + "\x09\x00\x00\x00" + name,
		maxUint32Size + 1: head + "\x2d\x00" + strings.Repeat("\x00", 6) + "\x21\x00" + "\x04\x03\x02\x01" + strings.Repeat("\xff", 8) + "\x09\x00\x14\x00" + name +
			"\x01\x00\x10\x00" + strings.Repeat("\x00\x00\x00\x00\x01\x00\x00\x00", 2),
	} {
		e := entry{name: name, size: size, crc: 0x01020304}
		if diff := cmp.Diff(want, string(e.localHeader())); diff != "" {
			t.Errorf("%d bytes: %s", size, diff)
		}
	}
}

func TestLimitsOfContainers(t *testing.T) {
	for name, sizes := range map[string]map[string]uint64{
		"small file too large":  {fileScope: maxSmallFile + 1},
		"record file too large": {fileEvents: maxRecordFile + 1},
	} {
		s := makeSparse(sizes)
		if _, err := openContainer(s, s.size); !errors.Is(err, ErrContainer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Ends that name more than there is before them.
func TestEndsOfNothing(t *testing.T) {
	for before := range lenEnd64 + lenLocator64 + 2 {
		for _, start := range []uint32{0, maxUint32Size} {
			for _, size := range []int{before, before + 1, maxUint32Size} {
				b := binary.LittleEndian.AppendUint32(make([]byte, before), sigEnd)
				b = binary.LittleEndian.AppendUint32(append(b, make([]byte, 8)...), uint32(size))
				b = append(binary.LittleEndian.AppendUint32(b, start), 0, 0)
				if _, err := openContainer(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrContainer) {
					t.Errorf("%d bytes, directory of %d at %d: %v", len(b), size, start, err)
				}
			}
		}
	}
}

// What is read whole has the limit of such files.
func TestFilesThatAreReadWhole(t *testing.T) {
	for _, l := range layout {
		if l.mediaType != typeRecords && l.mediaType != typeCSV && !slices.Contains([]string{fileEmitters, fileReport}, l.name) && l.limit != maxSmallFile {
			t.Errorf("%s: %d bytes", l.name, l.limit)
		}
	}
}

// rezip writes files with the standard library, which has none of our rules.
func rezip(t *testing.T, bundle []byte, edit func(h *zip.FileHeader, content []byte) [][2]any, finish func(*zip.Writer)) []byte {
	t.Helper()
	files := unpack(t, bundle)
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, l := range layout {
		for _, x := range edit(&zip.FileHeader{Name: l.name}, files[l.name]) {
			w, err := z.CreateHeader(x[0].(*zip.FileHeader))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(x[1].([]byte))
		}
	}
	finish(z)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestZipTricks(t *testing.T) {
	w := morning(t)
	good := w.bundle("08:30", "11:00")
	one := func(h *zip.FileHeader, content []byte) [][2]any { return [][2]any{{h, content}} }
	plain := func(*zip.Writer) {}
	renamed := func(from, to string) []byte {
		return rezip(t, good, func(h *zip.FileHeader, content []byte) [][2]any {
			if h.Name == from {
				h.Name = to
			}
			return one(h, content)
		}, plain)
	}
	edited := func(at int, b ...byte) []byte {
		bad := slices.Clone(good)
		copy(bad[at:], b)
		return bad
	}
	end := len(good) - lenEnd
	directory := int(binary.LittleEndian.Uint32(good[end+16:]))
	for name, bad := range map[string][]byte{
		"empty file":         {},
		"nothing but an end": tail(nil, 0),
		"not a zip":          []byte(strings.Repeat("evidence ", 1000)),
		"repacked":           rezip(t, good, one, plain),
		"compressed":         rezip(t, good, func(h *zip.FileHeader, c []byte) [][2]any { h.Method = zip.Deflate; return one(h, c) }, plain),
		"comment":            rezip(t, good, one, func(z *zip.Writer) { _ = z.SetComment("hello") }),
		"duplicate": rezip(t, good, func(h *zip.FileHeader, c []byte) [][2]any {
			return [][2]any{{h, c}, {&zip.FileHeader{Name: h.Name}, c}}
		}, plain),
		"path traversal": renamed(fileVerify, "../VERIFY.md"),
		"absolute path":  renamed(fileVerify, "/etc/passwd"),
		"case collision": renamed(fileVerify, "Scope.json"),
		"renamed":        renamed(fileEvents, "events/other.bin"),
		"directory":      renamed(fileEvents, "events/"),
		"missing": rezip(t, good, func(h *zip.FileHeader, c []byte) [][2]any {
			return one(h, c)[min(1, strings.Index(fileScope+"|", h.Name+"|")+1):]
		}, plain),
		"extra":                        rezip(t, good, func(h *zip.FileHeader, c []byte) [][2]any { return append(one(h, c), extra(h)...) }, plain),
		"trailing byte":                append(slices.Clone(good), 0),
		"trailing bytes":               append(slices.Clone(good), make([]byte, 5000)...),
		"leading byte":                 append([]byte{0}, good...),
		"second bundle behind":         append(slices.Clone(good), good...),
		"cut":                          good[:len(good)-1],
		"half":                         good[:len(good)/2],
		"comment length":               edited(len(good)-2, 1),
		"count":                        edited(end+8, 16),
		"disk":                         edited(end+4, 1),
		"directory moved":              edited(end+16, byte(directory-1)),
		"method in the directory":      edited(directory+10, 8),
		"flags in the directory":       edited(directory+8, 8),
		"time in the directory":        edited(directory+12, 1),
		"size in the directory":        edited(directory+24, 0xff),
		"sizes of 32 bits all set":     edited(directory+20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"name length in the directory": edited(directory+28, 0xff, 0xff),
		"method in the header":         edited(8, 8),
		"size in the header":           edited(22, good[22]^1),
		"name in the header":           edited(30, 'M'),
		"checksum in the directory":    edited(directory+16, good[directory+16]^1),
		"checksum in both":             edited(directory+16, good[directory+16]^1)[:0:0],
	} {
		if name == "checksum in both" {
			bad = edited(14, good[14]^1)
			bad[directory+16] = bad[14]
		}
		t.Run(name, func(t *testing.T) {
			v := verify(t, bad, w.policy())
			if v.Exit != ExitContainer || v.Check(CheckContainer).Result != Failed || v.Integrity != Broken {
				t.Errorf("exit %d, %+v", v.Exit, v.Check(CheckContainer))
			}
			recordVector(t, bad, w.policy(), v, CheckContainer)
		})
	}
}

func extra(h *zip.FileHeader) [][2]any {
	if h.Name != fileCheckpoint {
		return nil
	}
	return [][2]any{{&zip.FileHeader{Name: "log/checkpoint2"}, []byte("x")}}
}

// Contents that differ from the list, by somebody without any key.
func TestTampering(t *testing.T) {
	w := morning(t)
	good := w.bundle("08:30", "11:00")
	for _, l := range layout {
		files := unpack(t, good)
		files[l.name] = append(slices.Clone(files[l.name]), '\n')
		list := make([]*staged, len(layout))
		for i, l := range layout {
			list[i] = stageBytes(files[l.name])
		}
		var out bytes.Buffer
		if err := writeContainer(&out, list); err != nil {
			t.Fatal(err)
		}
		want := ExitManifest
		if l.name == fileStatement {
			want = ExitEnvelope
		}
		t.Run(l.name, func(t *testing.T) {
			v := verify(t, out.Bytes(), w.policy())
			if v.Exit != want || v.Authenticity == Authentic {
				t.Errorf("exit %d, want %d\n%s", v.Exit, want, details(v))
			}
			recordVector(t, out.Bytes(), w.policy(), v)
		})
	}
}

// Whatever single bit of a bundle is flipped: the verification fails, or, without a policy, says exactly what it said before.
func TestEveryBitCounts(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(1)
	w.clock("12:00").access()
	good, policy := w.bundle("08:30", "10:00"), w.policy()
	said := verify(t, good, nil)
	// One bit of each byte; in a test with -short of every 16th byte.
	step := 1
	if testing.Short() {
		step = 16
	}
	sparse := contentsOf(t, good, fileControls, fileReport)
	for i := 0; i < len(good); i += step {
		if sparse(i) && i%64 != 0 {
			continue // page after page that nothing covers but its hash in the list
		}
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		v := verify(t, bad, policy)
		switch {
		case v.Exit < ExitContainer:
			t.Fatalf("byte %d of %d: exit %d", i, len(good), v.Exit)
		case v.Exit == ExitContainer, v.Exit == ExitManifest:
			continue // found before a policy matters
		}
		if v := verify(t, bad, nil); v.Exit < ExitContainer && v.Text() != said.Text() {
			t.Fatalf("byte %d of %d, without a policy: exit %d\n%s", i, len(good), v.Exit, v.Text())
		}
	}
}

// contentsOf reports whether a byte of a bundle is in the contents of one of the files.
func contentsOf(t *testing.T, bundle []byte, names ...string) func(i int) bool {
	t.Helper()
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	return func(i int) bool {
		return slices.ContainsFunc(c.entries, func(e entry) bool {
			from := int(e.offset) + len(e.localHeader())
			return slices.Contains(names, e.name) && i >= from && i < from+int(e.size)
		})
	}
}

// An entry of the directory whose extra field goes on behind the directory is none.
func TestExtraFieldBeyondTheDirectory(t *testing.T) {
	b := (&entry{name: layout[0].name}).appendCentral(nil)
	b[30], b[31] = 0xff, 0xff
	if _, err := new(entry).take(b, layout[0]); !errors.Is(err, ErrContainer) {
		t.Error(err)
	}
}

// The list names the files that are there, in their order, and no others.
func TestListsOfFiles(t *testing.T) {
	bundle := exported(t).bundle("08:30", "10:30")
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		edit func(*manifest)
		good bool
	}{
		"right":              {func(*manifest) {}, true},
		"another version":    {func(m *manifest) { m.Version = 2 }, false},
		"a file too few":     {func(m *manifest) { m.Files = m.Files[:len(m.Files)-1] }, false},
		"a file too many":    {func(m *manifest) { m.Files = append(m.Files, m.Files[0]) }, false},
		"another name":       {func(m *manifest) { m.Files[1].Path = m.Files[2].Path }, false},
		"another size":       {func(m *manifest) { m.Files[1].Size++ }, false},
		"another media type": {func(m *manifest) { m.Files[1].MediaType = "text/html" }, false},
	} {
		text, err := c.read(fileManifest)
		m := new(manifest)
		if err := errors.Join(err, unmarshalJSON(text, m)); err != nil {
			t.Fatal(err)
		}
		test.edit(m)
		text, err = marshalJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkList(c, text); (err == nil) != test.good || err != nil && !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// On no list are the records whose plain content is not here.
func TestUnlisted(t *testing.T) {
	if n := (&Disclosure{Records: 100, Clear: 50, Held: 1, Withheld: 2, Expired: 4, Outside: 8}).unlisted(); n != 7 {
		t.Error(n)
	}
}
