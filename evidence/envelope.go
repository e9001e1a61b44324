package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// Payload types and names of what the export key signs.
const (
	// PayloadTypeStatement is the DSSE payload type of an in-toto statement.
	PayloadTypeStatement = "application/vnd.in-toto+json"
	// PayloadTypeHandling is the DSSE payload type of a line of custody.jsonl.
	PayloadTypeHandling = "application/vnd.custody.handling.v1+json"
	// statementType and predicateType name the format of the statement (in-toto Attestation Framework v1).
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://github.com/agentcustody/custody/evidence/v1"
	// typeSigstore is the media type of a Sigstore bundle (https://docs.sigstore.dev/about/bundle).
	typeSigstore = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// ErrEnvelope says that a signed file is not in its format, or says something else than it should.
var ErrEnvelope = errors.New("malformed signed statement")

// envelope is a DSSE v1 envelope with one signature, in JSON.
type envelope struct {
	Payload     []byte              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID *signer.KeyID `json:"keyid,omitempty"`
	Sig   []byte        `json:"sig"`
}

// sealEnvelope leaves the key id to the caller.
func sealEnvelope(s signer.Exporter, payloadType string, payload []byte) (envelope, error) {
	sig, err := signer.SignDSSE(s, payloadType, payload)
	if err != nil {
		return envelope{}, err
	}
	return envelope{payload, payloadType, []envelopeSignature{{Sig: sig}}}, nil
}

// check holds the envelope to its type and, if there is one, to the key that must have signed it. id is the key that it says did.
func (e *envelope) check(payloadType string, id signer.KeyID, key *signer.ExportKey) error {
	switch {
	case e.PayloadType != payloadType:
		return fmt.Errorf("payload type %q, want %q: %w", e.PayloadType, payloadType, ErrEnvelope)
	case key == nil:
		return nil
	case id != key.ID():
		return fmt.Errorf("signed by key %s, want %s: %w", id, key.ID(), signer.ErrSignature)
	}
	return key.VerifyDSSE(payloadType, e.Payload, e.Signatures[0].Sig)
}

// statement is an in-toto statement v1 about the manifest.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string `json:"name"`
	Digest struct {
		SHA256 chain.Hash `json:"sha256"`
	} `json:"digest"`
}

type predicate struct {
	Tenant string `json:"tenant"`
	Origin string `json:"origin"`
}

func newStatement(manifest chain.Hash, s *Scope) *statement {
	sub := subject{Name: fileManifest}
	sub.Digest.SHA256 = manifest
	return &statement{statementType, []subject{sub}, predicateType, predicate{s.Tenant, s.Origin}}
}

// sigstoreBundle is a Sigstore bundle of a DSSE envelope under a key that the reader has already, so that cosign and the
// libraries of Sigstore verify the statement. It has neither certificates nor entries of a transparency log.
type sigstoreBundle struct {
	MediaType            string               `json:"mediaType"`
	VerificationMaterial verificationMaterial `json:"verificationMaterial"`
	Envelope             envelope             `json:"dsseEnvelope"`
}

type verificationMaterial struct {
	PublicKey struct {
		Hint signer.KeyID `json:"hint"`
	} `json:"publicKey"`
	Timestamps *timestampData `json:"timestampVerificationData,omitempty"`
}

// timestampData holds one RFC 3161 response over the bytes of the envelope's signature.
type timestampData struct {
	RFC3161 []signedTimestamp `json:"rfc3161Timestamps"`
}

type signedTimestamp struct {
	SignedTimestamp []byte `json:"signedTimestamp"`
}

// stampStatementFile adds a time stamp over its signature to statement.sigstore.json, if stamp gives one.
func stampStatementFile(ctx context.Context, file []byte, stamp Stamper) ([]byte, error) {
	var b sigstoreBundle
	if err := unmarshalJSON(file, &b); err != nil {
		return nil, err
	}
	response, err := stamp(ctx, b.Envelope.Signatures[0].Sig)
	if err != nil || response == nil {
		return file, err
	}
	b.VerificationMaterial.Timestamps = &timestampData{[]signedTimestamp{{response}}}
	return marshalJSON(b)
}

