package evidence

import (
	"bytes"
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
