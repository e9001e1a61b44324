package evidence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// exportKeyOf is the public key of an export key of the tests.
func exportKeyOf(key signer.Exporter) signer.ExportKey {
	if p256, is := key.(*signer.P256Key); is {
		return p256.Public()
	}
	return key.(*signer.Key).Public().Export()
}

// p256 is the nth ECDSA key, the same each time.
func p256(t testing.TB, n byte) *signer.P256Key {
	t.Helper()
	key, err := signer.P256FromScalar([32]byte{0: 0x2a, 31: n})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// exchange puts another export key in force.
func (w *world) exchange(key signer.Exporter) *world {
	old := w.announced
	if old == (signer.KeyID{}) {
		old = w.log.ID()
	}
	w.announce(key, old)
	w.export = key
	return w
}

// announce records that a key replaces another.
func (w *world) announce(key signer.Exporter, old signer.KeyID) {
	w.announced = key.ID()
	w.custody.say(w.custody.systemEvent(&eventv1.System{Actor: "root", Reason: "verifiers want it", Detail: &eventv1.System_ExportKey{
		ExportKey: &eventv1.ExportKeyChange{PublicKey: []byte(exportKeyOf(key)), Replaces: old[:]},
	}}))
}

// exchanged is a log in which a key on P-256 is put in force at an hour, and the range is from 08:30 to 10:30.
func exchanged(t testing.TB, hour string) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	at := func(now string) {
		if w.clock(now); now == hour {
			w.exchange(p256(t, 1))
		}
	}
	at("08:10")
	a.send(1)
	at("09:00")
	a.send(2)
	at("10:00")
	a.say(a.closing())
	at("11:00")
	w.access()
	return w
}

func exportedBy(hour string) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := exchanged(t, hour)
		return w.bundle("08:30", "10:30"), w.policy()
	}
}

// TestExportKeys: what is signed on P-256, or by a key that the log has put in force, verifies as everything else does.
func TestExportKeys(t *testing.T) {
	for name, makeIt := range map[string]func(t *testing.T) ([]byte, *Policy){
		"before the range": exportedBy("08:10"),
		"in the range":     exportedBy("09:00"),
		"after the range":  exportedBy("11:00"),
		"without a policy": func(t *testing.T) ([]byte, *Policy) { return exchanged(t, "09:00").bundle("08:30", "10:30"), nil },
		"never announced": func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			w.export = p256(t, 1)
			return w.bundle("08:30", "10:30"), w.policy()
		},
		"stamped": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00").withAuthority("Clock of Example")
			w.stamps = true
			return w.confirm().bundle("08:30", "10:30"), w.policy()
		},
		"of an instance": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			return w.exportScope(w.part("support-1", ""), ExportOptions{}), w.policy()
		},
		"the second of three": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "08:10")
			note := w.exchange(p256(t, 2)).note()
			bundle := w.exportAt(note, w.scope("08:30", "10:30"), ExportOptions{})
			policy := w.policy()
			w.clock("11:30").exchange(w.key())
			return bundle, policy
		},
		"Ed25519 again": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "08:10")
			w.clock("11:30").exchange(w.key())
			return w.bundle("08:30", "10:30"), w.policy()
		},
		"of an earlier state by a later key": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "08:10")
			note := w.note()
			w.clock("11:30").exchange(p256(t, 2))
			return w.exportAt(note, w.scope("08:30", "10:30"), ExportOptions{}), w.policy()
		},
		"changes that do not apply": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			in := w.announced
			w.announce(p256(t, 2), w.log.ID())      // which is not in force any more
			w.announce(p256(t, 1), w.system.ID())   // never was
			w.announce(p256(t, 1), p256(t, 2).ID()) // known already
			w.announce(w.log, in)                   // a key comes once
			return w.bundle("08:30", "10:30"), w.policy()
		},
		"the other signature of the pair": func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			return resealed(t, w, forger{p256(t, 1), mirrored}), w.policy()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, policy := makeIt(t)
			v := verify(t, bundle, policy)
			if v.Exit != ExitVerified && (policy != nil || v.Exit != ExitNoPolicy) {
				t.Errorf("exit %d\n%s", v.Exit, details(v))
			}
			recordVector(t, bundle, policy, v)
		})
	}
}

