package ingest

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// FuzzBatch spoils a good batch in any way. Whatever is let through still is a batch that the emitter
// signed, of valid events; whatever is refused has a reason.
func FuzzBatch(f *testing.F) {
	a := &agent{t: f, tenant: "acme", instance: "support-1", key: signer.FromSeed([32]byte{1}), epoch: [16]byte{1}, epochNo: 1}
	good := a.batch("crm.read", "send_email")
	f.Add(ok(proto.Marshal(good))(f))
	spoilt := proto.CloneOf(good)
	spoilt.Events[1][9] ^= 1
	f.Add(ok(proto.Marshal(spoilt))(f))
	f.Add([]byte{})
	from := &emitter{tenant: "acme", instance: "support-1", keyID: a.key.ID(), key: a.key.Public()}
	f.Fuzz(func(t *testing.T, wire []byte) {
		signed := new(eventv1.SignedBatch)
		if proto.Unmarshal(wire, signed) != nil {
			return
		}
		b, w := &batch{signed: signed}, new(worker)
		r := b.readStatement(from)
		if r == nil {
			_, r = head{}.place(b.statement, b.digest)
		}
		if r == nil {
			r = b.checkSignature(from, w)
		}
		if r == nil {
			r = b.readEvents(newPrints([][32]byte{{1}}), &w.checker)
		}
		if r != nil {
			checkRefusal(t, r)
			return
		}
		if err := signer.VerifyDSSE(from.key, signer.PayloadTypeBatch, signed.GetStatement(), signed.GetSignature()); err != nil {
			t.Errorf("let through: %v", err)
		}
	})
}

func checkRefusal(t *testing.T, r *refusal) {
	t.Helper()
	if r.reason == 0 || r.message == "" || reasonName(r.reason) == "" {
		t.Errorf("refused without a reason: %+v", r)
	}
	if event.Escape(r.Error()) != r.Error() {
		t.Errorf("a refusal repeats the sender's text: %q", r.Error())
	}
}

// FuzzToken looks up any text as a token: it stays inside its folder and finds nothing.
func FuzzToken(f *testing.F) {
	tokens := ok(OpenTokens(f.TempDir(), (&clock{}).now))(f)
	f.Add("custody-join_acme_support-1_agent_00")
	f.Add("custody-join_../../etc/passwd")
	f.Fuzz(func(t *testing.T, token string) {
		if e, err := tokens.Look(token); err == nil {
			t.Errorf("found %+v", e)
		}
	})
}