// statementStamp returns the time stamp of statement.sigstore.json and the signature that it is of; none if there is none, or if the
// file is not in its format, which is said elsewhere.
func statementStamp(file []byte) (response, signature []byte) {
	var b sigstoreBundle
	if unmarshalJSON(file, &b) != nil || b.VerificationMaterial.Timestamps == nil || len(b.Envelope.Signatures) != 1 ||
		len(b.VerificationMaterial.Timestamps.RFC3161) != 1 {
		return nil, nil
	}
	return b.VerificationMaterial.Timestamps.RFC3161[0].SignedTimestamp, b.Envelope.Signatures[0].Sig
}

// makeStatementFile returns statement.sigstore.json.
func makeStatementFile(key signer.Exporter, manifest chain.Hash, s *Scope) ([]byte, error) {
	payload, err := json.Marshal(newStatement(manifest, s))
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	e, err := sealEnvelope(key, PayloadTypeStatement, payload)
	if err != nil {
		return nil, err
	}
	b := sigstoreBundle{MediaType: typeSigstore, Envelope: e}
	b.VerificationMaterial.PublicKey.Hint = key.ID()
	return marshalJSON(b)
}

// Commands of VERIFY.md that take the export key of the policy and verify with it, for each algorithm.
const (
	verifyEd25519 = "    { printf '302a300506032b6570032100'; jq -r .export_key ../POLICY.json | tr -d '\\n'; } | xxd -r -p > export.der\n" +
		"    openssl pkeyutl -verify -rawin -pubin -inkey export.der -in signed -sigfile sig\n"
	verifyP256 = "    jq -r .export_key ../POLICY.json | xxd -r -p > export.der\n" +
		"    openssl dgst -sha256 -keyform DER -verify export.der -signature sig signed\n"
)

// verifyPage is VERIFY.md for an export key of an algorithm.
func verifyPage(algorithm string) []byte {
	if algorithm == signer.AlgorithmP256 {
		return bytes.Replace(verifyText, []byte(verifyEd25519), []byte(verifyP256), 1)
	}
	return verifyText
}

// checkStatementFile holds statement.sigstore.json to the manifest and the scope, and to a key if there is one.
func checkStatementFile(file []byte, key *signer.ExportKey, manifest chain.Hash, s *Scope) error {
	var b sigstoreBundle
	if err := unmarshalJSON(file, &b); err != nil {
		return err
	}
	if err := b.check(key); err != nil {
		return err
	}
	want, err := json.Marshal(newStatement(manifest, s))
	if err != nil {
		return fmt.Errorf("encode statement: %w", err)
	}
	if !bytes.Equal(b.Envelope.Payload, want) {
		return fmt.Errorf("the statement is not about this list of files: %w", ErrEnvelope)
	}
	return nil
}

// statementSigner is the key that a statement.sigstore.json says has signed it; zero if the file is not in its format.
func statementSigner(file []byte) signer.KeyID {
	var b sigstoreBundle
	if unmarshalJSON(file, &b) != nil {
		return signer.KeyID{}
	}
	return b.VerificationMaterial.PublicKey.Hint
}

// check holds the bundle to its type and its envelope. The key is named by the hint alone: Sigstore's own key ids are others,
// and a signature with a foreign one does not count there.
func (b *sigstoreBundle) check(key *signer.ExportKey) error {
	switch {
	case b.MediaType != typeSigstore:
		return fmt.Errorf("media type %q, want %q: %w", b.MediaType, typeSigstore, ErrEnvelope)
	case len(b.Envelope.Signatures) != 1 || b.Envelope.Signatures[0].KeyID != nil:
		return fmt.Errorf("not one signature without a key id: %w", ErrEnvelope)
	case b.VerificationMaterial.Timestamps != nil && len(b.VerificationMaterial.Timestamps.RFC3161) != 1:
		return fmt.Errorf("not one time stamp: %w", ErrEnvelope)
	}
	return b.Envelope.check(PayloadTypeStatement, b.VerificationMaterial.PublicKey.Hint, key)
}