// forger signs as a key does, and changes the signature.
type forger struct {
	signer.Exporter
	change func(sig []byte) []byte
}

func (f forger) Sign(message []byte) ([]byte, error) {
	sig, err := f.Exporter.Sign(message)
	return f.change(sig), err
}

// impostor signs with one key in the name of another.
type impostor struct {
	signer.Exporter
	id signer.KeyID
}

func (i impostor) ID() signer.KeyID { return i.id }

// p384 signs on another curve.
type p384 struct {
	impostor
	private *ecdsa.PrivateKey
}

func (p p384) Sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return p.private.Sign(nil, digest[:], crypto.SHA256)
}

func onP384(t *testing.T, id signer.KeyID) p384 {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), append(make([]byte, 47), 7))
	if err != nil {
		t.Fatal(err)
	}
	return p384{impostor{nil, id}, private}
}

// resealed is the bundle of a log with the statement signed by somebody, and everything else as it was.
func resealed(t testing.TB, w *world, key signer.Exporter) []byte {
	t.Helper()
	files := unpack(t, w.bundle("08:30", "10:30"))
	list := make([]*staged, len(layout))
	for i, l := range layout {
		list[i] = stageBytes(files[l.name])
	}
	return sealed(t, key, list, files)
}

type ecdsaPair struct{ R, S *big.Int }

func editPair(edit func(p *ecdsaPair)) func([]byte) []byte {
	return func(sig []byte) []byte {
		var p ecdsaPair
		if _, err := asn1.Unmarshal(sig, &p); err != nil {
			panic(err)
		}
		edit(&p)
		b, err := asn1.Marshal(p)
		if err != nil {
			panic(err)
		}
		return b
	}
}

var orderP256 = elliptic.P256().Params().N

// mirrored is the other signature that everybody can make of one.
var mirrored = editPair(func(p *ecdsaPair) { p.S.Sub(orderP256, p.S) })

// TestExportKeyAttacks: another key, curve, algorithm or encoding, or a key that the log has replaced.
func TestExportKeyAttacks(t *testing.T) {
	signed := func(by func(t *testing.T, w *world) signer.Exporter) attack {
		return attack{CheckEnvelope, ExitEnvelope, func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			return resealed(t, w, by(t, w)), w.policy()
		}}
	}
	changed := func(change func([]byte) []byte) attack {
		return signed(func(_ *testing.T, w *world) signer.Exporter { return forger{w.export, change} })
	}
	replaced := func(make func(t *testing.T) ([]byte, *Policy)) attack { return attack{CheckKey, ExitKeys, make} }
	runAttacks(t, map[string]attack{
		"another key":             signed(func(t *testing.T, _ *world) signer.Exporter { return p256(t, 2) }),
		"another key in its name": signed(func(t *testing.T, w *world) signer.Exporter { return impostor{p256(t, 2), w.export.ID()} }),
		"another curve":           signed(func(t *testing.T, w *world) signer.Exporter { return onP384(t, w.export.ID()) }),
		"signed with Ed25519 in the name of P-256": signed(func(_ *testing.T, w *world) signer.Exporter { return impostor{w.log, w.export.ID()} }),
		"signed on P-256 in the name of Ed25519": {CheckEnvelope, ExitEnvelope, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			return resealed(t, w, impostor{p256(t, 1), w.export.ID()}), w.policy()
		}},
		"altered":           changed(func(sig []byte) []byte { return flipLast(sig) }),
		"trailing byte":     changed(func(sig []byte) []byte { return append(sig, 0) }),
		"cut":               changed(func(sig []byte) []byte { return sig[:len(sig)-1] }),
		"a long length":     changed(func(sig []byte) []byte { return append([]byte{0x30, 0x81}, sig[1:]...) }),
		"no DER":            changed(func(sig []byte) []byte { return sig[len(sig)-64:] }),
		"r is 0":            changed(editPair(func(p *ecdsaPair) { p.R.SetInt64(0) })),
		"s above the order": changed(editPair(func(p *ecdsaPair) { p.S.Add(p.S, orderP256) })),
		"s negative":        changed(editPair(func(p *ecdsaPair) { p.S.Neg(p.S) })),
		"handled by another algorithm": {CheckCustody, ExitReport, func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			files := unpack(t, w.bundle("08:30", "10:30"))
			by := unpack(t, pack(t, impostor{w.log, w.export.ID()}, files))
			return packAs(t, w.export, files, by[fileCustody]), w.policy()
		}},
		"replaced before the range": replaced(func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "08:10")
			w.export = w.log
			return w.bundle("08:30", "10:30"), w.policy()
		}),
		"replaced in the range": replaced(func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			w.clock("11:30").exchange(p256(t, 2))
			w.export = w.log
			return w.bundle("08:30", "10:30"), w.policy()
		}),
		"replaced after the range": replaced(func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "08:10")
			w.clock("11:30").exchange(p256(t, 2))
			w.export = p256(t, 1)
			return w.bundle("08:30", "10:30"), w.policy()
		}),
		"replaced, of an instance": replaced(func(t *testing.T) ([]byte, *Policy) {
			w := exchanged(t, "09:00")
			w.export = w.log
			return w.exportScope(w.part("support-1", ""), ExportOptions{}), w.policy()
		}),
	})
}

