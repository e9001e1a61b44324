package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
)

// The golden vectors are for other implementations. Bytes are in hex. They change only with the format's version:
// go test ./event -run Vectors -update writes them anew.
var update = flag.Bool("update", false, "write the golden vectors")

type eventVector struct {
	Action string `json:"action"`
	Event  string `json:"event"`      // canonical bytes
	Hash   string `json:"event_hash"` // SHA-256(0x00 ‖ event)
}

type batchVector struct {
	Statement   string `json:"statement"`
	BatchDigest string `json:"batch_digest"`
	SignedBatch string `json:"signed_batch"`
	StreamBatch string `json:"stream_batch"`
}

type sealedVector struct {
	ID        string `json:"event_id"`
	Path      string `json:"path"`
	MediaType string `json:"media_type"`
	Salt      string `json:"salt"`
	Value     string `json:"value"`
	Digest    string `json:"digest"`
}

type fingerprintVector struct {
	Key          string   `json:"key"`
	Normaliser   int      `json:"normaliser"`
	Text         string   `json:"text"`
	Normalised   []string `json:"normalised"`
	Fingerprints []string `json:"fingerprints"` // ascending
}

func TestVectors(t *testing.T) {
	golden(t, "events.json", eventVectors(t))
	golden(t, "batch.json", theBatchVector(t))
	golden(t, "sealed.json", sealedVectors())
	golden(t, "fingerprints.json", fingerprintVectors())
}

// golden compares v with a file of testdata/vectors.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "vectors", name)
	if *update {
		if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), buf.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func eventVectors(t *testing.T) (list []eventVector) {
	for _, action := range event.Actions() {
		b, err := event.Marshal(event.Example(action))
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256(append([]byte{0}, b...))
		list = append(list, eventVector{action, hex.EncodeToString(b), hex.EncodeToString(hash[:])})
	}
	return list
}

func theBatchVector(t *testing.T) batchVector {
	sb := exampleBatch(t)
	signed, err := event.MarshalSignedBatch(sb)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := event.MarshalStreamBatch(exampleStreamBatch(t))
	if err != nil {
		t.Fatal(err)
	}
	digest := event.BatchDigest(sb.Statement)
	return batchVector{
		hex.EncodeToString(sb.Statement), hex.EncodeToString(digest[:]), hex.EncodeToString(signed), hex.EncodeToString(stream),
	}
}

func sealedVectors() (list []sealedVector) {
	for _, action := range []string{"data.document_retrieved", "execution.proposed"} {
		e, o := event.Example(action), event.ExampleOpening(action, 0)
		list = append(list, sealedVector{
			hex.EncodeToString(e.Id), o.Path, e.Sealed[0].MediaType, hex.EncodeToString(o.Salt), hex.EncodeToString(o.Value),
			hex.EncodeToString(e.Sealed[0].Digest),
		})
	}
	return list
}

func fingerprintVectors() (list []fingerprintVector) {
	for _, c := range []struct {
		text       string
		normalised []string
	}{
		{"Write to Bob@Corp.example.", []string{"bob@corp.example"}},
		{`{"url":"https:\/\/www.Evil.example\/c?q=bob%40corp.com"}`, []string{"evil.example", "evil.example/c?q=bob%40corp.com", "bob@corp.com"}},
		{"DE89 3704 0044 0532 0130 00 on 2024-05-13", []string{"de89370400440532013000"}},
		{"call +49 (30) 123-456 about INV-2024-00017", []string{"4930123456", "inv-2024-00017"}},
		{`C:\Users\Bob\report.docx`, []string{"c:/users/bob/report.docx"}},
		{"nothing distinctive here, 42 times", []string{}},
	} {
		list = append(list, fingerprintVector{hex.EncodeToString(fpKey), event.NormaliserV1, c.text, c.normalised, prints(c.text)})
		if diff := cmp.Diff(of(c.normalised...), prints(c.text)); diff != "" {
			panic(diff)
		}
	}
	return list
}
