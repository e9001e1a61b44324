package evidence

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
)

// others are who confirms a world's checkpoints.
type others struct {
	witnesses []*signer.Key // whom the policy names
	quorum    string        // lines of the policy after the witnesses
	authority *authority    // nil if there is none
	roots     [][]byte      // what the policy pins
	stamps    bool          // the authority stamps exports too
	misstamp  bool          // it stamps something else

	confirmed *confirmed // newest
	earlier   []confirmed
}

// confirmed is a checkpoint that others have confirmed.
type confirmed struct {
	Anchor
	size chain.Index
}

// name is the key name of the witness at a place.
func witnessName(i int) string { return fmt.Sprintf("witness.example/w%d", i+1) }

// withWitnesses names n witnesses of which k must confirm.
func (w *world) withWitnesses(k, n int) *world {
	names := make([]string, n)
	for i := range n {
		w.witnesses = append(w.witnesses, w.key())
		names[i] = fmt.Sprintf("w%d", i+1)
	}
	w.quorum = fmt.Sprintf("group all %d %s\nquorum all", k, strings.Join(names, " "))
	return w
}

// trust adds to a policy whom it names besides the operator.
func (w *world) trust(p *Policy) {
	for i, k := range w.witnesses {
		p.Witnesses = append(p.Witnesses, fmt.Sprintf("witness w%d %s", i+1, signer.CosignatureVKey(witnessName(i), k.Public())))
	}
	if len(w.witnesses) > 0 {
		p.Witnesses = append(p.Witnesses, strings.Split(w.quorum, "\n")...)
	}
	p.TimestampRoots = slices.Clone(w.roots) // whoever edits a policy edits no other
}

// line is a witness's cosignature of a note at the time of the world.
func (w *world) line(k *signer.Key, name string, note []byte) []byte {
	line, err := signer.CosignLine(k, name, int64(w.now)/1e9, note)
	w.must(err)
	return line
}

// confirm has the log's present state confirmed by witnesses, by their places, and by the authority if there is one.
func (w *world) confirm(places ...int) *world {
	note, err := w.checkpoint()
	w.must(err)
	for _, i := range places {
		note = append(note, w.line(w.witnesses[i], witnessName(i), note)...)
	}
	return w.confirmedAs(note)
}

// confirmedAs takes a note for the newest that others have confirmed.
func (w *world) confirmedAs(note []byte) *world {
	if w.confirmed != nil {
		w.earlier = append(w.earlier, *w.confirmed)
	}
	w.confirmed = &confirmed{Anchor{Note: note}, w.chain.Size()}
	if w.authority != nil {
		w.confirmed.Timestamp = w.authority.stamp(w, note)
	}
	return w
}

// Timestamp implements AnchorReader.
func (w *world) Timestamp(context.Context) ([]byte, error) {
	if w.confirmed != nil && w.confirmed.size == w.chain.Size() {
		return w.confirmed.Timestamp, nil
	}
	return nil, nil
}

// Anchors implements AnchorReader.
func (w *world) Anchors(_ context.Context, begin, size chain.Index) (list []Anchor, err error) {
	all := w.earlier
	if w.confirmed != nil && w.confirmed.size < w.chain.Size() {
		all = append(all, *w.confirmed)
	}
	for i, c := range all {
		newest := i+1 == len(all) || all[i+1].size > begin
		if c.size <= size && (c.size > begin || newest) {
			list = append(list, c.Anchor)
		}
	}
	return list, nil
}

// authority stamps. Its certificates are made for each test.
type authority struct {
	key    *ecdsa.PrivateKey
	root   ed25519.PrivateKey
	lists  []*x509.RevocationList // go into its stamps
	chain  []*x509.Certificate
	policy asn1.ObjectIdentifier
	skew   time.Duration
	serial int64
}

// newAuthority makes an authority under a root of its own; purpose 8 is time stamping. The same world makes the same: the root's key is
// Ed25519, and the other's signatures are those of RFC 6979.
func newAuthority(w *world, name string, purpose int) *authority {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, purpose}})
	w.must(err)
	above := ed25519.NewKeyFromSeed(w.bytes(ed25519.SeedSize))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), w.bytes(32))
	w.must(err)
	top := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name + " root"}, NotBefore: day.AddDate(-1, 0, 0), NotAfter: day.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte("root"),
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: day.AddDate(0, -1, 0), NotAfter: day.AddDate(0, 1, 0),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	a := &authority{key: key, root: above, policy: asn1.ObjectIdentifier{1, 2, 3}}
	for _, c := range []struct {
		certificate *x509.Certificate
		public      any
	}{{own, key.Public()}, {top, above.Public()}} {
		der, err := x509.CreateCertificate(rand.Reader, c.certificate, top, c.public, above)
		w.must(err)
		parsed, err := x509.ParseCertificate(der)
		w.must(err)
		a.chain = append(a.chain, parsed)
	}
	return a
}

// withAuthority has checkpoints stamped by an authority that the policy names.
func (w *world) withAuthority(name string) *world {
	w.authority = newAuthority(w, name, 8)
	w.roots = [][]byte{w.authority.chain[1].Raw}
	return w
}

// stampExport is a Stamper.
func (w *world) stampExport(_ context.Context, message []byte) ([]byte, error) {
	if w.misstamp {
		message = []byte("something else")
	}
	return w.authority.stamp(w, message), nil
}

func (a *authority) stamp(w *world, message []byte) []byte {
	query, err := timestamp.NewRequest(message, nil)
	w.must(err)
	a.serial++
	der, err := timestamp.Make(query, timestamp.Maker{
		Key: a.key, Certificates: a.chain, Serial: big.NewInt(a.serial), Time: time.Unix(0, int64(w.now)).Add(a.skew), Policy: a.policy,
		RevocationLists: a.lists,
	})
	w.must(err)
	return der
}

// list is what the root says of the certificates that it has revoked: the authority's own, for a reason (RFC 5280 section 5.3.1), or none if that is 0.
func (a *authority) list(w *world, made time.Time, reason int) *x509.RevocationList {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: made, NextUpdate: made.AddDate(0, 0, 7)}
	if reason > 0 {
		template.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: a.chain[0].SerialNumber, RevocationTime: made, ReasonCode: reason}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.chain[1], a.root)
	w.must(err)
	list, err := timestamp.ParseRevocationList(der)
	w.must(err)
	return list
}

// listed has stamps carry the list that was made some days after the day of the test.
func (w *world) listed(days, reason int) *world {
	w.authority.lists = append(w.authority.lists, w.authority.list(w, day.AddDate(0, 0, days), reason))
	return w
}