// TestReplacedExportKeyWithoutPolicy: that the log has replaced the key that the statement names shows without a policy too.
func TestReplacedExportKeyWithoutPolicy(t *testing.T) {
	w := exchanged(t, "09:00")
	w.export = w.log
	bundle := w.bundle("08:30", "10:30")
	if v := verify(t, bundle, nil); v.Check(CheckKey).Result != Failed || v.Exit != ExitKeys {
		t.Errorf("exit %d\n%s", v.Exit, details(v))
	}
	files := unpack(t, bundle)
	files[fileStatement] = files[fileStatement][1:]
	if statementSigner(files[fileStatement]) != (signer.KeyID{}) {
		t.Error("a statement that cannot be read names a key")
	}
}

// TestIsolationOnP256: statements of isolation are by the same key.
func TestIsolationOnP256(t *testing.T) {
	w := house(t)
	w.exchange(p256(t, 1))
	file := w.statement(w, "08:30", "10:30", connections(t, w)...)
	if v := w.isolation(t, file, nil); v.Exit != ExitVerified {
		t.Errorf("exit %d\n%s", v.Exit, v.Text())
	}
	forged := w.resigned(forger{w.export, func(sig []byte) []byte { return append(sig, 0) }}, file, func(*Isolation) {})
	if v := w.isolation(t, forged, nil); v.Exit != ExitEnvelope {
		t.Errorf("trailing byte: exit %d\n%s", v.Exit, v.Text())
	}
}

// TestPolicyWithAnExportKeyOnP256: in its one encoding, on its one curve.
func TestPolicyWithAnExportKeyOnP256(t *testing.T) {
	w := newWorld(t, "acme")
	w.export = p256(t, 1)
	b, err := w.policy().Marshal()
	w.must(err)
	p, err := ParsePolicy(b)
	if err != nil || p.ExportKey != p256(t, 1).Public() {
		t.Fatalf("%s: %v", b, err)
	}
	key := p.ExportKey.String()
	point := key[54:]
	for name, other := range map[string]string{
		"upper case": strings.ToUpper(key), "the point alone": "04" + point, "coordinates alone": point, "another curve": strings.Replace(key, "0301070342", "0301080342", 1),
		"compressed": key[:52] + "02" + point[:64], "compressed in place": key[:52] + "02" + point, "infinity": key[:52] + "00", "not on the curve": key[:len(key)-2] + "00",
		"longer": key + "00", "shorter": key[:len(key)-2], "half a byte": key[:len(key)-1], "empty": "", "no key": strings.Repeat("0", 182),
	} {
		if _, err := ParsePolicy([]byte(strings.Replace(string(b), key, other, 1))); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
