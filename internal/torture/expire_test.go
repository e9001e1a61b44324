package torture

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/store"
)

// TestExpiredContentStaysProven: after an expiry the check is clean, and a bundle of the whole log verifies and says what
// is not kept any longer. Custody's own events are all there, and so is every key.
func TestExpiredContentStaysProven(t *testing.T) {
	var leap atomic.Int64 // only an expiry sees another time
	l := newLocal(t, func(c *node.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(leap.Load())) }
	})
	a := newAgent(t, l.dir).connect()
	a.accept(a.batch("old", "old"))
	l.WaitCommitted()
	cut := time.Now()
	a.accept(a.batch("new", "new", "new"))
	l.WaitCommitted()
	leap.Store(int64(store.MinRetention + time.Hour))
	_, err := apiv1.NewRetentionServiceClient(l.Admin()).Expire(t.Context(), &apiv1.ExpireRequest{
		Tenant: tenant, Before: cut.UnixNano(), Reason: "policy 4",
	})
	leap.Store(0)
	if err != nil {
		t.Fatal(err)
	}
	if a := inspect(t.Context(), l.Node()); len(a.Problems) > 0 {
		t.Error(a.Problems)
	}
	v := l.verdict()
	for _, c := range v.Checks {
		if c.Failures > 0 {
			t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
	if v.Exit != evidence.ExitOpenTail || v.Integrity != evidence.Intact || v.Authenticity != evidence.Authentic {
		t.Errorf("exit %d, %s, %s", v.Exit, v.Integrity, v.Authenticity)
	}
	if v.Records.Expired != 2 || v.Vantage.SelfReported != 5 || v.Records.Clear != v.Records.Records-2 {
		t.Errorf("%+v; %+v", v.Records, v.Vantage)
	}
}

// verdict exports the tenant's whole log and verifies it with the policy.
func (l *local) verdict() evidence.Verdict {
	l.t.Helper()
	client := apiv1.NewEvidenceServiceClient(l.Admin())
	exported, err := client.ExportPolicy(l.t.Context(), &apiv1.ExportPolicyRequest{Tenant: tenant})
	if err != nil {
		l.t.Fatal(err)
	}
	policy, err := evidence.ParsePolicy(exported.GetPolicy())
	if err != nil {
		l.t.Fatal(err)
	}
	bundle := bytes.NewReader(l.bundle(client))
	v, err := evidence.Verify(l.t.Context(), bundle, bundle.Size(), policy, evidence.VerifyOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	return v
}

func (l *local) bundle(client apiv1.EvidenceServiceClient) (bundle []byte) {
	l.t.Helper()
	stream, err := client.Export(l.t.Context(), &apiv1.ExportRequest{Tenant: tenant})
	for err == nil {
		var m *apiv1.ExportResponse
		m, err = stream.Recv()
		bundle = append(bundle, m.GetChunk()...)
	}
	if !errors.Is(err, io.EOF) {
		l.t.Fatal(err)
	}
	return bundle
}
