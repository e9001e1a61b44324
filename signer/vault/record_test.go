package vault

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func records(n int) []record {
	out := make([]record, n)
	for i := range out {
		out[i] = record{kind: recordKey, subject: subjectHash{byte(i), byte(i >> 8)}, wrapped: wrapped{generation: 1}}
	}
	return out
}

func read(data []byte) (got []record, size int64, err error) {
	size, err = readFrames(bytes.NewReader(data), int64(len(data)), func(r record) error {
		got = append(got, r)
		return nil
	})
	return got, size, err
}

func TestFileRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, maxFrame, maxFrame + 1, 3*maxFrame + 7} {
		want := records(n)
		var file bytes.Buffer
		if err := writeFile(&file, slices.Values(want)); err != nil {
			t.Fatal(err)
		}
		got, size, err := read(file.Bytes())
		if err != nil || size != int64(file.Len()) || !slices.Equal(got, want) {
			t.Errorf("%d records come back as %d of %d bytes, %v", n, len(got), size, err)
		}
	}
}

func TestRecordsAreStrict(t *testing.T) {
	good := records(1)[0]
	for name, change := range map[string]func(r *record){
		"type 0":            func(r *record) { r.kind = 0 },
		"type 3":            func(r *record) { r.kind = 3 },
		"generation 0":      func(r *record) { r.generation = 0 },
		"erased with a key": func(r *record) { r.kind, r.box[3] = recordErased, 1 },
	} {
		bad := good
		change(&bad)
		data := appendFrame([]byte(fileHeader), []record{bad})
		if _, _, err := read(data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// A tail longer than a frame can be is no unfinished frame.
func TestLongTailIsCorrupt(t *testing.T) {
	if _, _, err := read(append([]byte(fileHeader), make([]byte, maxTail+1)...)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("long tail: %v", err)
	}
	if _, size, err := read(append([]byte(fileHeader), make([]byte, maxTail)...)); err != nil || size != int64(len(fileHeader)) {
		t.Errorf("unfinished frame of zeros: %d, %v", size, err)
	}
}

// While writes fail the tenant makes no new key, and keys from before go on working.
func TestFailedWriteMakesNoKey(t *testing.T) {
	dir := t.TempDir()
	v, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := v.Ensure("acme", []string{"first"})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.tenants["acme"].file.Close(); err != nil { // the medium goes away
		t.Fatal(err)
	}
	for range 2 {
		if keys, err := v.Ensure("acme", []string{"second"}); err == nil {
			t.Fatalf("a key that is not durable was handed out: %v", keys)
		}
	}
	if _, err := v.Destroy("acme", "first"); err == nil {
		t.Error("destroyed on a broken tenant")
	}
	if _, err := Seal(first[0], nil, nil); err != nil {
		t.Error(err)
	}
	_ = v.Close()
	checkReopens(t, dir)
}

func checkReopens(t *testing.T, dir string) {
	t.Helper()
	v, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	keys, err := v.Ensure("acme", []string{"first", "second"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint32{1, 1}, []uint32{keys[0].Generation(), keys[1].Generation()}); diff != "" {
		t.Error(diff)
	}
}

func TestWornKeyIsFollowedByTheNext(t *testing.T) {
	v, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	keys, _ := v.Ensure("acme", []string{"a"})
	keys[0].owner.seals.Store(RotateAfter)
	next, err := v.Ensure("acme", []string{"a"})
	if err != nil || next[0].Generation() != 2 {
		t.Fatalf("after the last value comes %v, %v", next, err)
	}
	if again, _ := v.Ensure("acme", []string{"a"}); again[0] != next[0] {
		t.Error("the next generation is worn at once")
	}
	if _, err := v.Get("acme", "a", 1); err != nil {
		t.Errorf("the worn generation no longer opens: %v", err)
	}
	if last, err := v.Destroy("acme", "a"); err != nil || last != 2 {
		t.Errorf("destroyed up to %d, %v", last, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	tenant := tenant{current: map[string]*Key{}}
	for i := range maxCached + 10 {
		tenant.cache(string(rune(i))+"x"+string(rune(i%7)), &Key{generation: uint32(i)})
	}
	if len(tenant.current) > maxCached {
		t.Errorf("%d keys are cached", len(tenant.current))
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add(appendFrame(appendFrame([]byte(fileHeader), records(2)), records(1)))
	f.Add([]byte(fileHeader))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, size, err := read(data)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFile(&again, slices.Values(got)); err != nil {
			t.Fatal(err)
		}
		back, whole, err := read(again.Bytes())
		if err != nil || whole != int64(again.Len()) || !slices.Equal(back, got) || size > int64(len(data)) {
			t.Errorf("%d records come back as %d, %v", len(got), len(back), err)
		}
	})
}
