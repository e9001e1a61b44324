package edge

import "testing"

func TestGlob(t *testing.T) {
	tests := map[[2]string]bool{
		{"", ""}: true, {"", "a"}: false, {"a", "a"}: true, {"a", "ab"}: false,
		{"*", ""}: true, {"*", "a/b"}: true, {"crm.*", "crm.read"}: true, {"crm.*", "crm"}: false,
		{"*.example", "a.b.example"}: true, {"*.example", "example"}: false, {"a*b*c", "aXbYc"}: true, {"a*b*c", "acb"}: false,
		{"a*a", "a"}: false, {"a*a", "aa"}: true, {"*a*", "bab"}: true, {"**", "x"}: true, {"*ab*ab", "ab"}: false,
	}
	for in, want := range tests {
		if got := glob(in[0], in[1]); got != want {
			t.Errorf("%q matches %q: %v", in[0], in[1], got)
		}
	}
}
