package event_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const prose = "The customer wrote on Monday that the delivery had not arrived, although the carrier said otherwise. " +
	"We looked at the order and found nothing unusual; the address is right, and the driver left a note. " +
	"Please call back before 5 pm, or write to the team. Our policy allows a refund of up to 50 EUR.\n"

func BenchmarkFingerprintsProse(b *testing.B) {
	benchFingerprints(b, []byte(strings.Repeat(prose, 65536/len(prose))))
}

func BenchmarkFingerprintsJSON(b *testing.B) {
	doc := `{"id":"cus_123","name":"Jane Doe","note":"` + strings.ReplaceAll(prose, "\n", `\n`) + `","tags":["a","b"],"amount":12.5},`
	benchFingerprints(b, []byte("["+strings.TrimSuffix(strings.Repeat(doc, 65536/len(doc)), ",")+"]"))
}

func BenchmarkFingerprintsDense(b *testing.B) {
	line := "bob@corp.example, INV-2024-00017, +49 30 123456, https://corp.example/a/b?c=12345678\n"
	benchFingerprints(b, []byte(strings.Repeat(line, 65536/len(line))))
}

func benchFingerprints(b *testing.B, text []byte) {
	f := event.NewFingerprinter(make([]byte, 32), 1)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var dst []*eventv1.Fingerprint
	for b.Loop() {
		dst = f.Append(dst[:0], "arguments", text)
	}
}

func BenchmarkScanSecrets(b *testing.B) {
	text := []byte(strings.Repeat(prose, 65536/len(prose)))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, found := event.ScanSecrets(text); found {
			b.Fatal("found a secret in prose")
		}
	}
}

// BenchmarkScanHostile is text that is made to cost: each word begins a value that reaches to the end.
func BenchmarkScanHostile(b *testing.B) {
	for name, word := range map[string]string{"assigned": "password=", "dotted": "SG.", "options": "--password ", "quoted": `token:"`, "urls": "a://b:c"} {
		text := bytes.Repeat([]byte(word), 64<<10/len(word))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				event.ScanSecrets(text)
			}
		})
	}
}

// call is what the benchmark of the whole system seals in an event.
const call = `{"to":"person042@mail.example","order":"ORD-48213377","ticket":"TCK-90210431","body":"Thank you for your patience, we have looked at what happened and sent it again."}`

func BenchmarkFingerprintsCall(b *testing.B) {
	f := event.NewFingerprinter(make([]byte, 32), 1)
	b.ReportAllocs()
	var dst []*eventv1.Fingerprint
	for b.Loop() {
		dst = f.Lend(dst[:0], "arguments", []byte(call))
		f.Forget()
	}
	if len(dst) != 3 {
		b.Fatal(dst)
	}
}

func BenchmarkScrubCall(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, n := event.Scrub([]byte(call)); n != 0 {
			b.Fatal("found a secret in a call")
		}
	}
}