// handling is one line of custody.jsonl: what a person did with the evidence, with which tool.
type handling struct {
	Version int        `json:"version"` // 1
	At      Instant    `json:"at"`
	Actor   string     `json:"actor"`
	Action  string     `json:"action"` // "exported"
	Purpose string     `json:"purpose"`
	Tool    string     `json:"tool"`
	Digest  chain.Hash `json:"tool_sha256"` // of the program; zeros if unknown
	Scope   chain.Hash `json:"scope_sha256"`
	Prev    chain.Hash `json:"prev_sha256"` // of the line before, without its newline; zeros in the first
}

const actionExported = "exported"

// makeCustodyFile returns custody.jsonl with its first line.
func makeCustodyFile(key signer.Exporter, s *Scope, scopeFile chain.Hash, t Tool) ([]byte, error) {
	payload, err := json.Marshal(handling{
		Version: 1, At: s.ExportedAt, Actor: s.Requester, Action: actionExported, Purpose: s.Purpose,
		Tool: t.Name, Digest: t.Digest, Scope: scopeFile,
	})
	if err != nil {
		return nil, fmt.Errorf("encode custody entry: %w", err)
	}
	e, err := sealEnvelope(key, PayloadTypeHandling, payload)
	if err != nil {
		return nil, err
	}
	id := key.ID()
	e.Signatures[0].KeyID = &id
	line, err := json.Marshal(e)
	return append(line, '\n'), err
}

// readCustodyFile checks each line of custody.jsonl, and the first against the scope.
func readCustodyFile(file []byte, key *signer.ExportKey, s *Scope, scopeFile chain.Hash) (list []handling, err error) {
	var prev chain.Hash
	for line := range bytes.Lines(file) {
		h, err := readHandling(bytes.TrimSuffix(line, []byte("\n")), key)
		switch {
		case err != nil:
			return list, fmt.Errorf("line %d: %w", len(list)+1, err)
		case h.Prev != prev || h.Scope != scopeFile || h.Version != 1:
			return list, fmt.Errorf("line %d: belongs elsewhere: %w", len(list)+1, ErrEnvelope)
		}
		list, prev = append(list, h), sha256Of(bytes.TrimSuffix(line, []byte("\n")))
	}
	if !bytes.HasSuffix(file, []byte("\n")) {
		return list, fmt.Errorf("no whole line: %w", ErrEnvelope)
	}
	if h := list[0]; h.Actor != s.Requester || h.Purpose != s.Purpose || h.Action != actionExported {
		return list, fmt.Errorf("line 1: not the export of this scope: %w", ErrEnvelope)
	}
	return list, nil
}

// readHandling reads one line, in its one encoding inside and outside.
func readHandling(line []byte, key *signer.ExportKey) (h handling, err error) {
	var e envelope
	if err := unmarshalLine(line, &e); err != nil {
		return h, err
	}
	if len(e.Signatures) != 1 || e.Signatures[0].KeyID == nil {
		return h, fmt.Errorf("not one signature with a key id: %w", ErrEnvelope)
	}
	if err := e.check(PayloadTypeHandling, *e.Signatures[0].KeyID, key); err != nil {
		return h, err
	}
	return h, unmarshalLine(e.Payload, &h)
}

// unmarshalLine accepts exactly what json.Marshal writes. The error is ErrJSON.
func unmarshalLine(line []byte, v any) error {
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	again, err := json.Marshal(v)
	if err != nil || !bytes.Equal(line, again) {
		return fmt.Errorf("not in its one encoding: %w", ErrJSON)
	}
	return nil
}
