package event_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestEveryActionHasAnExampleThatParses(t *testing.T) {
	for _, action := range event.Actions() {
		e := event.Example(action)
		b, err := event.Marshal(e)
		if err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		got, err := event.Parse(b)
		if err != nil {
			t.Errorf("%s: %v", action, err)
		}
		if diff := cmp.Diff(e, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-made +parsed):\n%s", action, diff)
		}
		kind, _ := event.ParseKind(strings.Split(action, ".")[0])
		if event.Action(got) != action || event.Kind(got) != kind {
			t.Errorf("%s: action %q, kind %d", action, event.Action(got), event.Kind(got))
		}
	}
	if event.Example("data.sold") != nil {
		t.Error("example of an unknown action")
	}
}

// wire builds encodings by hand.
func tag(num protowire.Number, typ protowire.Type) []byte { return protowire.AppendTag(nil, num, typ) }

func field(num protowire.Number, v string) []byte {
	return protowire.AppendString(tag(num, protowire.BytesType), v)
}

func varint(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(tag(num, protowire.VarintType), v)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestParseAcceptsOneEncoding takes apart the encoding of one event and puts it together wrongly.
func TestParseAcceptsOneEncoding(t *testing.T) {
	e := event.Example("execution.proposed")
	b, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	version, rest := b[:2], b[2:]
	id, rest := rest[:18], rest[18:]
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":                {nil, "empty"},
		"cut":                  {b[:len(b)-1], "execution: cut short"},
		"cut tag":              {append(bytes.Clone(b), 0x80), "cut or malformed tag"},
		"trailing zero":        {append(bytes.Clone(b), 0), "cut or malformed tag"},
		"unknown field":        {join(b, varint(30, 1)), "unknown field 30"},
		"unknown group":        {join(b, tag(30, protowire.StartGroupType), tag(30, protowire.EndGroupType)), "unknown field 30"},
		"out of order":         {join(id, version, rest), "version: out of order"},
		"twice":                {join(version, id, id, rest), "id: given twice"},
		"second body":          {join(b, field(24, "")), "system: a second body"},
		"same body twice":      {join(b, field(22, "")), "system: a second body"},
		"zero":                 {join(varint(1, 0), id, rest), "version: zero written out"},
		"empty text":           {join(b[:20], field(3, "")), "tenant: empty value written out"},
		"long varint":          {join([]byte{0x08, 0x81, 0x00}, id, rest), "version: not a minimal varint"},
		"long tag":             {join([]byte{0x88, 0x00, 0x01}, id, rest), "version: tag is not a minimal varint"},
		"long length":          {join(version, []byte{0x12, 0x90, 0x00}, id[2:], rest), "id: length is not a minimal varint"},
		"wrong wire type":      {join(varint(1, 1), varint(2, 1)), "id: wrong wire type"},
		"out of range":         {join(varint(1, 1<<32+1), id, rest), "version: out of range"},
		"not UTF-8":            {join(version, id, field(3, "\xff")), "tenant: not UTF-8"},
		"nested":               {join(version, id, field(12, string(join(varint(2, 1), varint(2, 1))))), "causes[0].relation: given twice"},
		"nested in the second": {join(version, id, field(12, ""), field(12, string(varint(9, 1)))), "causes[1]: unknown field 9"},
		"too long":             {make([]byte, event.MaxEvent+1), "longer than 65536 bytes"},
	} {
		_, err := event.Parse(c.b)
		if name == "same body twice" {
			c.want = "execution: given twice"
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if fe := (*event.FieldError)(nil); !errors.As(err, &fe) {
			t.Errorf("%s: not a FieldError", name)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func ids(n int) (causes []*eventv1.Cause) {
	for range n {
		id := event.NewID(time.Unix(1, 0), nil)
		causes = append(causes, &eventv1.Cause{Id: id[:], Relation: 1, Basis: 1})
	}
	return causes
}

// TestValidate changes the example of an action and names the field that is refused.
func TestValidate(t *testing.T) {
	type ev = *eventv1.Event
	for _, c := range []struct {
		action string
		change func(e ev)
		want   string
	}{
		{"identity.role_assumed", func(e ev) { e.Version = 2 }, "version: not 1"},
		{"identity.role_assumed", func(e ev) { e.Id = nil }, "id: missing"},
		{"identity.role_assumed", func(e ev) { e.Id[6] = 0x40 }, "id: not a UUIDv7"},
		{"identity.role_assumed", func(e ev) { e.Id[8] = 0 }, "id: not a UUIDv7"},
		{"identity.role_assumed", func(e ev) { e.Tenant = "" }, "tenant: missing"},
		{"identity.role_assumed", func(e ev) { e.Tenant = "Acme" }, "tenant: not of the form [a-z0-9-]{1,63}"},
		{"identity.role_assumed", func(e ev) { e.Instance = long(64) }, "instance: not of the form [a-z0-9-]{1,63}"},
		{"identity.role_assumed", func(e ev) { e.Run = long(257) }, "run: longer than 256 bytes"},
		{"identity.role_assumed", func(e ev) { e.Run = "" }, "run_seq: given without a run"},
		{"identity.role_assumed", func(e ev) { e.RunSeq = 0 }, "run_seq: missing"},
		{"identity.role_assumed", func(e ev) { e.RunSeq = 1 << 63 }, "run_seq: too large"},
		{"identity.role_assumed", func(e ev) { e.Principal = "\xff" }, "principal: not UTF-8"},
		{"identity.role_assumed", func(e ev) { e.OnBehalfOf = []string{"a", ""} }, "on_behalf_of[1]: missing"},
		{"identity.role_assumed", func(e ev) { e.OnBehalfOf = make([]string, 17) }, "on_behalf_of: more than 16"},
		{"identity.role_assumed", func(e ev) { e.OccurredAt = 0 }, "occurred_at: missing"},
		{"identity.role_assumed", func(e ev) { e.OccurredAt = -1 }, "occurred_at: before 1970"},
		{"identity.role_assumed", func(e ev) { e.TimeBasis = 0 }, "time_basis: missing"},
		{"identity.role_assumed", func(e ev) { e.TimeBasis = 3 }, "time_basis: unknown value 3"},
		{"identity.role_assumed", func(e ev) { e.Trust = -1 }, "trust: unknown value -1"},
		{"identity.role_assumed", func(e ev) { e.Body = nil }, "body: missing"},
		{"identity.role_assumed", func(e ev) { e.Body = &eventv1.Event_Data{} }, "data.action: unknown value 0"},

		{"execution.proposed", func(e ev) { e.Causes = ids(65) }, "causes: more than 64"},
		{"execution.proposed", func(e ev) { e.Causes[0].Id = e.Id }, "causes[0].id: the event itself"},
		{"execution.proposed", func(e ev) { e.Causes[0].Id = nil }, "causes[0].id: missing"},
		{"execution.proposed", func(e ev) { e.Causes[0] = nil }, "causes[0].id: missing"},
		{"execution.proposed", func(e ev) { e.Causes[0].Relation = 0 }, "causes[0].relation: missing"},
		{"execution.proposed", func(e ev) { e.Causes[0].Relation = 8 }, "causes[0].relation: unknown value 8"},
		{"execution.proposed", func(e ev) { e.Causes[0].Basis = 0 }, "causes[0].basis: missing"},
		{"execution.proposed", func(e ev) { e.Causes = append(e.Causes, e.Causes[0]) }, "causes[1].id: named twice with one relation"},

		{"execution.proposed", func(e ev) { e.Sealed = make([]*eventv1.Sealed, 65) }, "sealed: more than 64"},
		{"execution.proposed", func(e ev) { e.Sealed[0].Path = "" }, "sealed[0].path: missing"},
		{"execution.proposed", func(e ev) { e.Sealed[0].MediaType = "" }, "sealed[0].media_type: missing"},
		{"execution.proposed", func(e ev) { e.Sealed[0].Digest = make([]byte, 31) }, "sealed[0].digest: not 32 bytes"},
		{"execution.proposed", func(e ev) { e.Sealed[0].Size = 1 << 63 }, "sealed[0].size: too large"},
		{"execution.proposed", func(e ev) { e.Sealed = append(e.Sealed, e.Sealed[0]) }, "sealed[1].path: given twice"},
		{"execution.proposed", func(e ev) { e.Fingerprints[1].Path = "result" }, "fingerprints[1].path: not a sealed field, or not in the order of the sealed fields"},
		{"execution.proposed", func(e ev) { e.Fingerprints[0].KeyId = 0 }, "fingerprints[0].key_id: missing"},
		{"execution.proposed", func(e ev) { e.Fingerprints[0].Normaliser = 2 }, "fingerprints[0].normaliser: not 1"},
		{"execution.proposed", func(e ev) { e.Fingerprints[0].Value = []byte{1} }, "fingerprints[0].value: not 8 bytes"},
		{"execution.proposed", func(e ev) { e.Fingerprints[1] = e.Fingerprints[0] }, "fingerprints[1]: not in ascending order"},
		{"execution.proposed", func(e ev) { e.Fingerprints = make([]*eventv1.Fingerprint, 257) }, "fingerprints: more than 256"},

		{"identity.run_started", func(e ev) { e.GetIdentity().Epoch = make([]byte, 16) }, "identity.epoch: not allowed for this action"},
		{"identity.run_started", func(e ev) { e.Run, e.RunSeq = "", 0 }, "identity.action: needs a run"},
		{"identity.run_started", func(e ev) { e.GetIdentity().Runtime.Host = long(257) }, "identity.runtime.host: longer than 256 bytes"},
		{"identity.run_ended", func(e ev) { e.GetIdentity().LastRunSeq++ }, "identity.last_run_seq: not this event's own run_seq"},
		{"identity.epoch_opened", func(e ev) { e.GetIdentity().Epoch = nil }, "identity.epoch: missing"},
		{"identity.heartbeat", func(e ev) { e.GetIdentity().Interval = -1 }, "identity.interval: negative"},
		{"identity.credential_used", func(e ev) { e.GetIdentity().Credential = nil }, "identity.credential: missing"},
		{"identity.credential_used", func(e ev) { e.GetIdentity().Credential.Fingerprint = nil }, "identity.credential.fingerprint: empty"},
		{"identity.credential_used", func(e ev) { e.GetIdentity().Credential.Scopes = []string{""} }, "identity.credential.scopes[0]: missing"},
		{"identity.delegated", func(e ev) { e.GetIdentity().Action = 11 }, "identity.action: unknown value 11"},
		{"identity.delegated", func(e ev) { e.GetIdentity().Action = -1 }, "identity.action: unknown value -1"},

		{"data.content_finding", func(e ev) { e.GetData().Score = 1001 }, "data.score: more than 1000"},
		{"data.content_finding", func(e ev) { e.GetData().Detector = "" }, "data.detector: missing"},
		{"data.input_received", func(e ev) { e.GetData().MemoryKey = "k" }, "data.memory_key: not allowed for this action"},
		{"data.input_received", func(e ev) { e.GetData().Direction = 3 }, "data.direction: unknown value 3"},
		{"data.input_received", func(e ev) { e.GetData().ContentDigest = []byte{1} }, "data.content_digest: not 32 bytes"},

		{"execution.started", func(e ev) { e.GetExecution().Call = "" }, "execution.call: missing"},
		{"execution.started", func(e ev) { e.GetExecution().Tool = long(4097) }, "execution.tool: longer than 4096 bytes"},
		{"execution.started", func(e ev) { e.GetExecution().Tool = "a\xffb" }, "execution.tool: not UTF-8"},
		{"execution.started", func(e ev) { e.GetExecution().Tool = "" }, ""},
		{"execution.started", func(e ev) { e.GetExecution().Tool = "Sends\x1b[31m\u202e a mail.\n\x00" }, ""},
		{"execution.started", func(e ev) { e.GetExecution().Decision = 1 }, "execution.decision: not allowed for this action"},
		{"execution.started", func(e ev) { e.GetExecution().Consequence = 4 }, "execution.consequence: unknown value 4"},
		{"execution.decided", func(e ev) { e.GetExecution().Decision = 0 }, "execution.decision: missing"},
		{"execution.finished", func(e ev) { e.GetExecution().CostUnit = "" }, "execution.cost_unit: missing"},

		{"approval.approved", func(e ev) { e.GetApproval().Approver = "" }, "approval.approver: missing"},
		{"approval.approved", func(e ev) { e.GetApproval().SubjectEvent = nil }, ""},
		{"approval.approved", func(e ev) { e.GetApproval().SubjectEvent, e.GetApproval().Call = nil, "" }, "approval.subject_event: missing, and no call either"},
		{"approval.approved", func(e ev) { e.GetApproval().SubjectEvent = make([]byte, 16) }, "approval.subject_event: not a UUIDv7"},
		{"approval.escalated", func(e ev) { e.GetApproval().EscalatedTo = "" }, "approval.escalated_to: missing"},

		{"system.genesis", func(e ev) { e.Instance = "support-1" }, "system: only instance custody makes system events"},
		{"system.genesis", func(e ev) { e.GetSystem().Detail = nil }, "system.detail: missing"},
		{"system.genesis", func(e ev) { e.GetSystem().GetGenesis().LogKey = nil }, "system.genesis.log_key: missing"},
		{"system.instance", func(e ev) { e.GetSystem().GetInstance().Instance = "custody" }, "system.instance.instance: reserved"},
		{"system.instance", func(e ev) { e.GetSystem().GetInstance().Labels.Regulation = []string{""} }, "system.instance.labels.regulation[0]: missing"},
		{"system.manifest", func(e ev) { e.GetSystem().GetManifest().Version = 0 }, "system.manifest.version: missing"},
		{"system.manifest", func(e ev) { e.GetSystem().GetManifest().Permissions[1].Verb = 0 }, "system.manifest.permissions[1].verb: missing"},
		{"system.key", func(e ev) { e.GetSystem().GetKey().PublicKey[0] ^= 1 }, "system.key.key_id: not the hash of the public key"},
		{"system.key", func(e ev) { e.GetSystem().GetKey().Producer = 4 }, "system.key.producer: unknown value 4"},
		{"system.key", func(e ev) { e.GetSystem().GetKey().SuspectFrom = 4 }, "system.key.suspect_from: not allowed for this action"},
		{"system.key", func(e ev) { e.GetSystem().GetKey().Replaces = e.GetSystem().GetKey().KeyId }, "system.key.replaces: the key itself"},
		{"system.key", func(e ev) { e.GetSystem().GetKey().Action = 2 }, "system.key.public_key: not allowed for this action"},
		{"system.grant", func(e ev) { e.GetSystem().GetGrant().Role = 0 }, "system.grant.role: missing"},
		{"system.rule", func(e ev) { e.GetSystem().GetRule().Mode = "on" }, "system.rule.mode: none of shadow, live, off"},
		{"system.containment", func(e ev) { e.GetSystem().GetContainment().State = 10 }, "system.containment.state: unknown value 10"},
		{"system.containment", func(e ev) { e.GetSystem().GetContainment().Observer = "agent" }, "system.containment.observer: the target's own word verifies nothing"},
		{"system.containment", func(e ev) { e.GetSystem().GetContainment().Observer = "nobody" }, "system.containment.observer: none of agent, gateway, probe, custody"},
		{"system.containment", func(e ev) { e.GetSystem().GetContainment().Level = "slow" }, "system.containment.level: none of restrict, pause, quarantine"},
		{"system.containment", func(e ev) { e.GetSystem().GetContainment().Level = "" }, ""},
		{"system.containment", func(e ev) { e.GetSystem().GetContainment().Lasts = -1 }, "system.containment.lasts: negative"},
		{"system.lease", func(e ev) { e.GetSystem().GetLease().Lasts = 301e9 }, "system.lease.lasts: more than five minutes"},
		{"system.armed", func(e ev) { e.GetSystem().GetArmed().Checks[0].Observer = "" }, "system.armed.checks[0].observer: none of agent, gateway, probe, custody"},
		{"system.drill", func(e ev) { e.GetSystem().GetDrill().Steps[0].Path = "" }, "system.drill.steps[0].path: missing"},
		{"system.export_key", func(e ev) { e.GetSystem().GetExportKey().PublicKey = make([]byte, 90) }, "system.export_key.public_key: neither 32 nor 91 bytes"},
		{"system.export_key", func(e ev) { e.GetSystem().GetExportKey().PublicKey = nil }, "system.export_key.public_key: neither 32 nor 91 bytes"},
		{"system.export_key", func(e ev) { e.GetSystem().GetExportKey().PublicKey = make([]byte, 91) }, ""},
		{"system.export_key", func(e ev) { e.GetSystem().GetExportKey().Replaces = nil }, "system.export_key.replaces: missing"},
		{"system.export_key", func(e ev) {
			id := sha256.Sum256(e.GetSystem().GetExportKey().GetPublicKey())
			e.GetSystem().GetExportKey().Replaces = id[:]
		}, "system.export_key.replaces: the key itself"},
		{"system.hold", func(e ev) { e.GetSystem().GetHold().Scope = "all" }, "system.hold.scope: not tenant, instance/I, run/R or subject/S"},
		{"system.hold", func(e ev) { e.GetSystem().GetHold().Scope = "room/1" }, "system.hold.scope: none of instance, run, subject"},
		{"system.hold", func(e ev) { e.GetSystem().GetHold().Scope = "tenant" }, ""},
		{"system.erasure", func(e ev) { e.GetSystem().GetErasure().Generation = 0 }, "system.erasure.generation: missing"},
		{"system.access", func(e ev) { e.GetSystem().GetAccess().Method = "" }, "system.access.method: missing"},
		{"system.refusal", func(e ev) { e.GetSystem().GetRefusal().Count = 0 }, "system.refusal.count: missing"},
		{"system.finding", func(e ev) { e.GetSystem().GetFinding().Emitter = []byte{1} }, "system.finding.emitter: not 32 bytes"},
		{"system.review", func(e ev) { e.GetSystem().GetReview().Outcome = "passed" }, "system.review.outcome: none of approved, rejected, changes"},
		{"system.review", func(e ev) { e.GetSystem().GetReview().Topic = "sharing" }, "system.review.subject: not credential/HEX, connector/NAME, memory/KEY or artefact/HEX"},
		{"system.firing", func(e ev) { e.GetSystem().GetFiring().State = "closed" }, "system.firing.state: none of acknowledged, false_positive, needs_person"},
		{"system.firing", func(e ev) { e.GetSystem().GetFiring().Firing = []byte{1} }, "system.firing.firing: not 16 bytes"},
		{"system.case", func(e ev) { e.GetSystem().GetCase().Class = "prompt" }, "system.case.class: none of user, retrieval, memory, connector"},
		{"system.case", func(e ev) { e.GetSystem().GetCase().Events[0][6] = 0x10 }, "system.case.events[0]: not a UUIDv7"},
		{"system.case", func(e ev) { e.GetSystem().GetCase().NotNeeded = true }, "system.case.not_needed: not allowed for this action"},
		{"system.case", func(e ev) { settle(e, nil) }, "system.case.not_needed: exactly one of events and not_needed must be given"},
		{"system.case", func(e ev) { settle(e, e.GetSystem().GetCase().GetEvents()) }, ""},
	} {
		e := proto.CloneOf(event.Example(c.action))
		c.change(e)
		err := event.Validate(e)
		if got := message(err); got != c.want {
			t.Errorf("%s: got %q, want %q", c.action, got, c.want)
		}
		if _, merr := event.Marshal(e); (merr == nil) != (c.want == "") {
			t.Errorf("%s: validate says %v, marshal %v", c.action, err, merr)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestEveryFieldOfABodyIsAllowedOrRefused sets each field of each body in turn: an action accepts it or names it.
func TestEveryFieldOfABodyIsAllowedOrRefused(t *testing.T) {
	for _, action := range event.Actions() {
		kind, _, _ := strings.Cut(action, ".")
		if kind == "system" {
			continue
		}
		e := event.Example(action)
		body := e.ProtoReflect().Get(e.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(kind))).Message()
		for i := range body.Descriptor().Fields().Len() {
			fd := body.Descriptor().Fields().Get(i)
			if body.Has(fd) {
				continue
			}
			setSomething(body, fd)
			err := message(event.Validate(e))
			if name := kind + "." + string(fd.Name()); err != "" && !strings.HasPrefix(err, name) && !strings.HasPrefix(err, "execution.cost_unit") {
				t.Errorf("%s with %s: %s", action, name, err)
			}
			body.Clear(fd)
		}
	}
}

func setSomething(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		m.Set(fd, protoreflect.ValueOfString("x"))
	case protoreflect.BytesKind:
		m.Set(fd, protoreflect.ValueOfBytes(event.Example("execution.proposed").Id))
	case protoreflect.EnumKind:
		m.Set(fd, protoreflect.ValueOfEnum(1))
	case protoreflect.MessageKind:
		m.Mutable(fd)
	case protoreflect.Uint64Kind:
		m.Set(fd, protoreflect.ValueOfUint64(1))
	case protoreflect.Uint32Kind:
		m.Set(fd, protoreflect.ValueOfUint32(1))
	default:
		m.Set(fd, protoreflect.ValueOfInt64(1))
	}
}

// TestMutatedEventsAreRefusedOrCanonical flips, cuts, doubles and inserts bytes: what is still accepted must be the encoding
// of what was read.
func TestMutatedEventsAreRefusedOrCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := mutated(t, exampleBytes(t))
		e, err := event.Parse(b)
		if err != nil {
			return
		}
		again, err := event.Marshal(e)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("%x parsed, but encodes as %x (%v)", b, again, err)
		}
	})
}

func exampleBytes(t *rapid.T) []byte {
	b, err := event.Marshal(event.Example(rapid.SampledFrom(event.Actions()).Draw(t, "action")))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mutated(t *rapid.T, b []byte) []byte {
	at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
	n := rapid.IntRange(1, 8).Draw(t, "n")
	end := min(len(b), at+n)
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		b = bytes.Clone(b)
		b[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
	case 1:
		b = join(b[:at], b[end:])
	case 2:
		b = join(b[:end], b[at:])
	case 3:
		b = join(b[:at], rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "insert"), b[at:])
	}
	return b
}

func TestID(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	a, b := event.NewID(at, nil), event.NewID(at.Add(time.Millisecond), nil)
	if !a.Time().Equal(at) || a.String() >= b.String() {
		t.Errorf("%s at %s, then %s", a, a.Time(), b)
	}
	if got, err := event.ParseID(a.String()); err != nil || got != a {
		t.Errorf("parsed %s, %v", got, err)
	}
	fixed := event.NewID(at, bytes.NewReader(make([]byte, 10)))
	if want := "018bcfe5-687b-7000-8000-000000000000"; fixed.String() != want {
		t.Errorf("got %s, want %s", fixed, want)
	}
	for _, s := range []string{
		"", "018BCFE5-687B-7000-8000-000000000000", "018bcfe5-687b-4000-8000-000000000000",
		"018bcfe5-687b-7000-c000-000000000000", "018bcfe5687b70008000000000000000", "018bcfe5-687b-7000-8000-00000000000g",
	} {
		if _, err := event.ParseID(s); !errors.Is(err, event.ErrID) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzEvent(f *testing.F) {
	for _, action := range event.Actions() {
		b, err := event.Marshal(event.Example(action))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := event.Parse(b)
		if err != nil {
			if fe := (*event.FieldError)(nil); !errors.As(err, &fe) || fe.Reason == "" {
				t.Fatalf("not a FieldError: %v", err)
			}
			return
		}
		again, err := event.Marshal(e)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("parsed %x, encoded %x (%v)", b, again, err)
		}
		event.ScanEvent(b)
	})
}

func BenchmarkParse(b *testing.B) {
	e := event.Example("execution.proposed")
	e.Sealed = append(e.Sealed, proto.CloneOf(e.Sealed[0]))
	e.Sealed[1].Path = "result"
	third := proto.CloneOf(e.Fingerprints[0])
	third.Path = "result"
	e.Fingerprints = append(e.Fingerprints[:2:2], third)
	encoded, err := event.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d bytes, %d sealed, %d fingerprints", len(encoded), len(e.Sealed), len(e.Fingerprints))
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Parse(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanEvent(b *testing.B) {
	encoded, err := event.Marshal(event.Example("execution.proposed"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, found := event.ScanEvent(encoded); found {
			b.Fatal("found a secret in the example")
		}
	}
}

// settle makes an act of a case that settles an item.
func settle(e *eventv1.Event, events [][]byte) {
	x := e.GetSystem().GetCase()
	x.Action, x.Class, x.Events = eventv1.CaseAction_CASE_ACTION_SETTLED, "scopes", events
}
