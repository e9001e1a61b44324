package evidence

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// An attack is made from something good, and names the check that must fail. exit is the program's exit code, which
// is that of the first class in which anything failed.
type attack struct {
	check string
	exit  int
	make  func(t *testing.T) ([]byte, *Policy)
}

func runAttacks(t *testing.T, attacks map[string]attack) {
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			bundle, policy, v := a.run(t)
			recordVector(t, bundle, policy, v, a.check)
		})
	}
}

// run verifies the bundle and holds the verdict to what must come out.
func (a *attack) run(t *testing.T) ([]byte, *Policy, Verdict) {
	bundle, policy := a.make(t)
	v := verify(t, bundle, policy)
	if c := v.Check(a.check); c.Result != Failed {
		t.Errorf("%s: %s\n%s", a.check, c.Result, details(v))
	}
	if v.Exit != a.exit {
		t.Errorf("exit %d, want %d\n%s", v.Exit, a.exit, details(v))
	}
	if v.Authenticity == Authentic || v.Completeness != NoClaim {
		t.Errorf("authenticity %s, completeness %s", v.Authenticity, v.Completeness)
	}
	return bundle, policy, v
}

// The auditor holds another policy than the bundle's.
func TestForeignPolicies(t *testing.T) {
	policy := func(edit func(p *Policy, stranger signer.PublicKey)) func(*testing.T) ([]byte, *Policy) {
		return func(t *testing.T) ([]byte, *Policy) {
			w := morning(t)
			p := w.policy()
			edit(p, w.key().Public())
			return w.bundle("08:30", "11:00"), p
		}
	}
	runAttacks(t, map[string]attack{
		"another tenant's policy": {CheckPolicy, ExitPolicy, func(t *testing.T) ([]byte, *Policy) {
			return morning(t).bundle("08:30", "11:00"), newWorld(t, "umbrella").policy()
		}},
		"another tenant, same keys": {CheckPolicy, ExitPolicy, policy(func(p *Policy, _ signer.PublicKey) { p.Tenant = "umbrella" })},
		"another export key":        {CheckEnvelope, ExitEnvelope, policy(func(p *Policy, k signer.PublicKey) { p.ExportKey = k.Export() })},
		"another log key": {CheckCheckpoint, ExitCheckpoint, policy(func(p *Policy, k signer.PublicKey) {
			p.LogKey = signer.VKey(p.Origin, k)
		})},
		"another system key": {CheckGenesis, ExitKeys, policy(func(p *Policy, k signer.PublicKey) { p.SystemKey = k })},
	})
}

// records splits and joins files of records.
func splitRecords(file []byte) (list [][]byte) {
	for len(file) > 0 {
		n := 4 + int(binary.BigEndian.Uint32(file))
		list, file = append(list, file[4:n]), file[n:]
	}
	return list
}

func joinRecords(list [][]byte) (file []byte) {
	for _, r := range list {
		file = appendRecord(file, func(b []byte) []byte { return append(b, r...) })
	}
	return file
}

// exporter is an attack by somebody who holds the export key, and changes the files of a good bundle.
func exporter(check string, exit int, edit func(files map[string][]byte)) attack {
	return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
		w := exported(t)
		return repack(t, w.export, w.bundle("08:30", "10:30"), edit), w.policy()
	}}
}

// exported has what exporters can lie about: leaves 5 to 8 and 10 to 13 are an agent's, 9 and 14 Custody's.
func exported(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	a.send(1)
	w.clock("09:00")
	a.send(2)
	a.send(2)
	w.access()
	e := a.call("person-1", "arguments")
	a.seal(e, "result", "person-2", "result of it")
	a.batch([]*eventv1.Event{e, a.call("person-2", "arguments"), a.call("person-2", "more"), a.closing()})
	w.erase("person-1")
	w.clock("11:00").access()
	return w
}

