package signer_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// maxNote is the largest note that is read, in bytes.
const maxNote = 64 << 10

// badName is a key name that no note can have.
const badName = "a b"

var errBroken = errors.New("broken")

// brokenSigner has a good key and cannot sign.
type brokenSigner struct{ *signer.Key }

func (brokenSigner) Sign([]byte) ([]byte, error) { return []byte("nothing"), errBroken }

// token is a crypto.Signer as hardware offers it.
type token struct {
	public    crypto.PublicKey
	signature []byte
	err       error
}

func (x token) Public() crypto.PublicKey { return x.public }

func (x token) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return x.signature, x.err }

// What cannot be signed is an error and no signature.
func TestSignersThatFail(t *testing.T) {
	broken := brokenSigner{key(1)}
	public := key(1).Crypto().Public()
	for name, test := range map[string]struct {
		sign func() ([]byte, error)
		want error
	}{
		"DSSE": {func() ([]byte, error) { return signer.SignDSSE(broken, "type", nil) }, errBroken},
		"checkpoint": {func() ([]byte, error) {
			return signer.SignCheckpoint(checkpoint(5), noteSigner(t, broken.Key, origin), failing{})
		}, errBroken},
		"no checkpoint": {func() ([]byte, error) {
			return signer.SignCheckpoint(chain.Checkpoint{}, noteSigner(t, key(1), origin))
		}, chain.ErrCheckpoint},
		"cosignature": {func() ([]byte, error) {
			return signer.CosignLine(broken, "w", 5, sign(t, checkpoint(5), noteSigner(t, key(1), origin)))
		}, errBroken},
		"cosigner's name":    {func() ([]byte, error) { return signer.CosignLine(key(1), badName, 5, nil) }, signer.ErrVKey},
		"cosign no note":     {func() ([]byte, error) { return signer.CosignLine(key(1), "w", 5, []byte("no note")) }, signer.ErrNote},
		"cosign other notes": {func() ([]byte, error) { return signer.CosignLine(key(1), "w", 5, []byte("text\n\n— x y\n")) }, chain.ErrCheckpoint},
		"receipt":            {func() ([]byte, error) { return signer.SignReceipt(receipt(), failing{}) }, errBroken},
		"token":              {func() ([]byte, error) { return signWith(token{public, nil, errBroken}) }, errBroken},
		"token, short":       {func() ([]byte, error) { return signWith(token{public, make([]byte, 63), nil}) }, signer.ErrSignature},
		"token, weak key":    {func() ([]byte, error) { return signWith(token{ed25519.PublicKey(make([]byte, 32)), nil, nil}) }, signer.ErrKey},
		"token, no key":      {func() ([]byte, error) { return signWith(token{nil, nil, nil}) }, signer.ErrKey},
	} {
		if got, err := test.sign(); !errors.Is(err, test.want) || got != nil {
			t.Errorf("%s: %q, %v, want %v", name, got, err, test.want)
		}
	}
}

// failing is a note.Signer that cannot sign.
type failing struct{}

func (failing) Name() string                { return "failing" }
func (failing) KeyHash() uint32             { return 7 }
func (failing) Sign([]byte) ([]byte, error) { return nil, errBroken }

func signWith(s crypto.Signer) ([]byte, error) {
	x, err := signer.FromCrypto(s)
	if err != nil {
		return nil, err
	}
	return x.Sign([]byte("message"))
}

