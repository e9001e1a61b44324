package event_test

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// bodies are an empty event of each kind that emitters send.
func bodies() []*eventv1.Event {
	return []*eventv1.Event{
		{Body: &eventv1.Event_Identity{Identity: &eventv1.Identity{}}},
		{Body: &eventv1.Event_Data{Data: &eventv1.Data{}}},
		{Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{}}},
		{Body: &eventv1.Event_Approval{Approval: &eventv1.Approval{}}},
	}
}

// TestEveryTextIsLookedAt sets each text field of each kind of event to a secret.
func TestEveryTextIsLookedAt(t *testing.T) {
	const secret = "ghp_0123456789abcdef0123456789abcdef0123"
	for _, e := range bodies() {
		n := 0
		eachText(e.ProtoReflect(), func(set func(string), field protoreflect.FieldDescriptor) {
			set(secret)
			if field.FullName() != "custody.event.v1.Fingerprint.path" && !event.MayHoldSecret(e) {
				t.Errorf("%s is not looked at", field.FullName())
			}
			set("")
			n++
		})
		if n < 10 || event.MayHoldSecret(e) {
			t.Errorf("%d texts, may hold a secret without one", n)
		}
	}
}

// eachText calls do for every text field of m and of the messages in it.
func eachText(m protoreflect.Message, do func(set func(string), field protoreflect.FieldDescriptor)) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case fd.ContainingOneof() != nil && !m.Has(fd):
		case fd.Kind() == protoreflect.StringKind && fd.IsList():
			list := m.Mutable(fd).List()
			list.Append(protoreflect.ValueOfString(""))
			do(func(s string) { list.Set(0, protoreflect.ValueOfString(s)) }, fd)
		case fd.Kind() == protoreflect.StringKind:
			do(func(s string) { m.Set(fd, protoreflect.ValueOfString(s)) }, fd)
		case fd.Kind() == protoreflect.MessageKind && fd.IsList():
			eachText(m.Mutable(fd).List().AppendMutable().Message(), do)
		case fd.Kind() == protoreflect.MessageKind:
			eachText(m.Mutable(fd).Message(), do)
		}
	}
}

// FuzzMayHoldSecret: what a scan of the fields finds is never missed, whatever stands in the fields around it.
func FuzzMayHoldSecret(f *testing.F) {
	for _, text := range []string{"ghp_" + base62, pemText, "-----BEGIN PRIVATE KEY", "password=hunter2", "--password hunter2", jwtText, "SG." + base62[:22] + "." + base62} {
		f.Add(text, "next", "third")
		f.Add("before", text, "=")
		f.Add("password:", "password=", text)
	}
	f.Fuzz(func(t *testing.T, first, second, third string) {
		e := &eventv1.Event{
			Run: first, Principal: second, Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Tool: third}},
		}
		may := event.MayHoldSecret(e)
		for _, text := range []string{first, second, third} {
			if detector, found := event.ScanSecrets([]byte(text)); found && !may {
				t.Errorf("%s in %q is missed", detector, text)
			}
		}
	})
}