// editRecord changes one record of a file.
func editRecord(name string, i int, edit func([]byte) []byte) func(map[string][]byte) {
	return editRecords(name, func(list [][]byte) [][]byte {
		list[i] = edit(slices.Clone(list[i]))
		return list
	})
}

func editRecords(name string, edit func([][]byte) [][]byte) func(map[string][]byte) {
	return func(files map[string][]byte) { files[name] = joinRecords(edit(splitRecords(files[name]))) }
}

func flipLast(b []byte) []byte {
	b[len(b)-1] ^= 1
	return b
}

func swap(i, j int) func([][]byte) [][]byte {
	return func(list [][]byte) [][]byte {
		list[i], list[j] = list[j], list[i]
		return list
	}
}

func without(i int) func([][]byte) [][]byte {
	return func(list [][]byte) [][]byte { return slices.Delete(list, i, i+1) }
}

// editLeaf changes one of the leaves that are shown, of which the first is the one before the range.
func editLeaf(i int, edit func(leaf []byte)) func(map[string][]byte) {
	return func(files map[string][]byte) { edit(files[fileLeaves][i*chain.LeafSize:][:chain.LeafSize]) }
}

// editOpening changes the record of one sealed field.
func editOpening(i int, edit func(*openingRecord)) func(map[string][]byte) {
	return editRecord(fileOpenings, i, func(b []byte) []byte {
		o, _ := parseOpeningRecord(b)
		edit(&o)
		return o.append(nil)
	})
}

func editProven(name string, i int, edit func(*provenRecord)) func(map[string][]byte) {
	return editRecord(name, i, func(b []byte) []byte {
		r, _ := parseProvenRecord(b)
		edit(&r)
		return r.append(nil)
	})
}

func replace(name, old, replacement string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		files[name] = bytes.Replace(files[name], []byte(old), []byte(replacement), 1)
	}
}

