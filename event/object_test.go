package event

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// accounts is a text with n distinctive values.
func accounts(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "account %d of user-%d@corp.example\n", 4_900_000_000+i*7919, i)
	}
	return b.Bytes()
}

// TestObjectFingerprintsAreThoseOfAnyValue: the rule is one, whatever the length.
func TestObjectFingerprintsAreThoseOfAnyValue(t *testing.T) {
	for _, n := range []int{0, 1, 60, 200, 20_000} {
		for _, before := range []int{0, 5, MaxFingerprints - 3, MaxFingerprints} {
			value := accounts(n)
			f := NewFingerprinter([]byte("key"), 1)
			dst := make([]*eventv1.Fingerprint, before)
			want := f.Append(dst, "result", value)
			got := f.AppendObject(dst, "result", value)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%d values after %d (-want +got):\n%s", n, before, diff)
			}
		}
	}
}

func TestCommitmentOfAStream(t *testing.T) {
	id, salt, value := ID{1}, [SaltSize]byte{2}, accounts(5000)
	h := NewCommitment(id, "result", "text/plain", &salt, len(value))
	for piece := value; len(piece) > 0; piece = piece[min(len(piece), 1000):] {
		h.Write(piece[:min(len(piece), 1000)])
	}
	if want := SealedDigest(id, "result", "text/plain", &salt, value); [DigestSize]byte(h.Sum(nil)) != want {
		t.Error("differs from SealedDigest")
	}
	short := []byte("short")
	if n := testing.AllocsPerRun(100, func() { SealedDigest(id, "result", "text/plain", &salt, short) }); n > 0 {
		t.Errorf("%v allocations for a short value", n)
	}
}

func TestScrubObject(t *testing.T) {
	text := strings.Repeat("nothing to see here, ", 10_000) + "password=hunter2-and-more! and key AKIAIOSFODNN7EXAMPLF"
	want, found := Scrub([]byte(text))
	got, n := ScrubObject([]byte(text))
	if n != found || !bytes.Equal(got, want) || found == 0 {
		t.Errorf("%d secrets, Scrub finds %d", n, found)
	}
	plain := make([]byte, 1<<20)
	rand.Read(plain)
	if got, n := ScrubObject(bytes.ReplaceAll(plain, []byte("="), nil)); n == 0 && len(got) == 0 {
		t.Error("random bytes are gone")
	}
}

// TestHostileTextIsScannedInOnePass: what cost the square of its length must not come back.
func TestHostileTextIsScannedInOnePass(t *testing.T) {
	for _, pattern := range []string{"SG.", "hvs.a1.", "eyJ.", "a@b.", "-----BEGIN PRIVATE KEY", "{\"a\":", "https://"} {
		ScanSecrets(bytes.Repeat([]byte(pattern), (1<<20)/len(pattern)))
	}
}

// TestOpeningsOfObjects: which openings stand for an object, and how long it may be.
func TestOpeningsOfObjects(t *testing.T) {
	tests := map[string]struct {
		sizes []uint64 // of fields whose openings have no value
		want  string
	}{
		"an object":          {[]uint64{MaxSealedInline + 1}, ""},
		"the longest":        {[]uint64{MaxObject}, ""},
		"an empty value":     {[]uint64{0}, ""},
		"a short value":      {[]uint64{MaxSealedInline}, "openings[0].value: not of the size that the event states"},
		"too long":           {[]uint64{MaxObject + 1}, "openings[0].value: longer than 16777216 bytes"},
		"as many as may":     {[]uint64{MaxObject, MaxObject, MaxObject, MaxObject}, ""},
		"too many together":  {[]uint64{MaxObject, MaxObject, MaxObject, MaxObject, MaxSealedInline + 1}, "openings[4].value: the objects of one batch are longer than 67108864 bytes"},
		"a size that is odd": {[]uint64{MaxCounter, MaxCounter}, "openings[0].value: longer than 16777216 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sb, events := &eventv1.SignedBatch{}, []*eventv1.Event{{}}
			for i, size := range test.sizes {
				path := fmt.Sprintf("field-%d", i)
				events[0].Sealed = append(events[0].Sealed, &eventv1.Sealed{Path: path, Size: size})
				sb.Openings = append(sb.Openings, &eventv1.Opening{Path: path, Salt: make([]byte, SaltSize)})
			}
			got := ""
			if err := opened(sb, events); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
