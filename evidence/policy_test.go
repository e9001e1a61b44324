package evidence

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/signer"
)

func TestPolicyFile(t *testing.T) {
	w := newWorld(t, "acme")
	for range 2 {
		p := w.policy()
		b, err := p.Marshal()
		w.must(err)
		again, err := ParsePolicy(b)
		w.must(err)
		if diff := cmp.Diff(p, again); diff != "" {
			t.Error(diff)
		}
		if _, err := ParsePolicy([]byte(strings.Join(strings.Fields(string(b)), " "))); err != nil {
			t.Errorf("other white space: %v", err)
		}
		w.time = w.key() // and once more with an optional key
	}
}

func TestPolicyIsStrict(t *testing.T) {
	w := newWorld(t, "acme")
	b, err := w.policy().Marshal()
	w.must(err)
	good := string(b)
	key := w.policy().ExportKey.String()
	if _, err := ParsePolicy([]byte(good + strings.Repeat(" ", maxPolicy-len(good)))); err != nil {
		t.Errorf("as large as one reads: %v", err)
	}
	for name, text := range map[string]string{
		"empty":           "",
		"not JSON":        "policy",
		"null":            "null",
		"trailing":        good + "{}",
		"version":         strings.Replace(good, `"version": 1`, `"version": 2`, 1),
		"unknown field":   strings.Replace(good, `"version": 1,`, `"version": 1, "quorum": 0,`, 1),
		"repeated field":  strings.Replace(good, `"tenant": "acme",`, `"tenant": "acme", "tenant": "acme",`, 1),
		"other case":      strings.Replace(good, `"tenant"`, `"Tenant"`, 1),
		"other order":     strings.Replace(good, `"version": 1,`, ``, 1)[:len(good)-16] + `, "version": 1}`,
		"no tenant":       strings.Replace(good, `"acme"`, `""`, 1),
		"bad tenant":      strings.Replace(good, `"acme"`, `"Acme!"`, 1),
		"other origin":    strings.Replace(good, `"origin": "example.com/custody/acme"`, `"origin": "example.com/custody/other"`, 1),
		"log key missing": strings.Replace(good, "example.com/custody/acme+", "", 1),
		"short key":       strings.Replace(good, key, key[2:], 1),
		"upper case":      strings.Replace(good, key, strings.ToUpper(key), 1),
		"small order":     strings.Replace(good, key, strings.Repeat("0", 64), 1),
		"escaped":         strings.Replace(good, `"acme"`, `"\u0061cme"`, 1),
		"not UTF-8":       strings.Replace(good, `"acme"`, "\"ac\xffme\"", 1),
		"time key":        strings.Replace(good, `"version"`, `"time_key": "x", "version"`, 1),
		"huge":            good + strings.Repeat(" ", maxPolicy),
	} {
		if _, err := ParsePolicy([]byte(text)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFingerprints(t *testing.T) {
	w := newWorld(t, "acme")
	p := w.policy()
	b, err := p.Marshal()
	w.must(err)
	list, err := p.Fingerprints()
	w.must(err)
	want := []Fingerprint{
		{"policy", groups(sha256Of(b))},
		{"log key", groups(w.log.ID())},
		{"system key", groups(w.system.ID())},
		{"export key", groups(w.export.ID())},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	w.time = w.key()
	timed, err := w.policy().Fingerprints()
	w.must(err)
	if diff := cmp.Diff(Fingerprint{"time key", groups(w.time.ID())}, timed[len(timed)-1]); diff != "" || len(timed) != len(list)+1 {
		t.Errorf("of %d: %s", len(timed), diff)
	}
	if text := list[0].Text; len(text) != 16*4+15 || strings.Count(text, " ") != 15 {
		t.Errorf("%q is not sixteen groups of four", text)
	}
	p.ExportKey = ""
	if _, err := p.Fingerprints(); !errors.Is(err, ErrPolicy) {
		t.Errorf("fingerprints of a bad policy: %v", err)
	}
}

func FuzzPolicy(f *testing.F) {
	w := newWorld(f, "acme")
	for range 2 {
		b, err := w.policy().Marshal()
		w.must(err)
		f.Add(b)
		w.time = w.key()
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(b)
		if err != nil {
			return
		}
		file, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParsePolicy(file); err != nil || !cmp.Equal(again, p) {
			t.Errorf("%+v comes back as %+v, %v", p, again, err)
		}
		if _, err := p.Fingerprints(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzBundle changes the files of a bundle and makes everything around them right again, so that every parser is reached.
func FuzzBundle(f *testing.F) {
	w := exported(f)
	fuzzFiles(f, w, w.bundle("08:30", "10:30"))
}

// FuzzPart does the same with the bundle of a run.
func FuzzPart(f *testing.F) {
	w := shared(f)
	fuzzFiles(f, w, w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{Held: [][]byte{w.note()}}))
}

func fuzzFiles(f *testing.F, w *world, good []byte) {
	files, policy := unpack(f, good), w.policy()
	said := verify(f, good, policy)
	for i, l := range layout {
		f.Add(uint8(i), uint16(0), []byte{1})
		f.Add(uint8(i), uint16(len(files[l.name])/2), []byte{0xff, 0})
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, mask []byte) {
		changed := maps.Clone(files)
		name := layout[int(which)%len(layout)].name
		changed[name] = smear(changed[name], int(at), mask)
		bundle, ok := seal(w.export, changed)
		if !ok {
			return
		}
		v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), policy, VerifyOptions{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		_ = v.Text()
		if v.Exit < ExitContainer && v.Records != said.Records {
			t.Errorf("%s changed, exit %d: %+v", name, v.Exit, v.Records)
		}
	})
}

// smear changes bytes, or cuts a file where the mask is empty.
func smear(b []byte, at int, mask []byte) []byte {
	at %= len(b) + 1
	if len(mask) == 0 {
		return b[:at]
	}
	out := bytes.Clone(b)
	for i, m := range mask {
		if at+i < len(out) {
			out[at+i] ^= m
		}
	}
	return out
}

// seal makes manifest and statement right, if the manifest and the scope can be read at all.
func seal(key signer.Exporter, files map[string][]byte) ([]byte, bool) {
	old := new(manifest)
	if unmarshalJSON(files[fileManifest], old) != nil {
		return nil, false
	}
	list := make([]*staged, len(layout))
	for i, l := range layout {
		list[i] = stageBytes(files[l.name])
	}
	m, err := makeManifest(list, old.Claims)
	if err != nil {
		return nil, false
	}
	list[placeOf(fileManifest)] = stageBytes(m)
	if s, err := parseScope(files[fileScope]); err == nil {
		statement, _ := makeStatementFile(key, sha256Of(m), s)
		list[placeOf(fileStatement)] = stageBytes(statement)
	}
	var out bytes.Buffer
	err = writeContainer(&out, list)
	return out.Bytes(), err == nil
}