func TestDishonestExporter(t *testing.T) {
	runAttacks(t, map[string]attack{
		"payload edited": exporter(CheckContent, ExitEvent, editRecord(fileEvents, 0, flipLast)),
		"payload edited, and the leaf with it": exporter(CheckBatch, ExitChain, func(files map[string][]byte) {
			editRecord(fileEvents, 0, flipLast)(files)
			edited := chain.EventHash(splitRecords(files[fileEvents])[0][1:])
			editLeaf(1, func(leaf []byte) { copy(leaf[151:], edited[:]) })(files)
		}),
		"payloads swapped":  exporter(CheckContent, ExitEvent, editRecords(fileEvents, swap(0, 1))),
		"leaves swapped":    exporter(CheckChain, ExitChain, swapLeaves(1, 2)),
		"a leaf edited":     exporter(CheckRange, ExitChain, editLeaf(3, func(leaf []byte) { leaf[80] ^= 1 })),
		"last leaf edited":  exporter(CheckRange, ExitChain, editLeaf(11, func(leaf []byte) { leaf[150] = byte(chain.Gap) })),
		"first leaf edited": exporter(CheckRange, ExitChain, editLeaf(0, func(leaf []byte) { leaf[150] = byte(chain.Gap) })),
		"leaf of another log": exporter(CheckChain, ExitChain, editLeaf(4, func(leaf []byte) {
			other := chain.OriginHash("example.com/custody/other")
			copy(leaf[1:], other[:])
		})),
		"leaf with an unknown verdict": exporter(CheckChain, ExitChain, editLeaf(3, func(leaf []byte) { leaf[150] = 9 })),
		"a batch dropped":              exporter(CheckFormat, ExitFormat, editRecords(fileBatches, without(1))),
		"an event dropped":             exporter(CheckContent, ExitFormat, editRecords(fileEvents, without(1))),
		"a batch repeated": exporter(CheckFormat, ExitFormat, editRecords(fileBatches, func(list [][]byte) [][]byte {
			return append(list, list[len(list)-1])
		})),
		"surplus hash on the right":  exporter(CheckRange, ExitChain, editSpan(func(s *chain.Span) { s.Right = append(s.Right, chain.Hash{}) })),
		"wrong hash on the left":     exporter(CheckRange, ExitChain, editSpan(func(s *chain.Span) { s.Left[0][0] ^= 1 })),
		"a hash on the left missing": exporter(CheckRange, ExitChain, editSpan(func(s *chain.Span) { s.Left = s.Left[1:] })),
		"range of other leaves":      exporter(CheckRange, ExitChain, replace(fileRange, `"begin": 4`, `"begin": 5`)),
		"statement edited":           exporter(CheckSignature, ExitSignature, editRecord(fileBatches, 0, func(b []byte) []byte { b[11+150] ^= 1; return b })),
		"signature edited":           exporter(CheckSignature, ExitSignature, editRecord(fileBatches, 0, flipLast)),
		"signature of another batch": exporter(CheckSignature, ExitSignature, editRecords(fileBatches, func(list [][]byte) [][]byte {
			copy(list[0][len(list[0])-64:], list[1][len(list[1])-64:])
			return list
		})),
		"opening edited": exporter(CheckOpening, ExitOpening, editRecord(fileOpenings, 0, flipLast)),
		"salt edited":    exporter(CheckOpening, ExitOpening, editOpening(1, func(o *openingRecord) { o.salt[0] ^= 1 })),
		"openings swapped between events": exporter(CheckOpening, ExitOpening, editRecords(fileOpenings, func(list [][]byte) [][]byte {
			a, _ := parseOpeningRecord(list[0])
			b, _ := parseOpeningRecord(list[1])
			a.index, b.index = b.index, a.index
			return append([][]byte{b.append(nil), a.append(nil)}, list[2:]...)
		})),
		"an opening dropped":          exporter(CheckRedactions, ExitReport, editRecords(fileOpenings, without(1))),
		"openings out of order":       exporter(CheckFormat, ExitFormat, editRecords(fileOpenings, swap(0, 1))),
		"opening of no field":         exporter(CheckRedactions, ExitReport, editOpening(5, func(o *openingRecord) { o.field = 7 })),
		"withheld for no reason":      exporter(CheckRedactions, ExitReport, editOpening(0, func(o *openingRecord) { o.state, o.reason = stateWithheld, 9 })),
		"disclosed shown as erased":   exporter(CheckErasure, ExitOpening, editOpening(0, erasedBy(9, 1))),
		"tombstone of another person": exporter(CheckErasure, ExitOpening, editOpening(5, erasedBy(14, 1))),
		"tombstone too old":           exporter(CheckErasure, ExitOpening, editOpening(4, erasedBy(14, 2))),
		"tombstone that is none":      exporter(CheckErasure, ExitOpening, editOpening(4, erasedBy(10, 1))),
		"tombstone that is not there": exporter(CheckErasure, ExitOpening, editOpening(4, erasedBy(99, 1))),
		"tombstones miscounted":       exporter(CheckRedactions, ExitReport, replace(fileRedactions, `"leaf": 14`, `"leaf": 13`)),
		"an event held that is not": exporter(CheckEvent, ExitEvent, func(files map[string][]byte) {
			editRecord(fileEvents, 0, func([]byte) []byte { return []byte{byte(stateHeld)} })(files)
			editRecords(fileOpenings, without(0))(files)
		}),
		"Custody's own record withheld": exporter(CheckAdmission, ExitKeys, editRecord(fileEvents, 4, func([]byte) []byte {
			return []byte{byte(stateExpired)}
		})),
		"count of what is erased changed": exporter(CheckRedactions, ExitReport, replace(fileRedactions, `"erased": 1`, `"erased": 0`)),
		"claims changed":                  exporter(CheckRedactions, ExitReport, replace(fileManifest, `"fields_erased": 1`, `"fields_erased": 0`)),
		"account of producers changed":    exporter(CheckEmitters, ExitReport, replace(fileEmitters, `"ends": "closed"`, `"ends": "open"`)),
		"time window moved":               exporter(CheckBoundaries, ExitBoundary, replace(fileScope, "08:30", "06:30")),
		"time window widened":             exporter(CheckBoundaries, ExitBoundary, replace(fileScope, "10:30", "11:30")),
		"tenant renamed":                  exporter(CheckPolicy, ExitPolicy, replace(fileScope, `"acme"`, `"umbrella"`)),
		"log renamed":                     exporter(CheckPolicy, ExitPolicy, replace(fileScope, "custody/acme", "custody/umbrella")),
		"key replaced in its enrolment": exporter(CheckAdmission, ExitKeys, editProven(fileKeysBefore, 2, func(r *provenRecord) {
			flipLast(r.shown[0].event)
		})),
		"an agent shown as an importer": exporter(CheckAdmission, ExitKeys, editProven(fileKeysBefore, 2, func(r *provenRecord) {
			e, _ := event.Parse(r.shown[0].event)
			e.GetSystem().GetKey().Producer = importer
			r.shown[0].event, _ = event.Marshal(e)
		})),
		"enrolment left out":       exporter(CheckKey, ExitKeys, editRecords(fileKeysBefore, without(2))),
		"genesis left out":         exporter(CheckGenesis, ExitKeys, editRecords(fileKeysBefore, without(0))),
		"proof edited":             exporter(CheckAdmission, ExitKeys, editProven(fileKeysBefore, 1, func(r *provenRecord) { r.shown[0].path[0][0] ^= 1 })),
		"proof with surplus hash":  exporter(CheckAdmission, ExitKeys, editProven(fileKeysBefore, 1, func(r *provenRecord) { r.shown[0].path = append(r.shown[0].path, chain.Hash{}) })),
		"system events reordered":  exporter(CheckAdmission, ExitKeys, editRecords(fileKeysBefore, swap(1, 2))),
		"system event repeated":    exporter(CheckAdmission, ExitKeys, editRecords(fileKeysBefore, func(list [][]byte) [][]byte { return append(list, list[2]) })),
		"system batch unsigned":    exporter(CheckAdmission, ExitKeys, editProven(fileKeysBefore, 2, func(r *provenRecord) { r.signature[9] ^= 1 })),
		"batch before left out":    exporter(CheckEmitters, ExitReport, editRecords(fileBefore, without(0))),
		"batch before unsigned":    exporter(CheckAdmission, ExitKeys, editProven(fileBefore, 1, func(r *provenRecord) { r.signature[9] ^= 1 })),
		"batch after left out":     exporter(CheckEmitters, ExitReport, editRecords(fileAfter, without(0))),
		"surplus batch before":     exporter(CheckAdmission, ExitKeys, func(files map[string][]byte) { files[fileBefore] = append(files[fileBefore], files[fileAfter]...) }),
		"checkpoint cut":           exporter(CheckFormat, ExitFormat, func(files map[string][]byte) { files[fileCheckpoint] = files[fileCheckpoint][:20] }),
		"checkpoint edited":        exporter(CheckCheckpoint, ExitCheckpoint, replace(fileCheckpoint, "\n16\n", "\n17\n")),
		"files exchanged":          exporter(CheckFormat, ExitFormat, func(f map[string][]byte) { f[fileEvents], f[fileOpenings] = f[fileOpenings], f[fileEvents] }),
		"a record that is empty":   exporter(CheckFormat, ExitFormat, editRecord(fileEvents, 1, func([]byte) []byte { return nil })),
		"a record that is cut":     exporter(CheckFormat, ExitFormat, func(f map[string][]byte) { f[fileEvents] = f[fileEvents][:len(f[fileEvents])-1] }),
		"a record that is huge":    exporter(CheckFormat, ExitFormat, func(f map[string][]byte) { f[fileEvents][0] = 0xff }),
		"trailing record":          exporter(CheckFormat, ExitFormat, func(f map[string][]byte) { f[fileEvents] = append(f[fileEvents], 0, 0, 0, 1, 2) }),
		"a leaf too many":          exporter(CheckFormat, ExitFormat, func(f map[string][]byte) { f[fileLeaves] = append(f[fileLeaves], f[fileLeaves][:183]...) }),
		"JSON with an unknown key": exporter(CheckFormat, ExitFormat, replace(fileScope, `"version": 1,`, `"version": 1, "x": 2,`)),
		"JSON with a repeated key": exporter(CheckFormat, ExitFormat, replace(fileRedactions, `"version": 1,`, `"version": 1, "version": 1,`)),
	})
}

