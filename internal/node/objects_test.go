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
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// long is a value of n bytes.
func long(n int) []byte {
	line := []byte("a row that jane@example.com asked for, and nobody may see\n")
	return bytes.Repeat(line, n/len(line)+1)[:n]
}

// emitter opens an emitter in a new tenant and instance.
func openEmitter(t *testing.T, env *testenv.Env, dir string) *edge.Emitter {
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
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	dana := env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	e := openEmitter(t, env, env.Enrol("acme", "support-1").Dir)
	value := long(3<<20 + 5)
	recordLong(t, e, value)
	deliver(t, e)
	env.WaitCommitted()
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
	if problems, sum := check(t, env); len(problems) != 0 || !sum.GetDone() {
		t.Errorf("check: %v", problems)
	}
	_ = fmt.Sprint
}
