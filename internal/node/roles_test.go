package node_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/testenv"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/ca"
)

// roles are all roles of people.
var roles = access.EveryRole.List()

// method finds a registered method by its full gRPC name.
func method(t *testing.T, name string) protoreflect.MethodDescriptor {
	t.Helper()
	full := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(full)
	if err != nil {
		t.Fatal(err)
	}
	return found.(protoreflect.MethodDescriptor)
}

// call makes one call about a tenant with a request that is otherwise empty, and returns its error.
func call(t *testing.T, conn *grpc.ClientConn, name, tenant string) error {
	t.Helper()
	m := method(t, name)
	request, response := newMessage(t, m.Input()), newMessage(t, m.Output())
	if field := m.Input().Fields().ByName("tenant"); field != nil && tenant != "" {
		request.ProtoReflect().Set(field, protoreflect.ValueOfString(tenant))
	}
	if !m.IsStreamingServer() {
		return conn.Invoke(t.Context(), name, request, response)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return err
	}
	if err := stream.RecvMsg(response); !errors.Is(err, io.EOF) { // the first answer says who was let in
		return err
	}
	return nil
}

func newMessage(t *testing.T, kind protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	found, err := protoregistry.GlobalTypes.FindMessageByName(kind.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return found.New().Interface()
}

// sameBytes compares what two errors are on the wire.
func sameBytes(a, b error) bool {
	x, errX := proto.Marshal(status.Convert(a).Proto())
	y, errY := proto.Marshal(status.Convert(b).Proto())
	return errX == nil && errY == nil && string(x) == string(y)
}

// refusedBy reports whether access refused the call, rather than the method itself.
func refusedBy(err error) bool {
	code := status.Code(err)
	return code == codes.PermissionDenied || code == codes.Unauthenticated
}

// TestEveryCallOfEveryRole makes each call as each role of acme: about acme itself, about zeta, which is
// somebody else's, and about a tenant that does not exist. The last two cannot be told apart.
func TestEveryCallOfEveryRole(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateTenant("zeta")
	env.CreateInstance("acme", "support-1")
	env.CreateInstance("zeta", "support-1")
	env.WaitCommitted()
	for _, role := range roles {
		name := event.Roles.Name(role)
		conn, all := env.Person("acme", "acme-"+name, role), env.Person("", "all-"+name, role)
		for _, full := range slices.Sorted(maps.Keys(access.Methods)) {
			rule := access.Methods[full]
			if rule.Scope == access.ByEmitter || rule.Scope == access.ByToken {
				continue
			}
			foreign, missing := call(t, conn, full, "zeta"), call(t, conn, full, "nobody")
			if !sameBytes(foreign, missing) {
				t.Errorf("%s as %s of acme: zeta gives %v, a missing tenant %v", full, name, foreign, missing)
			}
			hasTenant := method(t, full).Input().Fields().ByName("tenant") != nil
			if allowed := !refusedBy(foreign); allowed && (hasTenant || !rule.Roles.Has(role)) {
				t.Errorf("%s as %s of acme was let into zeta: %v", full, name, foreign)
			}
			own := !refusedBy(call(t, conn, full, "acme"))
			if want := rule.Roles.Has(role) && rule.Scope != access.AllTenants && rule.Scope != access.OneOfAll; own != want {
				t.Errorf("%s as %s of acme, about acme: let in %v, want %v", full, name, own, want)
			}
			if got := !refusedBy(call(t, all, full, "zeta")); got != rule.Roles.Has(role) {
				t.Errorf("%s as %s over all tenants: let in %v", full, name, got)
			}
		}
	}
}

// TestWithoutACertificate: only emitters and those who hold a token may come without one.
func TestWithoutACertificate(t *testing.T) {
	env := testenv.New(t)
	authority, err := os.ReadFile(filepath.Join(env.DataDir(), "keys", "ca", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.ClientTLS(authority, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(env.Address(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for full, rule := range access.Methods {
		if rule.Scope == access.ByEmitter || rule.Scope == access.ByToken {
			continue
		}
		if err := call(t, conn, full, "acme"); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", full, err)
		}
	}
}

// TestOldTLSIsRefused: nothing below TLS 1.3 is spoken.
func TestOldTLSIsRefused(t *testing.T) {
	env := testenv.New(t)
	authority, err := os.ReadFile(filepath.Join(env.DataDir(), "keys", "ca", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.ClientTLS(authority, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	conn, err := tls.Dial("tcp", env.Address(), config)
	if err == nil {
		conn.Close()
		t.Error("TLS 1.2 was spoken")
	}
}

// TestReadIsALeafBeforeItIsAnswered: what a person read stands in the tenant's log, and in no other.
func TestReadIsALeafBeforeItIsAnswered(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateTenant("zeta")
	dana := env.Person("acme", "dana", eventv1.Role_ROLE_ANALYST)
	env.WaitCommitted()
	sizes := func() string {
		acme, _ := env.Node().Ledger().Head("acme")
		zeta, _ := env.Node().Ledger().Head("zeta")
		return fmt.Sprint(acme.Size, " ", zeta.Size)
	}
	if before := sizes(); before != "7 6" {
		t.Fatalf("sizes are %s", before)
	}
	if err := call(t, dana, "/custody.api.v1.QueryService/Search", "acme"); err != nil {
		t.Fatal(err)
	}
	_ = call(t, dana, "/custody.api.v1.QueryService/Search", "zeta")
	env.WaitCommitted()
	if after := sizes(); after != "8 6" {
		t.Errorf("sizes are %s", after)
	}
}
