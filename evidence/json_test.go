package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// An empty list is written as one: null would be a second encoding of it.
func TestNullIsNoList(t *testing.T) {
	w := office(t)
	good := w.bundle("00:00", "10:30", ExportOptions{Frameworks: noFrameworks})
	for _, x := range []struct{ file, list, check string }{
		{fileRange, "left", CheckFormat}, {fileProofs, "proofs", CheckFormat}, {fileControls, "tests", CheckControls},
	} {
		bad := repack(t, w.export, good, func(files map[string][]byte) {
			list := []byte(`"` + x.list + `": []`)
			if !bytes.Contains(files[x.file], list) {
				t.Fatalf("%s: no empty list %q", x.file, x.list)
			}
			files[x.file] = bytes.Replace(files[x.file], list, []byte(`"`+x.list+`": null`), 1)
		})
		if v := verify(t, bad, w.policy()); v.Check(x.check).Result != Failed {
			t.Errorf("%s: %s null: exit %d\n%s", x.file, x.list, v.Exit, details(v))
		}
	}
}

// A file that only the program reads has one encoding; one that a person may have edited has others too.
func TestEncodings(t *testing.T) {
	type file struct {
		Name string   `json:"name"`
		List []string `json:"list"`
	}
	for text, want := range map[string]struct {
		strict, loose bool
		syntax        bool // it is no JSON at all
	}{
		"{\n  \"name\": \"a\",\n  \"list\": []\n}\n":                   {strict: true, loose: true},
		"{\n  \"name\": \"null\",\n  \"list\": [\n    \"b\"\n  ]\n}\n": {strict: true, loose: true},
		`{"name":"a","list":[]}`:                                       {loose: true},
		`{"name":"a","list":null}`:                                     {},
		`{"list":[],"name":"a"}`:                                       {},
		`{"name":"a","list":[],"more":1}`:                              {},
		`{"name":"a","name":"a","list":[]}`:                            {},
		`{"name":"a","list":[]`:                                        {syntax: true},
		"":                                                             {syntax: true},
		"{\n  \"name\": \"a\",\n  \"list\": null\n}\n":                 {},
	} {
		for kind, test := range map[string]struct {
			read func([]byte, any) error
			good bool
		}{"one encoding": {unmarshalJSON, want.strict}, "loosely": {unmarshalLoosely, want.loose}} {
			err := test.read([]byte(text), new(file))
			var syntax *json.SyntaxError
			if (err == nil) != test.good || err != nil && !errors.Is(err, ErrJSON) || errors.As(err, &syntax) != want.syntax {
				t.Errorf("%s: %q: %v", kind, text, err)
			}
		}
	}
	if _, err := marshalJSON(func() {}); err == nil {
		t.Error("a function has an encoding")
	}
}
