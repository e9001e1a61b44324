package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// brokenKey cannot sign.
type brokenKey struct{ signer.Exporter }

func (brokenKey) Sign([]byte) ([]byte, error) { return nil, errBroken }

// What is said about a bundle is said in one way, under one key, about this list of files.
func TestWrongStatements(t *testing.T) {
	w := newWorld(t, "acme")
	s, manifest, key := w.scope("08:30", "10:30"), chain.Hash{1}, exportKeyOf(w.export)
	file, err := makeStatementFile(w.export, manifest, &s)
	w.must(err)
	other := w.key().Public()
	sign := func(payloadType, payload string) func(*sigstoreBundle) {
		return func(b *sigstoreBundle) {
			e, err := sealEnvelope(w.export, payloadType, []byte(payload))
			w.must(err)
			b.Envelope = e
		}
	}
	stamps := func(n int) func(*sigstoreBundle) {
		return func(b *sigstoreBundle) {
			b.VerificationMaterial.Timestamps = &timestampData{slices.Repeat([]signedTimestamp{{[]byte("stamp")}}, n)}
		}
	}
	twice := func(b *sigstoreBundle) { b.Envelope.Signatures = slices.Repeat(b.Envelope.Signatures, 2) }
	for name, test := range map[string]struct {
		edit    func(*sigstoreBundle)
		want    error
		stamped bool
	}{
		"right":                  {func(*sigstoreBundle) {}, nil, false},
		"a time stamp":           {stamps(1), nil, true},
		"two time stamps":        {stamps(2), ErrEnvelope, false},
		"a list of none":         {stamps(0), ErrEnvelope, false},
		"another media type":     {func(b *sigstoreBundle) { b.MediaType += "x" }, ErrEnvelope, false},
		"two signatures":         {func(b *sigstoreBundle) { stamps(1)(b); twice(b) }, ErrEnvelope, false},
		"no signature":           {func(b *sigstoreBundle) { b.Envelope.Signatures = []envelopeSignature{} }, ErrEnvelope, false},
		"a key id":               {func(b *sigstoreBundle) { b.Envelope.Signatures[0].KeyID = &signer.KeyID{1} }, ErrEnvelope, false},
		"another payload type":   {sign(PayloadTypeHandling, "{}"), ErrEnvelope, false},
		"another payload":        {sign(PayloadTypeStatement, "{}"), ErrEnvelope, false},
		"a hint to another key":  {func(b *sigstoreBundle) { b.VerificationMaterial.PublicKey.Hint = other.ID() }, signer.ErrSignature, false},
		"a signature of nothing": {func(b *sigstoreBundle) { b.Envelope.Signatures[0].Sig[9] ^= 1 }, signer.ErrSignature, false},
	} {
		var b sigstoreBundle
		w.must(json.Unmarshal(file, &b))
		test.edit(&b)
		edited, err := marshalJSON(b)
		w.must(err)
		if err := checkStatementFile(edited, &key, manifest, &s); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		wantWithout := test.want
		if errors.Is(wantWithout, signer.ErrSignature) {
			wantWithout = nil
		}
		if err := checkStatementFile(edited, nil, manifest, &s); !errors.Is(err, wantWithout) {
			t.Errorf("%s, without a key: %v, want %v", name, err, wantWithout)
		}
		if response, signature := statementStamp(edited); (response != nil) != test.stamped || (signature != nil) != test.stamped {
			t.Errorf("%s: stamp %q of %x", name, response, signature)
		}
	}
	stamped, err := stampStatementFile(t.Context(), file, func(context.Context, []byte) ([]byte, error) { return []byte("stamp"), nil })
	w.must(err)
	for name, err := range map[string]error{
		"another encoding": checkStatementFile(append(bytes.Clone(file), '\n'), &key, manifest, &s),
		"no JSON":          checkStatementFile(file[1:], &key, manifest, &s),
	} {
		if !errors.Is(err, ErrJSON) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if response, _ := statementStamp(append(stamped, '\n')); response != nil {
		t.Errorf("a stamp in another encoding: %q", response)
	}
}

// A statement is stamped if there is a stamp, and nothing is written that nobody has signed.
func TestStampsAndSignaturesThatFail(t *testing.T) {
	w := newWorld(t, "acme")
	s := w.scope("08:30", "10:30")
	file, err := makeStatementFile(w.export, chain.Hash{1}, &s)
	w.must(err)
	for name, test := range map[string]struct {
		file, response []byte
		err            error
		want           error
	}{
		"none":                 {file, nil, nil, nil},
		"none, and why":        {file, nil, errBroken, errBroken},
		"one, and it is wrong": {file, []byte("stamp"), errBroken, errBroken},
		"no statement":         {file[1:], nil, nil, ErrJSON},
	} {
		got, err := stampStatementFile(t.Context(), test.file, func(context.Context, []byte) ([]byte, error) { return test.response, test.err })
		if !errors.Is(err, test.want) || err == nil && !bytes.Equal(got, file) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
	if _, err := makeStatementFile(brokenKey{w.export}, chain.Hash{}, &s); !errors.Is(err, errBroken) {
		t.Errorf("statement: %v", err)
	}
	if _, err := makeCustodyFile(brokenKey{w.export}, &s, chain.Hash{}, Tool{}); !errors.Is(err, errBroken) {
		t.Errorf("account: %v", err)
	}
}

// handled is a line of custody.jsonl.
func (w *world) handled(h handling, edits ...func(*envelope)) []byte {
	payload, err := json.Marshal(h)
	w.must(err)
	e, err := sealEnvelope(w.export, PayloadTypeHandling, payload)
	w.must(err)
	id := exportKeyOf(w.export).ID()
	e.Signatures[0].KeyID = &id
	for _, edit := range edits {
		edit(&e)
	}
	line, err := json.Marshal(e)
	w.must(err)
	return append(line, '\n')
}

// The account of who handled a bundle is one line for each step, each of the one before, the first of this scope.
func TestWrongAccountsOfHandling(t *testing.T) {
	w := newWorld(t, "acme")
	s, scope, key := w.scope("08:30", "10:30"), chain.Hash{7}, exportKeyOf(w.export)
	right := handling{Version: 1, Actor: s.Requester, Action: actionExported, Purpose: s.Purpose, Scope: scope}
	first := w.handled(right)
	changed := func(edit func(*handling)) handling {
		h := right
		edit(&h)
		return h
	}
	next := changed(func(h *handling) { h.Action, h.Prev = "copied", sha256Of(bytes.TrimSuffix(first, []byte("\n"))) })
	resealed := func(payload string) func(*envelope) {
		return func(e *envelope) {
			sealed, err := sealEnvelope(w.export, PayloadTypeHandling, []byte(payload))
			w.must(err)
			e.Payload, e.Signatures[0].Sig = sealed.Payload, sealed.Signatures[0].Sig
		}
	}
	for name, test := range map[string]struct {
		file []byte
		want error
		at   string
	}{
		"one line":              {first, nil, ""},
		"two lines":             {slices.Concat(first, w.handled(next)), nil, ""},
		"nothing":               {nil, ErrEnvelope, "no whole line"},
		"no end of the line":    {bytes.TrimSuffix(first, []byte("\n")), ErrEnvelope, "no whole line"},
		"a line twice":          {slices.Concat(first, first), ErrEnvelope, "line 2: "},
		"no JSON":               {slices.Concat(first, []byte("x\n")), ErrJSON, "line 2: "},
		"another encoding":      {append([]byte(" "), first...), ErrJSON, "line 1: "},
		"two signatures":        {w.handled(right, func(e *envelope) { e.Signatures = slices.Repeat(e.Signatures, 2) }), ErrEnvelope, "line 1: not one signature"},
		"no signature":          {w.handled(right, func(e *envelope) { e.Signatures = nil }), ErrEnvelope, "line 1: "},
		"no key id":             {w.handled(right, func(e *envelope) { e.Signatures[0].KeyID = nil }), ErrEnvelope, "line 1: "},
		"another key id":        {w.handled(right, func(e *envelope) { e.Signatures[0].KeyID = &signer.KeyID{1} }), signer.ErrSignature, "line 1: "},
		"a signature of none":   {w.handled(right, func(e *envelope) { e.Signatures[0].Sig[9] ^= 1 }), signer.ErrSignature, "line 1: "},
		"another payload type":  {w.handled(right, func(e *envelope) { e.PayloadType = PayloadTypeStatement }), ErrEnvelope, "line 1: "},
		"a payload of no JSON":  {w.handled(right, resealed("x")), ErrJSON, "line 1: "},
		"a payload with spaces": {w.handled(right, resealed(" {}")), ErrJSON, "line 1: "},
		"another version":       {w.handled(changed(func(h *handling) { h.Version = 2 })), ErrEnvelope, "line 1: belongs elsewhere"},
		"another scope":         {w.handled(changed(func(h *handling) { h.Scope[0] ^= 1 })), ErrEnvelope, "line 1: belongs elsewhere"},
		"after another line":    {w.handled(changed(func(h *handling) { h.Prev[0] ^= 1 })), ErrEnvelope, "line 1: belongs elsewhere"},
		"another requester":     {w.handled(changed(func(h *handling) { h.Actor += "x" })), ErrEnvelope, "line 1: not the export"},
		"another purpose":       {w.handled(changed(func(h *handling) { h.Purpose += "x" })), ErrEnvelope, "line 1: not the export"},
		"another act":           {w.handled(changed(func(h *handling) { h.Action = "copied" })), ErrEnvelope, "line 1: not the export"},
	} {
		if _, err := readCustodyFile(test.file, &key, &s, scope); !errors.Is(err, test.want) || err != nil && !strings.HasPrefix(err.Error(), test.at) {
			t.Errorf("%s: %v, want %v at %q", name, err, test.want, test.at)
		}
	}
}

// TestStatementOfAnotherFormat: a file that is not in its format names no key, whatever stands in it.
func TestStatementOfAnotherFormat(t *testing.T) {
	key := p256(t, 1)
	file, err := makeStatementFile(key, chain.Hash{}, &Scope{})
	if err != nil || statementSigner(file) != key.ID() {
		t.Fatalf("the statement names %s, %v", statementSigner(file), err)
	}
	other := append(bytes.TrimSuffix(bytes.TrimSpace(file), []byte("}")), `,"more":1}`...)
	if got := statementSigner(other); got != (signer.KeyID{}) {
		t.Errorf("another file names %s", got)
	}
}
