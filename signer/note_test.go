package signer_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

const origin = "log.example.com/custody/7f3a"

func checkpoint(size chain.Index) chain.Checkpoint {
	return chain.Checkpoint{Origin: origin, Size: size, Root: chain.OriginHash("root")}
}

func noteSigner(t testing.TB, k *signer.Key, name string) note.Signer {
	t.Helper()
	s, err := signer.NoteSigner(k, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func cosigner(t testing.TB, k *signer.Key, name string, seconds int64) note.Signer {
	t.Helper()
	s, err := signer.CosignatureSigner(k, name, seconds)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, c chain.Checkpoint, signers ...note.Signer) []byte {
	t.Helper()
	signed, err := signer.SignCheckpoint(c, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Our notes and x/mod's must be the same notes.
func TestNotesAreThoseOfXMod(t *testing.T) {
	vkey := signer.VKey(origin, key(1).Public())
	theirs, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	signed := sign(t, checkpoint(5), noteSigner(t, key(1), origin))
	if _, err := note.Open(signed, note.VerifierList(theirs)); err != nil {
		t.Errorf("x/mod refuses our note: %v", err)
	}
	name, public, err := signer.ParseVKey(vkey)
	if err != nil || name != origin || public != key(1).Public() {
		t.Errorf("verifier key comes back as %s %s, %v", name, public, err)
	}
}

func TestVKeysAreStrict(t *testing.T) {
	vkey := signer.VKey(origin, key(1).Public())
	name, rest, _ := strings.Cut(vkey, "+")
	hash, material, _ := strings.Cut(rest, "+")
	for what, text := range map[string]string{
		"empty": "", "no hash": name + "+" + material, "wrong hash": name + "+00000000+" + material,
		"upper hash":        name + "+" + strings.ToUpper(hash) + "X+" + material,
		"other name":        "x" + vkey,
		"space":             " " + vkey,
		"newline in base64": vkey[:len(vkey)-4] + "\n" + vkey[len(vkey)-4:],
		"cosignature key":   signer.CosignatureVKey(origin, key(1).Public()),
		"small order":       signer.VKey(origin, signer.PublicKey{}),
	} {
		_, _, err := signer.ParseVKey(text)
		if !errors.Is(err, signer.ErrVKey) && !errors.Is(err, signer.ErrKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := signer.ParseCosignatureVKey(vkey); !errors.Is(err, signer.ErrVKey) {
		t.Errorf("log key as cosignature key: %v", err)
	}
}

func TestNamesAreChecked(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b", "a\nb", strings.Repeat("a", 256)} {
		if _, err := signer.NoteSigner(key(1), name); !errors.Is(err, signer.ErrVKey) {
			t.Errorf("NoteSigner %q: %v", name, err)
		}
		if _, err := signer.CosignatureVerifier(name, key(1).Public()); !errors.Is(err, signer.ErrVKey) {
			t.Errorf("CosignatureVerifier %q: %v", name, err)
		}
	}
}

// The example of https://c2sp.org/tlog-cosignature, of which the keys are not
// public: what we can check is the form of its cosignature.
func TestCosignatureHasTheSpecifiedForm(t *testing.T) {
	const example = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
	theirs, _ := base64.StdEncoding.DecodeString(example)
	signed := sign(t, checkpoint(5), cosigner(t, key(2), "witness.example.com/w1", 1679315147))
	line := strings.Fields(string(signed))
	ours, _ := base64.StdEncoding.DecodeString(line[len(line)-1])
	if len(ours) != len(theirs) || string(ours[4:12]) != string(theirs[4:12]) {
		t.Errorf("cosignature is % x, want the form % x", ours, theirs)
	}
}

func TestCheckpointWithCosignatures(t *testing.T) {
	signed := sign(
		t, checkpoint(5), noteSigner(t, key(1), origin),
		cosigner(t, key(2), "w2", 200), cosigner(t, key(3), "w3", 300), cosigner(t, key(4), "stranger", 400),
	)
	got, err := signer.OpenCheckpoint(
		signed, origin, key(1).Public(),
		signer.Cosigner{Name: "w2", Key: key(2).Public()}, signer.Cosigner{Name: "w3", Key: key(3).Public()},
		signer.Cosigner{Name: "absent", Key: key(5).Public()},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := signer.SignedCheckpoint{Checkpoint: checkpoint(5), Cosignatures: []signer.Cosignature{
		{Name: "w2", Key: key(2).Public(), Seconds: 200}, {Name: "w3", Key: key(3).Public(), Seconds: 300},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// One key under two names is one witness.
func TestOneKeyCountsOnce(t *testing.T) {
	signed := sign(
		t, checkpoint(5), noteSigner(t, key(1), origin),
		cosigner(t, key(2), "w2", 200), cosigner(t, key(2), "w2-again", 200), cosigner(t, key(2), "w2", 201),
	)
	got, err := signer.OpenCheckpoint(
		signed, origin, key(1).Public(),
		signer.Cosigner{Name: "w2", Key: key(2).Public()}, signer.Cosigner{Name: "w2-again", Key: key(2).Public()},
		signer.Cosigner{Name: "w2", Key: key(2).Public()},
	)
	if err != nil || len(got.Cosignatures) != 1 {
		t.Errorf("%d cosignatures count, %v", len(got.Cosignatures), err)
	}
}

func TestOpenCheckpointCatchesTheAdversary(t *testing.T) {
	good := string(sign(t, checkpoint(5), noteSigner(t, key(1), origin), cosigner(t, key(2), "w2", 200)))
	other := checkpoint(5)
	other.Origin = "log.example.com/custody/other"
	timeAsOrigin := cosigner(t, key(1), origin, 200)
	cases := []struct {
		name   string
		signed string
		want   error
	}{
		{"size edited", strings.Replace(good, "\n5\n", "\n6\n", 1), signer.ErrSignature},
		{"signed by another key", string(sign(t, checkpoint(5), noteSigner(t, key(9), origin))), signer.ErrSignature},
		{"cosigned only", string(sign(t, checkpoint(5), cosigner(t, key(2), "w2", 200))), signer.ErrSignature},
		{"log key, wrong algorithm", string(sign(t, checkpoint(5), timeAsOrigin)), signer.ErrSignature},
		{"log key, other log", string(sign(t, other, noteSigner(t, key(1), origin))), chain.ErrOrigin},
		{"extension line", string(signText(t, "log.example.com/custody/7f3a\n5\nAAAA\nextra\n")), chain.ErrCheckpoint},
		{"no signature", "a\n", signer.ErrNote},
		{"terminal escape", "\x1b[2J" + good, signer.ErrNote},
		{"too large", good + strings.Repeat("— x AAAAAAAA\n", 10_000), signer.ErrNote},
	}
	for _, c := range cases {
		_, err := signer.OpenCheckpoint([]byte(c.signed), origin, key(1).Public(), signer.Cosigner{Name: "w2", Key: key(2).Public()})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func signText(t *testing.T, text string) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, noteSigner(t, key(1), origin))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestCosignerSignsOnlyCheckpoints(t *testing.T) {
	s := cosigner(t, key(2), "w2", 200)
	for _, text := range []string{"", "hello\n", "custody/receipt/v1\n1\nAAAA\n", "a\n5\nAAAA\nextension\n"} {
		if _, err := s.Sign([]byte(text)); !errors.Is(err, chain.ErrCheckpoint) {
			t.Errorf("%q was cosigned: %v", text, err)
		}
	}
	if _, err := signer.CosignatureSigner(key(2), "w2", -1); err == nil {
		t.Error("a time before 1970 was taken")
	}
}

func TestCosignatureTimeIsSigned(t *testing.T) {
	s := cosigner(t, key(2), "w2", 200)
	v, _ := signer.CosignatureVerifier("w2", key(2).Public())
	text, _ := checkpoint(5).MarshalText()
	sig, err := s.Sign(text)
	if err != nil || !v.Verify(text, sig) {
		t.Fatalf("cosignature does not verify: %v", err)
	}
	for _, at := range []int{0, 7, 20} {
		bad := append([]byte{}, sig...)
		bad[at] ^= 0x80
		if v.Verify(text, bad) {
			t.Errorf("a change of byte %d is not caught", at)
		}
	}
	if v.Verify(text, sig[:71]) || v.Verify(text, nil) || v.Verify([]byte("x"), sig) {
		t.Error("a short cosignature or another text verifies")
	}
}

func FuzzVKey(f *testing.F) {
	f.Add(signer.VKey(origin, key(1).Public()))
	f.Add("a+00000000+AQ==")
	f.Fuzz(func(t *testing.T, text string) {
		name, public, err := signer.ParseVKey(text)
		if err == nil && signer.VKey(name, public) != text {
			t.Errorf("%q comes back as %q", text, signer.VKey(name, public))
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	f.Add(sign(f, checkpoint(5), noteSigner(f, key(1), origin), cosigner(f, key(2), "w2", 200)))
	f.Fuzz(func(t *testing.T, signed []byte) {
		c, err := signer.OpenCheckpoint(signed, origin, key(1).Public(), signer.Cosigner{Name: "w2", Key: key(2).Public()})
		if err == nil && c.Checkpoint != checkpoint(5) {
			t.Errorf("a checkpoint that was never signed opens: %+v", c)
		}
	})
}
