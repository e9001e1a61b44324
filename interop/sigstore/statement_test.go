//go:build interop

package sigstore

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// vectors are bundles with the policies that go with them.
const vectors = "../../evidence/testdata/vectors/"

// Of these vectors the statement has no time stamp, or one by the authority of its policy; it is signed with Ed25519, or with ECDSA on P-256.
const (
	plain       = "honest-complete"
	stamped     = "honest-witnessed"
	plainP256   = "exportkeys-in-the-range"
	stampedP256 = "exportkeys-stamped"
)

// evidence is what an auditor has: the files of a bundle, and the policy that came on another way.
type evidence struct {
	statement, manifest, other []byte
	key                        crypto.PublicKey
	roots                      []*x509.Certificate
}

// load reads a vector with nothing but the standard library.
func load(t *testing.T, name string) (e evidence) {
	t.Helper()
	archive, err := zip.OpenReader(vectors + name + ".evb")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for file, into := range map[string]*[]byte{"statement.sigstore.json": &e.statement, "manifest.json": &e.manifest, "scope.json": &e.other} {
		f, err := archive.Open(file)
		if err == nil {
			*into, err = io.ReadAll(f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.readPolicy(t, name)
	return e
}

func (e *evidence) readPolicy(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(vectors + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Policy struct {
			ExportKey string   `json:"export_key"`
			Roots     []string `json:"timestamp_roots"`
		} `json:"policy"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(v.Policy.ExportKey)
	if e.key = ed25519.PublicKey(key); err == nil && len(key) != ed25519.PublicKeySize {
		e.key, err = x509.ParsePKIXPublicKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, encoded := range v.Policy.Roots {
		der, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		e.roots = append(e.roots, c)
	}
}

// authorities are time-stamp authorities that anchor trust.
type authorities struct {
	root.BaseTrustedMaterial
	list []root.TimestampingAuthority
}

func (a *authorities) TimestampingAuthorities() []root.TimestampingAuthority { return a.list }

// trusted is what the policy says, as sigstore-go takes it.
func (e *evidence) trusted(t *testing.T) root.TrustedMaterialCollection {
	t.Helper()
	verifier, err := signature.LoadVerifier(e.key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	always := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
	stamps := &authorities{}
	for _, c := range e.roots {
		stamps.list = append(stamps.list, &root.SigstoreTimestampingAuthority{Root: c, ValidityPeriodStart: c.NotBefore, ValidityPeriodEnd: c.NotAfter})
	}
	keys := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return always, nil })
	return root.TrustedMaterialCollection{keys, stamps}
}

// verify has sigstore-go verify the statement over an artifact.
func (e *evidence) verify(t *testing.T, artifact []byte, how verify.VerifierOption) (*verify.VerificationResult, error) {
	t.Helper()
	var b bundle.Bundle
	if err := b.UnmarshalJSON(e.statement); err != nil {
		t.Fatal(err)
	}
	v, err := verify.NewVerifier(e.trusted(t), how)
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify(&b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(artifact)), verify.WithKey()))
}

func TestStatement(t *testing.T) {
	t.Run("Ed25519", func(t *testing.T) { statement(t, plain) })
	t.Run("P-256", func(t *testing.T) { statement(t, plainP256) })
}

func statement(t *testing.T, vector string) {
	t.Helper()
	e := load(t, vector)
	found, err := e.verify(t, e.manifest, verify.WithNoObserverTimestamps())
	if err != nil {
		t.Fatal(err)
	}
	if found.Statement.GetSubject()[0].GetName() != "manifest.json" {
		t.Errorf("the statement is about %v", found.Statement.GetSubject())
	}
	if _, err := e.verify(t, e.other, verify.WithNoObserverTimestamps()); err == nil {
		t.Error("another file is taken for the one that the statement is about")
	}
	if _, err := e.verify(t, e.manifest, verify.WithSignedTimestamps(1)); err == nil {
		t.Error("a time stamp is found where there is none")
	}
	for _, other := range []string{"foreignpolicies-another-export-key", "exportkeys-of-an-earlier-state-by-a-later-key"} {
		e.readPolicy(t, other)
		if _, err := e.verify(t, e.manifest, verify.WithNoObserverTimestamps()); err == nil {
			t.Errorf("the key of %s verifies the statement", other)
		}
	}
}

func TestStampedStatement(t *testing.T) {
	t.Run("Ed25519", func(t *testing.T) { stampedStatement(t, stamped) })
	t.Run("P-256", func(t *testing.T) { stampedStatement(t, stampedP256) })
}

func stampedStatement(t *testing.T, vector string) {
	t.Helper()
	e := load(t, vector)
	found, err := e.verify(t, e.manifest, verify.WithSignedTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	if len(found.VerifiedTimestamps) != 1 || found.VerifiedTimestamps[0].Type != "TimestampAuthority" {
		t.Errorf("verified time stamps: %+v", found.VerifiedTimestamps)
	}
	wrong := load(t, "timestampattacks-of-another-signature")
	if _, err := wrong.verify(t, wrong.manifest, verify.WithSignedTimestamps(1)); err == nil {
		t.Error("a time stamp of another signature counts")
	}
	e.roots = nil
	if _, err := e.verify(t, e.manifest, verify.WithSignedTimestamps(1)); err == nil {
		t.Error("a time stamp of an authority that nobody trusts counts")
	}
}
