package event

import (
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// scanWithoutSieve is ScanSecrets as it would be without one.
func scanWithoutSieve(b []byte) (detector string, found bool) {
	s := NewScanner(b)
	if s.Next() {
		return s.Detector, true
	}
	return "", false
}

func checkSieve(t interface{ Errorf(string, ...any) }, b []byte) (found bool) {
	want, found := scanWithoutSieve(b)
	if got, passed := ScanSecrets(b); passed != found || got != want {
		t.Errorf("%q: %q (%v), without the sieve %q (%v)", b, got, passed, want, found)
	}
	return found
}

// pieces are what secrets are made of, and what stands around them.
var pieces = []string{
	"password", "pwd", "PGPASS", "api", "_key", "-KEY", "token", "credential", "s", ".", "..", "-", "--", "_", "=", ":", "://", "@", " ", "  ", "\t",
	`"`, `'`, `\`, `\"`, ",", ";", "/", "?", "&", "\n", "bearer ", "Bearer ", "BASIC ", "basic ", "b", "B", "ba", "dXNlcjpodW50ZXIy", "a1B2", "hunter2",
	"eyJhbGciOiJI", ".eyJ", "eyJ", "SG", "hvs", "hvb", "ya29", "-----BEGIN", " PRIVATE KEY", "-----END", "AKIA", "J7Q2KXWMB4TZ6N3P", "ghp_", "sk-", "hf_",
	"SK", "9f86d081884c7d659a2feaa0c55ad015", "a8Kf93LmQz71BvTxW05cRn2YhJ6dPsG4uEiO", "x", "the customer wrote", "ä", "\x00", "\xff", "{", "}", "(", "0", "9",
}

// TestSieveHoldsNoSecretBack puts texts together from what secrets are made of, the same ones each time.
func TestSieveHoldsNoSecretBack(t *testing.T) {
	rnd, secrets := rand.New(rand.NewPCG(1, 2)), 0
	for range 30_000 {
		var text []byte
		for range 1 + rnd.IntN(12) {
			text = append(text, pieces[rnd.IntN(len(pieces))]...)
		}
		if checkSieve(t, text) {
			secrets++
		}
	}
	if secrets < 100 {
		t.Errorf("only %d texts held a secret", secrets)
	}
}

// TestSieveKnowsEveryRule: each kind of token passes, at its shortest.
func TestSieveKnowsEveryRule(t *testing.T) {
	for _, r := range tokenRules {
		if n := len(r.prefix) + r.least; n < leastToken {
			t.Errorf("%s has %d bytes", r.prefix, n)
		}
		for _, before := range []string{"", " ", "x ", strings.Repeat("word ", 7), strings.Repeat("y", 25) + " "} {
			if !mayHoldSecret([]byte(before + r.prefix + strings.Repeat("a", r.least))) {
				t.Errorf("%s after %q is held back", r.prefix, before)
			}
		}
	}
	for _, name := range append(passwordNames[:], keyNames[:]...) {
		if !endsTellingName([]byte("my_"+strings.ToUpper(name)+`" `)) || !endsTellingName([]byte(name[:2]+"_-."+name[2:])) {
			t.Errorf("%s is not a telling name", name)
		}
	}
}

// TestSieveLooksAtEveryText puts a secret into each text field of the usual events.
func TestSieveLooksAtEveryText(t *testing.T) {
	for _, action := range Actions() {
		if Example(action).GetSystem() != nil {
			continue
		}
		everyText(Example(action).ProtoReflect(), func(path string, _ protoreflect.Value, set func(protoreflect.Message)) {
			e := Example(action)
			set(e.ProtoReflect())
			if path != "fingerprints.path" && !MayHoldSecret(e) {
				t.Errorf("%s: %s is not looked at", action, path)
			}
		})
	}
}

// everyText calls do for each text field that a message has, set or not, with what sets it to a secret.
func everyText(m protoreflect.Message, do func(path string, v protoreflect.Value, set func(protoreflect.Message))) {
	secret := protoreflect.ValueOfString("password=hunter2")
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		name := string(fd.Name())
		switch {
		case fd.Kind() == protoreflect.StringKind && fd.IsList():
			do(name, m.Get(fd), func(m protoreflect.Message) { m.Mutable(fd).List().Append(secret) })
		case fd.Kind() == protoreflect.StringKind:
			do(name, m.Get(fd), func(m protoreflect.Message) { m.Set(fd, secret) })
		case fd.Kind() == protoreflect.MessageKind && fd.IsList() && m.Get(fd).List().Len() > 0:
			everyText(m.Get(fd).List().Get(0).Message(), func(path string, v protoreflect.Value, set func(protoreflect.Message)) {
				do(name+"."+path, v, func(m protoreflect.Message) { set(m.Mutable(fd).List().Get(0).Message()) })
			})
		case fd.Kind() == protoreflect.MessageKind && !fd.IsList() && m.Has(fd):
			everyText(m.Get(fd).Message(), func(path string, v protoreflect.Value, set func(protoreflect.Message)) {
				do(name+"."+path, v, func(m protoreflect.Message) { set(m.Mutable(fd).Message()) })
			})
		}
	}
}

// TestOrdinaryEventsStayInTheSieve: otherwise it would cost and save nothing.
func TestOrdinaryEventsStayInTheSieve(t *testing.T) {
	for _, action := range []string{"execution.proposed", "execution.finished", "data.document_retrieved"} {
		if MayHoldSecret(Example(action)) {
			t.Errorf("%s is scanned", action)
		}
	}
	if mayHoldSecret([]byte(`{"to":"person042@mail.example","order":"ORD-12345678","ticket":"TCK-12345678","body":"Thank you, it is on its way again."}`)) {
		t.Error("a call's arguments are scanned")
	}
}

func FuzzSieve(f *testing.F) {
	for _, p := range pieces {
		f.Add([]byte(p + strings.Join(pieces[:9], "") + p))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkSieve(t, b) })
}

func BenchmarkScanUsualEvent(b *testing.B) {
	e := Example("execution.proposed")
	encoded, err := Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, found := ScanParsed(e, encoded); found {
			b.Fatal("a secret in an example")
		}
	}
}