func editSpan(edit func(*chain.Span)) func(map[string][]byte) {
	return func(files map[string][]byte) {
		var s chain.Span
		_ = unmarshalJSON(files[fileRange], &s)
		edit(&s)
		files[fileRange], _ = marshalJSON(s)
	}
}

func swapLeaves(i, j int) func(map[string][]byte) {
	return func(files map[string][]byte) {
		a, b := files[fileLeaves][i*chain.LeafSize:][:chain.LeafSize], files[fileLeaves][j*chain.LeafSize:][:chain.LeafSize]
		kept := bytes.Clone(a)
		copy(a, b)
		copy(b, kept)
	}
}

func erasedBy(tombstone chain.Index, generation uint32) func(*openingRecord) {
	return func(o *openingRecord) { o.state, o.tombstone, o.generation = stateErased, tombstone, generation }
}

// Exporters who read the log narrowly, or sign what is not theirs.
func TestDishonestExports(t *testing.T) {
	narrowed := func(begin, end chain.Index) func(*testing.T) ([]byte, *Policy) {
		return func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			var b bytes.Buffer
			_, err := Export(context.Background(), &b, cut{w, begin, end}, w.scope("08:30", "10:30"), w.export, ExportOptions{Dir: t.TempDir(), Frameworks: noFrameworks})
			w.must(err)
			return b.Bytes(), w.policy()
		}
	}
	runAttacks(t, map[string]attack{
		"head cut":       {CheckBoundaries, ExitBoundary, narrowed(7, 15)},
		"tail cut":       {CheckBoundaries, ExitBoundary, narrowed(5, 14)},
		"nothing shown":  {CheckBoundaries, ExitBoundary, narrowed(5, 5)},
		"too much shown": {CheckBoundaries, ExitBoundary, narrowed(4, 15)},
		"signed by a stranger": {CheckEnvelope, ExitEnvelope, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			policy := w.policy()
			w.export = w.key()
			return w.bundle("08:30", "10:30"), policy
		}},
		"the account of who exported is of another bundle": {CheckCustody, ExitReport, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			other := unpack(t, w.bundle("08:30", "10:15"))
			bundle := unpack(t, w.bundle("08:30", "10:30"))
			return packAs(t, w.export, bundle, other[fileCustody]), w.policy()
		}},
		"the account of who exported is signed by a stranger": {CheckCustody, ExitReport, func(t *testing.T) ([]byte, *Policy) {
			w := exported(t)
			bundle := unpack(t, w.bundle("08:30", "10:30"))
			scope, _ := parseScope(bundle[fileScope])
			custody, err := makeCustodyFile(w.key(), scope, sha256Of(bundle[fileScope]), Tool{})
			w.must(err)
			return packAs(t, w.export, bundle, custody), w.policy()
		}},
		"spliced from another tenant": {CheckCheckpoint, ExitCheckpoint, func(t *testing.T) ([]byte, *Policy) {
			w, other := exported(t), newWorld(t, "umbrella")
			a := other.agent("support-1")
			other.clock("09:00")
			a.send(10)
			other.clock("11:00").access()
			foreign := unpack(t, other.bundle("08:30", "10:30"))
			return repack(t, w.export, w.bundle("08:30", "10:30"), func(files map[string][]byte) {
				for _, name := range []string{fileCheckpoint, fileLeaves, fileRange, fileBatches, fileEvents, fileOpenings} {
					files[name] = foreign[name]
				}
			}), w.policy()
		}},
	})
}

