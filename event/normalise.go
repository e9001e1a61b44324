package event

import "bytes"

// normaliser finds the distinctive values of a text.
type normaliser struct{ scratch []byte }

// each calls add with every distinctive value, normalised. The slice is valid during the call only.
func (n *normaliser) each(value []byte, add func([]byte)) {
	for _, word := range bytes.FieldsFunc(value, func(r rune) bool { return r <= ' ' || r == '"' || r == ',' }) {
		word = bytes.ToLower(bytes.Trim(word, ".;:!?"))
		if len(word) >= 8 && (bytes.ContainsAny(word, "@/") || bytes.ContainsAny(word, "0123456789")) {
			add(word)
		}
	}
}
