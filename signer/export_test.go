package signer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentcustody/custody/signer"
)

// p256 is a key that is the same each time.
func p256(t testing.TB) *signer.P256Key {
	t.Helper()
	key, err := signer.P256FromScalar([32]byte{31: 7})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pair is r and s of an ECDSA signature.
type pair struct{ R, S *big.Int }

func (p pair) der(t *testing.T) []byte {
	t.Helper()
	b, err := asn1.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pairOf(t *testing.T, sig []byte) (p pair) {
	t.Helper()
	if rest, err := asn1.Unmarshal(sig, &p); err != nil || len(rest) > 0 {
		t.Fatal("not DER:", err)
	}
	return p
}

// TestExportKeysRoundTrip: of each algorithm, through the file, as text and as PEM.
func TestExportKeysRoundTrip(t *testing.T) {
	for _, algorithm := range []string{signer.AlgorithmEd25519, signer.AlgorithmP256} {
		dir := signer.ExportKeys(filepath.Join(t.TempDir(), "export"))
		public, err := dir.Create(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		key, err := dir.Load(public.ID())
		if err != nil || key.ID() != public.ID() || public.Algorithm() != algorithm {
			t.Fatalf("%s: %v, of %s", algorithm, err, public.Algorithm())
		}
		sig, err := signer.SignDSSE(key, "type", []byte("payload"))
		if err != nil || public.VerifyDSSE("type", []byte("payload"), sig) != nil {
			t.Errorf("%s: its own signature: %v", algorithm, err)
		}
		if err := public.VerifyDSSE("type", []byte("Payload"), sig); !errors.Is(err, signer.ErrSignature) {
			t.Errorf("%s: of another payload: %v", algorithm, err)
		}
		if err := public.VerifyDSSE("typed", []byte("payload"), sig); !errors.Is(err, signer.ErrSignature) {
			t.Errorf("%s: of another type: %v", algorithm, err)
		}
		checkForms(t, public)
	}
}

func checkForms(t *testing.T, public signer.ExportKey) {
	t.Helper()
	text, err := public.MarshalText()
	var again signer.ExportKey
	if err := errors.Join(err, again.UnmarshalText(text)); err != nil || again != public || public.String() != string(text) {
		t.Errorf("text %s: %v", text, err)
	}
	armoured, err := public.PEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(armoured)
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil || !bytes.HasSuffix([]byte(public), block.Bytes[len(block.Bytes)-32:]) {
		t.Errorf("PEM of %s: %v", public, err)
	}
}

// TestExportKeyFiles: private, durable, of the id that they are named by, and gone when removed.
func TestExportKeyFiles(t *testing.T) {
	dir := signer.ExportKeys(t.TempDir())
	public, err := dir.Create(signer.AlgorithmP256)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(string(dir), public.ID().String()+".pem")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	other := signer.KeyID{1}
	if err := os.Rename(file, filepath.Join(string(dir), other.String()+".pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Load(other); !errors.Is(err, signer.ErrKey) {
		t.Errorf("under another name: %v", err)
	}
	if _, err := dir.Load(public.ID()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not there: %v", err)
	}
	if err := errors.Join(dir.Remove(other), dir.Remove(other)); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(string(dir)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := dir.Create("rsa"); !errors.Is(err, signer.ErrAlgorithm) {
		t.Errorf("of another algorithm: %v", err)
	}
}

// TestExportKeyFilesThatFail: what cannot be made or taken away is an error.
func TestExportKeyFilesThatFail(t *testing.T) {
	dir, id := t.TempDir(), signer.KeyID{3}
	file := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.MkdirAll(filepath.Join(dir, id.String()+".pem", "full"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if public, err := signer.ExportKeys(file).Create(signer.AlgorithmEd25519); err == nil || public != "" {
		t.Errorf("made in what is no folder: %q, %v", public, err)
	}
	if err := signer.ExportKeys(dir).Remove(id); err == nil {
		t.Error("what could not be removed is removed")
	}
}

// TestNoExportKey: a key that is none has no other form, and what is no key leaves the key that was there.
func TestNoExportKey(t *testing.T) {
	if b, err := signer.ExportKey("short").PEM(); !errors.Is(err, signer.ErrKey) || b != nil {
		t.Errorf("%q, %v", b, err)
	}
	key := p256(t).Public()
	for _, text := range []string{"", "0g", strings.Repeat("00", 91), strings.ToUpper(key.String())} {
		read := key
		if err := read.UnmarshalText([]byte(text)); !errors.Is(err, signer.ErrKey) || read != key {
			t.Errorf("%q: %v, and the key is %s", text, err, read)
		}
	}
}

// TestLoadRefusesWhatIsNoExportKey: another curve, no key, or one that others may read.
func TestLoadRefusesWhatIsNoExportKey(t *testing.T) {
	dir, id := t.TempDir(), signer.KeyID{2}
	file := filepath.Join(dir, id.String()+".pem")
	elsewhere, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"another curve": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "no PEM": []byte("key"), "empty": {},
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := signer.ExportKeys(dir).Load(id); !errors.Is(err, signer.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.ExportKeys(dir).Load(id); !errors.Is(err, signer.ErrKeyExposed) {
		t.Errorf("for others to read: %v", err)
	}
}

// TestParseExportKeyIsStrict: one encoding, one curve, and a point on it.
func TestParseExportKeyIsStrict(t *testing.T) {
	good := []byte(p256(t).Public())
	point := good[len(good)-64:]
	edit := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	elsewhere, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := x509.MarshalPKIXPublicKey(&elsewhere.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	params := elliptic.P256().Params()
	onAxis := new(big.Int).ModSqrt(params.B, params.P).FillBytes(make([]byte, 32)) // with x = 0
	if _, err := signer.ParseExportKey(edit(27, append(make([]byte, 32), onAxis...)...)); err != nil {
		t.Error("a point with x = 0:", err)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "cut": good[:90], "longer": append(bytes.Clone(good), 0), "P-384": p384, "the point alone": good[26:], "coordinates alone": point,
		"another curve of the size": edit(22, 0x02), "named otherwise": edit(12, 0x02), "compressed": append(bytes.Clone(good[:26]), append([]byte{2}, point[:32]...)...),
		"compressed in place": edit(26, 2), "infinity": append(bytes.Clone(good[:26]), 0), "infinity, filled up": edit(26, make([]byte, 65)...),
		"zeros": edit(27, make([]byte, 64)...), "not on the curve": edit(90, good[90]^1), "swapped": edit(27, append(bytes.Clone(point[32:]), point[:32]...)...),
		"x = p for x = 0": edit(27, append(params.P.Bytes(), onAxis...)...), "the unused bits": edit(25, 1),
		"small order": make([]byte, 32), "second encoding": bytes.Repeat([]byte{0xff}, 32),
	} {
		if _, err := signer.ParseExportKey(b); !errors.Is(err, signer.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if signer.ExportKey(b).Verify(nil, nil) {
			t.Errorf("%s: verifies", name)
		}
	}
	var k signer.ExportKey
	for _, text := range []string{strings.ToUpper(p256(t).Public().String()), p256(t).Public().String()[1:], "", "zz"} {
		if err := k.UnmarshalText([]byte(text)); !errors.Is(err, signer.ErrKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSignaturesOnP256AreStrict: DER in its one form, with both numbers in range. Only the other one of the pair verifies too.
func TestSignaturesOnP256AreStrict(t *testing.T) {
	key, message := p256(t), []byte("message")
	good, err := key.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	order, x := elliptic.P256().Params().N, pairOf(t, good)
	reordered := pair{x.S, x.R}
	mirrored := pair{x.R, new(big.Int).Sub(order, x.S)}
	if !key.Public().Verify(message, good) || !key.Public().Verify(message, mirrored.der(t)) {
		t.Error("a good signature, or its other one, does not verify")
	}
	ed := signer.FromSeed([32]byte{9})
	plain, err := ed.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	raw := append(x.R.FillBytes(make([]byte, 32)), x.S.FillBytes(make([]byte, 32))...)
	for name, sig := range map[string][]byte{
		"empty": {}, "trailing byte": append(bytes.Clone(good), 0), "cut": good[:len(good)-1], "without DER": raw, "of Ed25519": plain,
		"a long length": append([]byte{0x30, 0x81, good[1]}, good[2:]...), "a zero in front": padded(good), "indefinite length": append(append([]byte{0x30, 0x80}, good[2:]...), 0, 0),
		"swapped": reordered.der(t), "r is 0": pair{big.NewInt(0), x.S}.der(t), "s is 0": pair{x.R, big.NewInt(0)}.der(t),
		"both 0": pair{big.NewInt(0), big.NewInt(0)}.der(t), "s is the order": pair{x.R, order}.der(t), "negative": pair{x.R, new(big.Int).Neg(x.S)}.der(t),
		"r over the order": pair{new(big.Int).Add(x.R, order), x.S}.der(t), "s over the order": pair{x.R, new(big.Int).Add(x.S, order)}.der(t),
		"a third number": inSequence(append(bytes.Clone(good[2:]), 2, 1, 1)),
	} {
		if key.Public().Verify(message, sig) {
			t.Errorf("%s: verifies", name)
		}
	}
	if ed.Public().Export().Verify(message, good) || !ed.Public().Export().Verify(message, plain) {
		t.Error("a key of Ed25519 takes the other algorithm's signature, or not its own")
	}
	again, err := key.Sign(message)
	if err != nil || !bytes.Equal(good, again) {
		t.Error("the same message has two signatures:", err)
	}
}

// padded writes r with a zero in front that it does not need.
func padded(sig []byte) []byte {
	n := int(sig[3])
	return inSequence(append(append([]byte{2, byte(n + 1), 0}, sig[4:4+n]...), sig[4+n:]...))
}

func inSequence(b []byte) []byte { return append([]byte{0x30, byte(len(b))}, b...) }

// TestSignatureOfRFC6979 holds the signature to the example of RFC 6979 section A.2.5: P-256, SHA-256, the message "sample".
func TestSignatureOfRFC6979(t *testing.T) {
	number := func(text string) *big.Int {
		n, _ := new(big.Int).SetString(text, 16)
		return n
	}
	key, err := signer.P256FromScalar([32]byte(number("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721").Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := key.Sign([]byte("sample"))
	if err != nil {
		t.Fatal(err)
	}
	x := pairOf(t, sig)
	if x.R.Cmp(number("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716")) != 0 ||
		x.S.Cmp(number("F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8")) != 0 {
		t.Errorf("r %X, s %X", x.R, x.S)
	}
	if digest := sha256.Sum256([]byte("sample")); key.Public().Verify(digest[:], sig) {
		t.Error("what is signed is hashed once")
	}
}

// TestP256KeyIsNeverPrinted: by no verb, no logger, no encoder.
func TestP256KeyIsNeverPrinted(t *testing.T) {
	key := p256(t)
	holder := struct{ k *signer.P256Key }{key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{key, *key} {
			if text := fmt.Sprintf(verb, v); !strings.Contains(text, key.ID().String()) || !strings.Contains(text, "redacted") {
				t.Errorf("%s: %s", verb, text)
			}
		}
		if text := fmt.Sprintf(verb, holder); strings.Contains(text, "0000000000000007") {
			t.Errorf("%s: %s", verb, text)
		}
	}
	if _, err := key.MarshalText(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("as text: %v", err)
	}
	if text := key.LogValue().String(); !strings.Contains(text, "redacted") {
		t.Errorf("logged as %s", text)
	}
	if _, err := signer.P256FromScalar([32]byte{}); !errors.Is(err, signer.ErrKey) {
		t.Errorf("of the number 0: %v", err)
	}
}