// liar is an attack by whoever keeps the log: leaves, state and bundle are right as seen from outside.
func liar(check string, exit int, tell func(w *world, a *sender)) attack {
	return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		a.send(2)
		tell(w, a)
		w.clock("11:00").access()
		return w.bundle("08:30", "10:00"), w.policy()
	}}
}

func TestDishonestLog(t *testing.T) {
	other := func(w *world) *sender { return w.agent("billing-1") }
	runAttacks(t, map[string]attack{
		"batch signed by another key": liar(CheckSignature, ExitSignature, func(w *world, a *sender) {
			a.send(1, signedBy(w.key()))
		}),
		"signature of another type": liar(CheckSignature, ExitSignature, func(_ *world, a *sender) {
			a.send(1, func(d *draft) { d.payload = PayloadTypeStatement })
		}),
		"payloads are not those that were signed": liar(CheckBatch, ExitEvent, func(w *world, a *sender) {
			a.send(1, stating(func(s *eventv1.BatchStatement) { s.EventRoot = w.bytes(32) }))
		}),
		"key never admitted": liar(CheckKey, ExitKeys, func(w *world, _ *sender) {
			w.sender("support-1", w.key()).send(1, judged(chain.Accepted))
		}),
		"revoked key accepted": liar(CheckKey, ExitKeys, func(w *world, a *sender) {
			w.revoke(a, 0)
			a.send(2, judged(chain.Accepted))
		}),
		"good key refused": liar(CheckVerdict, ExitVerdict, func(_ *world, a *sender) { a.send(1, judged(chain.KeyInvalid)) }),
		"batch of another instance": liar(CheckKey, ExitKeys, func(w *world, a *sender) {
			b := other(w)
			b.key = a.key
			b.send(1, judged(chain.Accepted))
		}),
		"batch of another tenant": liar(CheckKey, ExitKeys, func(_ *world, a *sender) {
			e := a.call("person-1", "x")
			e.Tenant = "umbrella"
			a.batch([]*eventv1.Event{e}, stating(func(s *eventv1.BatchStatement) { s.Tenant = "umbrella" }))
		}),
		"event of another instance": liar(CheckEvent, ExitEvent, func(_ *world, a *sender) {
			e := a.call("person-1", "x")
			e.Instance = "billing-1"
			a.batch([]*eventv1.Event{e})
		}),
		"filed under another instance": liar(CheckTag, ExitVerdict, func(w *world, a *sender) {
			other(w)
			a.send(1, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Instance = w.tag("billing-1") } })
		}),
		"filed as another kind": liar(CheckEvent, ExitEvent, func(_ *world, a *sender) {
			a.send(1, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Kind = chain.KindData } })
		}),
		"an event filed as none": liar(CheckVerdict, ExitEvent, func(_ *world, a *sender) {
			a.send(1, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Kind = chain.KindNone } })
		}),
		"gap in the middle of a batch": liar(CheckVerdict, ExitVerdict, func(_ *world, a *sender) {
			a.send(2, func(d *draft) {
				d.leaf = func(e *chain.Entry) {
					if e.Position == 1 {
						e.Verdict = chain.Gap
					}
				}
			})
		}),
		"late in the middle of a batch": liar(CheckVerdict, ExitVerdict, func(_ *world, a *sender) {
			a.send(2, func(d *draft) {
				d.leaf = func(e *chain.Entry) {
					if e.Position == 1 {
						e.Verdict = chain.Late
					}
				}
			})
		}),
		"places in the batch swapped": liar(CheckBatch, ExitEvent, func(_ *world, a *sender) {
			a.send(2, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Position = 1 - e.Position } })
		}),
		"gap not recorded": liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) { a.send(1, lost).send(1, judged(chain.Accepted)) }),
		"gap that is none": liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) { a.send(1, judged(chain.Gap)) }),
		"late that is not": liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) { a.send(1, judged(chain.Late)) }),
		"late not recorded": liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) {
			fill := a.late(1)
			a.send(1)
			fill()
			a.send(1, reusing(a), judged(chain.Accepted))
		}),
		"second story as late":      liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) { a.send(1, reusing(a), judged(chain.Late)) }),
		"second story that is none": liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) { a.send(1, judged(chain.Equivocation)) }),
		"late batch twice": liar(CheckNumbering, ExitVerdict, func(_ *world, a *sender) {
			fill := a.late(2)
			a.send(1)
			fill()
			fill()
		}),
		"batch replayed": liar(CheckNumbering, ExitVerdict, func(w *world, a *sender) {
			var kept *draft
			a.send(1, func(d *draft) { kept = d })
			a.batch(kept.events, func(d *draft) { *d = *kept; d.bytes, d.verdict = nil, chain.Accepted })
		}),
		"spliced after another batch": liar(CheckNumbering, ExitVerdict, func(w *world, a *sender) {
			a.send(1, stating(func(s *eventv1.BatchStatement) { s.PrevBatch = w.bytes(32) }), judged(chain.Accepted))
		}),
		"spliced from another epoch": liar(CheckNumbering, ExitVerdict, func(w *world, a *sender) {
			a.send(1, stating(func(s *eventv1.BatchStatement) { s.Epoch = w.bytes(16) }), judged(chain.Accepted))
		}),
		"refers to the future": liar(CheckLastSeen, ExitVerdict, func(w *world, a *sender) {
			a.send(1, stating(func(s *eventv1.BatchStatement) { s.LastSeen = &eventv1.LastSeen{Index: 500, LeafHash: w.bytes(32)} }))
		}),
		"refers to another history": liar(CheckLastSeen, ExitVerdict, func(w *world, a *sender) {
			a.send(1, stating(func(s *eventv1.BatchStatement) { s.LastSeen.LeafHash = w.bytes(32) }))
		}),
		"an importer's key enrolled as an agent's": liar(CheckKey, ExitKeys, func(w *world, _ *sender) {
			s := w.sender("support-1", w.key())
			id, public := s.key.ID(), s.key.Public()
			proof, err := s.key.Sign(registry.EnrolmentMessage(w.tenant, s.instance, importer, public[:]))
			w.must(err)
			w.custody.say(w.custody.keyEvent(&eventv1.KeyChange{
				Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public[:], Instance: s.instance,
				Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Proof: proof,
			}))
			s.send(1, judged(chain.Accepted))
		}),
		"second genesis with another key": liar(CheckKey, ExitKeys, func(w *world, _ *sender) {
			w.sender("custody", w.key()).say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{
				Hold: "h", Scope: "tenant",
			}}}))
		}),
	})
}

// A whole event may be withheld, with a reason, and everything still verifies.
func TestEventsWithheld(t *testing.T) {
	w := exported(t)
	bundle := repack(t, w.export, w.bundle("08:30", "10:30"), func(files map[string][]byte) {
		editRecord(fileEvents, 0, func([]byte) []byte { return []byte{byte(stateWithheld), 0, 0} })(files)
		editRecords(fileOpenings, without(0))(files)
		editLines(fileActions, withoutLine(1))(files)
		replace(fileRedactions, `"reasons": []`, "\"reasons\": [\n    {\n      \"reason\": \"privilege\",\n      \"fields\": 0,\n      \"records\": 1\n    }\n  ]")(files)
		replace(fileManifest, `"clear": 10`, `"clear": 9`)(files)
		replace(fileManifest, `"withheld": 0`, `"withheld": 1`)(files)
		replace(fileManifest, `"fields_disclosed": 7`, `"fields_disclosed": 6`)(files)
	})
	bundle = repack(t, w.export, bundle, func(files map[string][]byte) { files[fileControls] = answered(t, bundle) })
	v := verify(t, bundle, w.policy())
	want{ExitVerified, Complete, 10}.check(t, v)
}
