package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// long is a value of n bytes.
func long(n int) []byte {
	line := []byte("a row that jane@example.com asked for, and nobody may see\n")
	return bytes.Repeat(line, n/len(line)+1)[:n]
}

// openEmitter opens an emitter that is quick to retry.
func openEmitter(t *testing.T, dir string) *edge.Emitter {
	t.Helper()
	e, err := edge.Open(t.Context(), edge.Config{Dir: dir, MaxBatchAge: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, CloseTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// recordLong records an event with a long value and returns its id.
func recordLong(t *testing.T, e *edge.Emitter, value []byte) event.ID {
	t.Helper()
	id, err := e.Record(t.Context(), &edge.Event{
		Plain: &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_RESOURCE_READ, Source: "warehouse", Resource: "report",
		}}},
		Sealed: []edge.Content{{Path: "content", Value: value, Subject: "jane"}, {Path: "note", Value: []byte("short")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func deliver(t *testing.T, e *edge.Emitter) {
	t.Helper()
	if err := errors.Join(e.Flush(t.Context()), e.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// objectFiles are the files of objects, relative to their folder.
func objectFiles(t *testing.T, env *testenv.Env) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(env.DataDir(), "objects"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// opened searches for the report and returns its opened fields.
func opened(t *testing.T, conn *grpc.ClientConn, tenant string) (row *apiv1.EventRow) {
	t.Helper()
	stream, err := apiv1.NewQueryServiceClient(conn).Search(t.Context(), &apiv1.SearchRequest{
		Tenant: tenant, Action: "data.resource_read", Open: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return row
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, row = range r.GetRows() {
		}
	}
}

func TestALongValueThereAndBack(t *testing.T) {
	env, value := site(t)
	dana := env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	row := opened(t, dana, "acme")
	if row == nil || len(row.GetOpened()) != 2 {
		t.Fatalf("got %v", row)
	}
	f := row.GetOpened()[0]
	if f.GetState() != "disclosed" || f.GetSize() != uint64(len(value)) || !bytes.Equal(f.GetValue(), value[:event.MaxSealedInline]) {
		t.Errorf("%s, %d of %d bytes", f.GetState(), len(f.GetValue()), f.GetSize())
	}
	files := objectFiles(t, env)
	if len(files) != 1 || strings.HasSuffix(files[0], ".new") {
		t.Fatalf("files %v", files)
	}
	stored, err := os.ReadFile(files[0])
	if err != nil || bytes.Contains(stored, []byte("jane")) {
		t.Errorf("the file is not encrypted: %v", err)
	}
	if whole := content(t, dana, "acme", row, "content"); !bytes.Equal(whole, value) {
		t.Errorf("%d bytes of content", len(whole))
	}
	if short := content(t, dana, "acme", row, "note"); string(short) != "short" {
		t.Errorf("the short field is %q", short)
	}
	if problems, sum := check(t, env); len(problems) != 0 || !sum.GetDone() || sum.GetObjects() != 1 {
		t.Errorf("check: %v, %v", problems, sum)
	}
	t.Run("in a bundle", func(t *testing.T) { wantInBundle(t, dana, value) })
	t.Run("foreign tenants", func(t *testing.T) { wantNothingForOthers(t, env, row) })
}

// content reads a sealed field whole.
func content(t *testing.T, conn *grpc.ClientConn, tenant string, row *apiv1.EventRow, path string) (all []byte) {
	t.Helper()
	e, err := event.Parse(row.GetEvent())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := apiv1.NewQueryServiceClient(conn).Content(t.Context(), &apiv1.ContentRequest{Tenant: tenant, Event: e.GetId(), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.GetChunk()...)
	}
}

// site is a running system with one long value in acme's log.
func site(t *testing.T) (env *testenv.Env, value []byte) {
	t.Helper()
	env = testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	e := openEmitter(t, env.Enrol("acme", "support-1").Dir)
	value = long(3<<20 + 5)
	recordLong(t, e, value)
	deliver(t, e)
	env.WaitCommitted()
	return env, value
}

func damage(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// TestLostAndDamagedObjectsAreNamed by a check, and withheld from readers and bundles, which verify all the same.
func TestLostAndDamagedObjectsAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		harm   func(string) error
		says   string
		reason string
	}{
		"missing": {os.Remove, "missing", "not in Custody's hands"},
		"damaged": {damage, "damaged", "what Custody holds is not what was signed"},
	} {
		t.Run(name, func(t *testing.T) {
			env, _ := site(t)
			if err := test.harm(objectFiles(t, env)[0]); err != nil {
				t.Fatal(err)
			}
			problems, sum := check(t, env)
			if len(problems) != 1 || sum.GetProblems() != 1 || problems[0].GetTable() != "objects" || problems[0].GetColumn() != "content" ||
				problems[0].GetTenant() != "acme" || !strings.Contains(problems[0].GetMessage(), test.says) {
				t.Errorf("check: %v", problems)
			}
			dana := env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
			row := opened(t, dana, "acme")
			if f := row.GetOpened()[0]; f.GetState() != "withheld" || len(f.GetValue()) > 0 {
				t.Errorf("shown: %v", f)
			}
			if whole := content(t, dana, "acme", row, "content"); len(whole) > 0 {
				t.Errorf("%d bytes are shown", len(whole))
			}
			got := verify(t, dana, export(t, dana))
			if got.Integrity != evidence.Intact || len(got.Redactions) != 1 || got.Redactions[0].Reason != test.reason {
				t.Errorf("integrity %s, redactions %v", got.Integrity, got.Redactions)
			}
		})
	}
}

func export(t *testing.T, conn *grpc.ClientConn) (bundle []byte) {
	t.Helper()
	stream, err := apiv1.NewEvidenceServiceClient(conn).Export(t.Context(), &apiv1.ExportRequest{Tenant: "acme", Purpose: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return bundle
		}
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, m.GetChunk()...)
	}
}

func verify(t *testing.T, conn *grpc.ClientConn, bundle []byte) evidence.Verdict {
	t.Helper()
	answer, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(t.Context(), &apiv1.ExportPolicyRequest{Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := evidence.ParsePolicy(answer.GetPolicy())
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := evidence.Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), policy, evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

// wantInBundle: the value is disclosed whole.
func wantInBundle(t *testing.T, conn *grpc.ClientConn, value []byte) {
	bundle := export(t, conn)
	if got := verify(t, conn, bundle); got.Integrity != evidence.Intact || got.Records.FieldsDisclosed != 2 || got.Records.FieldsWithheld != 0 {
		t.Errorf("%s, %+v", got.Integrity, got.Records)
	}
	if !bytes.Contains(bundle, value) {
		t.Error("the value is not in the bundle")
	}
}

// TestKilledBetweenObjectAndBatch: the server dies when it has the object and before it has the batch; and the emitter,
// too, begins anew. The value arrives all the same, once.
func TestKilledBetweenObjectAndBatch(t *testing.T) {
	env := testenv.New(t, testenv.Durable)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	dir := env.Enrol("acme", "support-1").Dir
	e := openEmitter(t, dir)
	value := long(3 << 20)
	recordLong(t, e, value)
	for deadline := time.Now().Add(10 * time.Second); len(objectFiles(t, env)) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	env.Kill()
	_ = e.Close(t.Context()) // what was not delivered stays in the spool
	env.Start()
	deliver(t, openEmitter(t, dir))
	env.WaitCommitted()
	dana := env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	row := opened(t, dana, "acme")
	if whole := content(t, dana, "acme", row, "content"); !bytes.Equal(whole, value) {
		t.Errorf("%d of %d bytes", len(whole), len(value))
	}
	if files := objectFiles(t, env); len(files) != 1 || strings.HasSuffix(files[0], ".new") {
		t.Errorf("files %v", files)
	}
}

// wantNothingForOthers: who may read zeta gets the same answer for acme's content as for none.
func wantNothingForOthers(t *testing.T, env *testenv.Env, row *apiv1.EventRow) {
	env.CreateTenant("zeta")
	zoe := env.Person("zeta", "zoe", eventv1.Role_ROLE_AUDITOR)
	e, err := event.Parse(row.GetEvent())
	if err != nil {
		t.Fatal(err)
	}
	answer := func(tenant string, id []byte) string {
		stream, err := apiv1.NewQueryServiceClient(zoe).Content(t.Context(), &apiv1.ContentRequest{Tenant: tenant, Event: id, Path: "content"})
		if err == nil {
			_, err = stream.Recv()
		}
		return fmt.Sprint(err)
	}
	unknown := event.NewID(time.Now(), nil)
	if a, b := answer("acme", e.GetId()), answer("nobody", e.GetId()); a != b || a == "<nil>" {
		t.Errorf("foreign: %s; nonexistent: %s", a, b)
	}
	own, none := answer("zeta", e.GetId()), answer("zeta", unknown[:])
	if strings.ReplaceAll(own, event.ID(e.GetId()).String(), "") != strings.ReplaceAll(none, unknown.String(), "") {
		t.Errorf("acme's id in zeta: %s; no id: %s", own, none)
	}
}