// Names that no note can have are refused wherever a name is given.
func TestNamesOfKeys(t *testing.T) {
	signed := sign(t, checkpoint(5), noteSigner(t, key(1), origin))
	public := key(1).Public()
	for what, err := range map[string]error{
		"note signer":          second(signer.NoteSigner(key(1), badName)),
		"note verifier":        second(signer.NoteVerifier(badName, public)),
		"cosigner":             second(signer.CosignatureSigner(key(1), badName, 5)),
		"cosignature verifier": second(signer.CosignatureVerifier(badName, public)),
		"origin":               second(signer.OpenCheckpoint(signed, badName, public)),
		"known cosigner":       second(signer.OpenCheckpoint(signed, origin, public, signer.Cosigner{Name: badName, Key: key(2).Public()})),
		"verifier key":         parsed(signer.ParseVKey(signer.VKey(badName, public))),
		"cosignature key":      parsed(signer.ParseCosignatureVKey(signer.CosignatureVKey(badName, public))),
	} {
		if !errors.Is(err, signer.ErrVKey) {
			t.Errorf("%s: %v, want ErrVKey", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func parsed(_ string, _ signer.PublicKey, err error) error { return err }

// Another cosigner under the log's own name does not stand for the log, and of two cosigners of one name only the one that signed counts.
func TestCosignersOfOneName(t *testing.T) {
	public := key(1).Public()
	alone := sign(t, checkpoint(5), cosigner(t, key(2), origin, 7))
	if _, err := signer.OpenCheckpoint(alone, origin, public, signer.Cosigner{Name: origin, Key: key(2).Public()}); !errors.Is(err, signer.ErrSignature) {
		t.Errorf("not signed by the log: %v, want ErrSignature", err)
	}
	signed := sign(t, checkpoint(5), noteSigner(t, key(1), origin), cosigner(t, key(3), "w", 7))
	head, err := signer.OpenCheckpoint(signed, origin, public, signer.Cosigner{Name: "w", Key: key(2).Public()}, signer.Cosigner{Name: "w", Key: key(3).Public()})
	if diff := cmp.Diff([]signer.Cosignature{{Name: "w", Key: key(3).Public(), Seconds: 7}}, head.Cosignatures); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// A note of the greatest size is read, and one byte more is not. Lines of strangers count for the size alone.
func TestLargestNote(t *testing.T) {
	signed := string(sign(t, checkpoint(5), noteSigner(t, key(1), origin)))
	const line = "— %s AAAAAAAA\n"
	pad := maxNote - len(signed) - len(fmt.Sprintf(line, ""))
	for more, want := range map[int]error{0: nil, 1: signer.ErrNote} {
		large := signed + fmt.Sprintf(line, strings.Repeat("x", pad+more))
		if _, err := signer.OpenCheckpoint([]byte(large), origin, key(1).Public()); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", len(large), err, want)
		}
	}
}

// cosigned is a cosignature over any text at any time, by a key that keeps to no rule.
func cosigned(seconds uint64, text string) []byte {
	sig, _ := key(2).Sign(fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", seconds, text))
	return append(binary.BigEndian.AppendUint64(nil, seconds), sig...)
}

func TestCosignaturesAreOfCheckpointsInTime(t *testing.T) {
	v, err := signer.CosignatureVerifier("w", key(2).Public())
	if err != nil {
		t.Fatal(err)
	}
	text := c2spCheckpoint(t)
	for what, test := range map[string]struct {
		text string
		sig  []byte
		want bool
	}{
		"now":           {text, cosigned(1_700_000_000, text), true},
		"the first":     {text, cosigned(0, text), true},
		"the last time": {text, cosigned(math.MaxInt64, text), true},
		"beyond":        {text, cosigned(math.MaxInt64+1, text), false},
		"no checkpoint": {"text\n", cosigned(5, "text\n"), false},
		"short":         {text, cosigned(5, text)[:71], false},
		"other time":    {text, append(binary.BigEndian.AppendUint64(nil, 6), cosigned(5, text)[8:]...), false},
	} {
		if v.Verify([]byte(test.text), test.sig) != test.want {
			t.Errorf("%s: verifies %v", what, !test.want)
		}
	}
	if _, err := signer.CosignatureSigner(key(2), "w", 0); err != nil {
		t.Errorf("the first second: %v", err)
	}
	if _, err := signer.CosignatureSigner(key(2), "w", -1); err == nil {
		t.Error("a time before 1970 is signed")
	}
}

func c2spCheckpoint(t *testing.T) string {
	t.Helper()
	b, err := checkpoint(5).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pattern is 32 bytes: the first, then 30 alike, then the last.
func pattern(first, middle, last byte) []byte {
	b := bytes.Repeat([]byte{middle}, 32)
	b[0], b[31] = first, last
	return b
}

// Encodings of y from p = 2²⁵⁵ − 19 on are second ones, whatever the sign of x; those just below are not.
func TestEncodingsAroundThePrime(t *testing.T) {
	for _, test := range []struct {
		encoded []byte
		good    bool
	}{
		{pattern(0xeb, 0xff, 0x7f), true},
		{pattern(0xeb, 0xff, 0xff), true},
		{pattern(0xed, 0xff, 0x7f), false},
		{pattern(0xed, 0xff, 0xff), false},
		{pattern(0xff, 0xff, 0x7e), true},
		{pattern(0xff, 0xff, 0xfe), true},
		{pattern(0xff, 0x00, 0x7f), true},
		{pattern(0xff, 0xfe, 0xff), true},
	} {
		if _, err := signer.ParsePublicKey(test.encoded); test.good != (err == nil) || err != nil && !errors.Is(err, signer.ErrKey) {
			t.Errorf("%x: %v", test.encoded, err)
		}
	}
}

func TestTextsThatAreNoKeys(t *testing.T) {
	good := key(1).Public()
	for what, text := range map[string]string{"empty": "", "long": good.String() + "00", "upper case": strings.ToUpper(good.String()), "no digits": strings.Repeat("g", 64)} {
		public, id := good, good.ID()
		if err := public.UnmarshalText([]byte(text)); !errors.Is(err, signer.ErrKey) || public != good {
			t.Errorf("%s: public key %s, %v", what, public, err)
		}
		if err := id.UnmarshalText([]byte(text)); !errors.Is(err, signer.ErrKey) || id != good.ID() {
			t.Errorf("%s: key id %s, %v", what, id, err)
		}
	}
	if good.ID().IsZero() || !(signer.KeyID{}).IsZero() {
		t.Error("which id is none is mistaken")
	}
}

func TestKeysShowTheirIDAlone(t *testing.T) {
	k := key(1)
	for _, verb := range []string{"%v", "%x", "%#v", "%d"} {
		if got := fmt.Sprintf(verb, k); got != k.String() {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if text, err := k.MarshalText(); !errors.Is(err, errors.ErrUnsupported) || text != nil {
		t.Errorf("a private key has the text %q, %v", text, err)
	}
}

func TestLoadOrCreateRefusesWhatIsNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err := signer.LoadOrCreate(path); !errors.Is(err, signer.ErrKey) || k != nil {
		t.Errorf("%v, want ErrKey", err)
	}
}

func TestStatuses(t *testing.T) {
	for s, want := range map[signer.Status]struct {
		name   string
		counts bool
	}{
		signer.Unknown: {"unknown", false}, signer.NotYet: {"not-yet", false}, signer.Valid: {"valid", true},
		signer.Suspect: {"suspect", true}, signer.Revoked: {"revoked", false}, signer.Revoked + 1: {"status(5)", false},
	} {
		if s.String() != want.name || s.Counts() != want.counts {
			t.Errorf("%d is %s and counts %v", s, s, s.Counts())
		}
	}
}

func TestKeyringOfNothing(t *testing.T) {
	var r signer.Keyring
	id := enrol(t, &r, 1, signer.Validity{From: 3})
	if e, ok := r.Lookup(id); !ok || e.Key != key(1).Public() {
		t.Errorf("found %+v, %v", e, ok)
	}
	if e, ok := r.Lookup(key(2).ID()); ok || e != (signer.Enrolment{}) {
		t.Errorf("found a stranger: %+v", e)
	}
}

// many is a policy of n definitions, a quarter of them logs, and a quorum.
func many(n int) string {
	var text strings.Builder
	for i := range n {
		k := signer.FromSeed([32]byte{byte(i), byte(i >> 8), 9}).Public()
		if i%4 == 0 {
			fmt.Fprintf(&text, "log %s\n", signer.VKey(origin, k))
		} else {
			fmt.Fprintf(&text, "witness w%d %s\n", i, signer.CosignatureVKey("w", k))
		}
	}
	return text.String() + "quorum w1\n"
}

// logs is n lines of logs.
func logs(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "log %s\n", signer.VKey(origin, signer.FromSeed([32]byte{byte(i), byte(i >> 8), 8}).Public()))
	}
	return text.String()
}

func TestQuorumLimits(t *testing.T) {
	const comment, none = "#%s\n", "quorum none\n"
	room := 64<<10 - len(none) - len(comment) + len("%s")
	two := "witness a " + witnessKey(2) + "\n"
	for what, test := range map[string]struct {
		text string
		good bool
	}{
		"as many as allowed":  {many(256), true},
		"one more":            {many(257), false},
		"more, later":         {two + "quorum a\n" + logs(256), false},
		"as long as allowed":  {fmt.Sprintf(comment, strings.Repeat("x", room)) + none, true},
		"one byte more":       {fmt.Sprintf(comment, strings.Repeat("x", room+1)) + none, false},
		"tab":                 {"\tquorum\tnone\n", true},
		"escape in a comment": {"# \x1b\n" + none, false},
		"delete in a comment": {"# \x7f\n" + none, false},
		"log alone":           {"log\n" + none, false},
		"log of three words":  {"log " + signer.VKey(origin, key(1).Public()) + " u v\n" + none, false},
		"two logs":            {"log " + signer.VKey(origin, key(1).Public()) + "\nlog " + signer.VKey(origin, key(2).Public()) + "\n" + none, true},
		"witness alone":       {"witness a\n" + none, false},
		"witness of four":     {"witness a " + witnessKey(2) + " u v\n" + none, false},
		"witness of a log":    {"witness a " + signer.VKey("w", key(2).Public()) + "\n" + none, false},
		"group of one":        {two + "group g any a\nquorum g\n", true},
		"group of no one":     {two + "group g any\n" + none, false},
		"group of too many":   {two + "group g 2 a\n" + none, false},
	} {
		if _, err := signer.ParseQuorum([]byte(test.text)); test.good != (err == nil) || err != nil && !errors.Is(err, signer.ErrQuorum) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := signer.ParseQuorum([]byte("# one\n\nnonsense\n" + none)); err == nil || !strings.Contains(err.Error(), "line 3:") {
		t.Errorf("the line is not named: %v", err)
	}
}

func TestQuorumOfOne(t *testing.T) {
	q := parseQuorum(t, "witness a "+witnessKey(2)+"\nquorum a\n")
	if q.Met(nil) || !q.Met(map[signer.PublicKey]bool{key(2).Public(): true}) {
		t.Error("one witness must have cosigned")
	}
	if diff := cmp.Diff([]string{"witness a " + witnessKey(2), "quorum a"}, q.Lines(true)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]signer.Cosigner{{Name: "witness.example/w2", Key: key(2).Public()}}, q.Cosigners()); diff != "" {
		t.Error(diff)
	}
}

// stray gives the last digit of the signature's base64 bits that it does not use.
func stray(signed string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.LastIndexByte(signed, '=') - 1
	return signed[:at] + string(digits[strings.IndexByte(digits, signed[at])|1]) + signed[at+1:]
}

func TestReceiptsAreOfOneEncoding(t *testing.T) {
	good := string(signReceipt(t))
	text, _, _ := strings.Cut(good, "\n\n")
	text += "\n"
	resign := func(change func(lines []string) []string) string {
		return string(signText(t, strings.Join(change(strings.SplitAfter(text, "\n")), "")))
	}
	if _, err := base64.StdEncoding.DecodeString(strings.Fields(good[strings.LastIndex(good, " "):])[0]); err != nil {
		t.Fatal(err)
	}
	for what, signed := range map[string]string{
		"stray bits":         stray(good),
		"time too great":     resign(func(l []string) []string { l[4] = "time 9223372036854775808\n"; return l }),
		"deadline too great": resign(func(l []string) []string { l[5] = "deadline 9223372036854775808\n"; return l }),
		"two lines":          resign(func(l []string) []string { return l[:2] }),
	} {
		if r, err := signer.OpenReceipt([]byte(signed), receiptVerifier(t)); !errors.Is(err, signer.ErrReceipt) || r != (signer.Receipt{}) {
			t.Errorf("%s: %+v, %v, want ErrReceipt", what, r, err)
		}
	}
	wrong := resign(func(l []string) []string { l[3] = "number 42\n"; return l })
	if _, err := signer.OpenReceipt([]byte(wrong), receiptVerifier(t)); err == nil || !strings.Contains(err.Error(), "line 4 ") {
		t.Errorf("the line is not named: %v", err)
	}
}

func TestReceiptWithoutDelay(t *testing.T) {
	r := receipt()
	r.Deadline = r.Time
	signed, err := signer.SignReceipt(r, noteSigner(t, key(1), origin))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := signer.OpenReceipt(signed, receiptVerifier(t)); err != nil || back != r {
		t.Errorf("comes back as %+v, %v", back, err)
	}
}
