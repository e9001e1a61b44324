package signer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentcustody/custody/signer"
)

// key returns the same key for the same number each time.
func key(n byte) *signer.Key { return signer.FromSeed([32]byte{n}) }

func TestLoadOrCreateKeepsTheKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "log.key")
	made, err := signer.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := signer.LoadOrCreate(path)
	if err != nil || again.Public() != made.Public() {
		t.Errorf("loaded %v, %v", again, err)
	}
	loaded, err := signer.Load(path)
	if err != nil || loaded.Public() != made.Public() {
		t.Errorf("loaded %v, %v", loaded, err)
	}
	sig, _ := loaded.Sign([]byte("message"))
	if !made.Public().Verify([]byte("message"), sig) {
		t.Error("the loaded key signs otherwise")
	}
}

func TestLoadRefusesExposedKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.key")
	if _, err := signer.LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func(string) (*signer.Key, error){"Load": signer.Load, "LoadOrCreate": signer.LoadOrCreate} {
		if _, err := load(path); !errors.Is(err, signer.ErrKeyExposed) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadRefusesOtherFiles(t *testing.T) {
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ecDER, _ := x509.MarshalPKCS8PrivateKey(ecKey)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	edDER, _ := x509.MarshalPKCS8PrivateKey(edKey)
	block := func(label string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
	}
	good := block("PRIVATE KEY", edDER)
	for name, data := range map[string][]byte{
		"empty": {}, "raw": edDER, "other label": block("EC PRIVATE KEY", edDER), "P-256": block("PRIVATE KEY", ecDER),
		"garbage": block("PRIVATE KEY", []byte("garbage")), "two keys": slices.Concat(good, good),
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := signer.Load(path); !errors.Is(err, signer.ErrKey) {
			t.Errorf("%s: %v, want ErrKey", name, err)
		}
	}
}

func TestPrivateKeyIsNeverPrinted(t *testing.T) {
	k := key(7)
	private := k.Crypto().(ed25519.PrivateKey)
	type wrapper struct {
		Exported *signer.Key
		value    signer.Key
		pointer  *signer.Key
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", slog.Any("key", k), slog.Any("value", *k))
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", slog.Any("key", k), slog.Any("wrapped", wrapper{k, *k, k}))
	out := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		out += fmt.Sprintf(verb+verb+verb, k, *k, wrapper{k, *k, k})
	}
	if data, err := json.Marshal(k); err == nil {
		out += string(data)
	}
	for _, form := range []string{"%x", "%X", "%d", "%v", "%s"} {
		if strings.Contains(out, strings.Trim(fmt.Sprintf(form, []byte(private.Seed()[:8])), "[]")) {
			t.Errorf("the private key shows as %s", form)
		}
	}
	if !strings.Contains(out, k.ID().String()) {
		t.Error("the key id does not show")
	}
}

func TestKeyIDIsTheHashOfThePublicKey(t *testing.T) {
	public := key(1).Public()
	if got, want := public.ID(), signer.KeyID(sha256.Sum256(public[:])); got != want {
		t.Errorf("id %s, want %s", got, want)
	}
	if back, err := signer.ParseKeyID(public.ID().String()); err != nil || back != public.ID() {
		t.Errorf("id comes back as %s, %v", back, err)
	}
	for _, text := range []string{"", "00", strings.ToUpper(public.ID().String()), strings.Repeat("g", 64)} {
		if _, err := signer.ParseKeyID(text); !errors.Is(err, signer.ErrKey) {
			t.Errorf("id %q: %v", text, err)
		}
	}
}

func TestPublicKeyText(t *testing.T) {
	public := key(1).Public()
	data, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	var back signer.PublicKey
	if err := json.Unmarshal(data, &back); err != nil || back != public {
		t.Errorf("comes back as %s, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`"`+strings.Repeat("0", 64)+`"`), &back); !errors.Is(err, signer.ErrKey) {
		t.Errorf("small order: %v", err)
	}
}

// Under a key of small order, R = A' and S = 0 verify for about one message in
// eight or more. The test shows that each refused key is such a key, and that
// the eight points are all refused.
func TestKeysOfSmallOrderAreRefused(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	y1, _ := new(big.Int).SetString("2707385501144840649318225287225658788936804267575313519463743609750303402022", 10)
	y2 := new(big.Int).Sub(p, y1)
	refused := 0
	for _, y := range []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1)), y1, y2} {
		for _, sign := range []byte{0, 0x80} {
			b := y.FillBytes(make([]byte, 32))
			slices.Reverse(b)
			b[31] |= sign
			if _, err := signer.ParsePublicKey(b); !errors.Is(err, signer.ErrKey) {
				t.Errorf("%x: %v", b, err)
			}
			if forgeable(b) {
				refused++
			}
		}
	}
	if refused < 8 {
		t.Errorf("only %d of the refused keys let anybody sign", refused)
	}
}

func forgeable(public []byte) bool {
	sig := make([]byte, 64)
	sig[0] = 1 // R is the identity, S is 0
	for i := range uint64(1000) {
		if ed25519.Verify(public, binary.BigEndian.AppendUint64(nil, i), sig) {
			return true
		}
	}
	return false
}

func TestSecondEncodingsAreRefused(t *testing.T) {
	for low := byte(0xed); low != 0; low++ {
		b := bytes.Repeat([]byte{0xff}, 32)
		b[0], b[31] = low, 0x7f
		if _, err := signer.ParsePublicKey(b); !errors.Is(err, signer.ErrKey) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := signer.ParsePublicKey(make([]byte, 31)); !errors.Is(err, signer.ErrKey) {
		t.Errorf("short key: %v", err)
	}
}

func TestFromCrypto(t *testing.T) {
	s, err := signer.FromCrypto(key(3).Crypto())
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign([]byte("message"))
	if err != nil || s.Public() != key(3).Public() || !s.Public().Verify([]byte("message"), sig) {
		t.Errorf("signature %x, %v", sig, err)
	}
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if _, err := signer.FromCrypto(ecKey); !errors.Is(err, signer.ErrKey) {
		t.Errorf("P-256: %v", err)
	}
}

func FuzzParsePublicKey(f *testing.F) {
	public := key(1).Public()
	f.Add(public[:])
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := signer.ParsePublicKey(b)
		if err != nil {
			return
		}
		if forgeable(p[:]) {
			t.Errorf("anybody can sign for %s", p)
		}
	})
}
