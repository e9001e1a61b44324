package access

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// services are the files whose services the server registers.
var services = []protoreflect.FileDescriptor{
	apiv1.File_custody_api_v1_ingest_proto, apiv1.File_custody_api_v1_enrol_proto, apiv1.File_custody_api_v1_admin_proto, apiv1.File_custody_api_v1_retention_proto,
	apiv1.File_custody_api_v1_query_proto, apiv1.File_custody_api_v1_ledger_proto,
	apiv1.File_custody_api_v1_firing_proto, apiv1.File_custody_api_v1_armed_proto,
	apiv1.File_custody_api_v1_control_proto, apiv1.File_custody_api_v1_log_proto, apiv1.File_custody_api_v1_retention_proto,
	apiv1.File_custody_api_v1_blast_proto, apiv1.File_custody_api_v1_case_proto, apiv1.File_custody_api_v1_notify_proto,
	apiv1.File_custody_api_v1_approval_proto,
}

// methods returns the request type of every method of every service, by full gRPC name.
func methods() map[string]protoreflect.MethodDescriptor {
	all := make(map[string]protoreflect.MethodDescriptor)
	for _, file := range services {
		for i := range file.Services().Len() {
			list := file.Services().Get(i).Methods()
			for j := range list.Len() {
				m := list.Get(j)
				all[fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())] = m
			}
		}
	}
	return all
}

func TestTableHasExactlyTheMethodsOfTheServices(t *testing.T) {
	want, got := slices.Sorted(maps.Keys(methods())), slices.Sorted(maps.Keys(Methods))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("methods (-services +table):\n%s", diff)
	}
}

func TestTableMakesSense(t *testing.T) {
	for name, method := range methods() {
		rule := Methods[name]
		tenant := method.Input().Fields().ByName("tenant")
		if selfProving := rule.Scope == ByEmitter || rule.Scope == ByToken; selfProving != (rule.Roles == 0) {
			t.Errorf("%s: roles and scope do not fit", name)
		}
		if needs := rule.Scope == OneTenant || rule.Scope == TenantOrAll || rule.Scope == OneOfAll; needs && tenant == nil {
			t.Errorf("%s: its scope needs a tenant field", name)
		}
		short := name[strings.LastIndexByte(name, '/')+1:]
		if reads := readingName.MatchString(short) || strings.Contains(name, "QueryService"); reads && rule.Recorded == (unrecorded[short] != "") {
			t.Errorf("%s: a read that is not recorded, or one that is and is excused", name)
		}
	}
}

// readingName is how methods are called that change nothing.
var readingName = regexp.MustCompile(`^(List|Get|Show|Search|Trace|Why|Content|Read|Blast|Export|Plan|Status|Check|Isolation)`)

// unrecorded are the reads that are no leaf, with why. GUARANTEES has the same list.
var unrecorded = map[string]string{
	"ListTenants":   "names and sizes of logs, nothing that is in them",
	"ListReceivers": "the operator's, and no tenant's",
	"Status":        "of the server",
	"Check":         "what does not add up, and nothing else",
	"ExportPolicy":  "public keys",
	"ReadLog":       "leaves without names or content; who reads them is recorded once an hour",
}

// person is a caller of the tests; every one has a certificate of their own.
type person string

func (p person) der() []byte              { return []byte("certificate of " + p) }
func (p person) fingerprint() Fingerprint { return sha256.Sum256(p.der()) }

func (p person) ctx(t *testing.T) context.Context {
	leaf := &x509.Certificate{Raw: p.der(), NotAfter: testTime.Add(time.Hour)}
	state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
	return peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
}

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// world is the grants in force, by person, and the reads that were recorded.
type world struct {
	mu     sync.Mutex
	grants map[Fingerprint][]Grant
	reads  []Read
	broken error
}

func (w *world) Grants(f Fingerprint) []Grant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.grants[f]
}

func (w *world) RecordRead(_ context.Context, r Read) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads = append(w.reads, r)
	return uint64(len(w.reads)), w.broken
}

func (w *world) grant(p person, tenant event.TenantID, roles ...eventv1.Role) {
	w.grants[p.fingerprint()] = append(w.grants[p.fingerprint()], Grant{Tenant: tenant, Name: string(p), Roles: RolesOf(roles...)})
}

func newWorld() (*world, *Guard) {
	w := &world{grants: make(map[Fingerprint][]Grant)}
	return w, &Guard{Grants: w, Recorder: w, Now: func() time.Time { return testTime }}
}

// request makes a method's request about a tenant.
func request(t *testing.T, method string, tenant string) proto.Message {
	t.Helper()
	input := methods()[method].Input()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(input.FullName())
	if err != nil {
		t.Fatal(err)
	}
	m := kind.New()
	if field := input.Fields().ByName("tenant"); field != nil && tenant != "" {
		m.Set(field, protoreflect.ValueOfString(tenant))
	}
	return m.Interface()
}

// call makes a unary call through the guard and returns the decision that the method saw.
func call(ctx context.Context, g *Guard, method string, m proto.Message) (Call, error) {
	var seen Call
	_, err := g.Unary(ctx, m, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		seen, _ = From(ctx)
		return nil, nil
	})
	return seen, err
}

// TestEveryMethodForEveryRole walks the table: every role of one tenant, against the own, a foreign and a
// missing tenant.
func TestEveryMethodForEveryRole(t *testing.T) {
	for method, rule := range Methods {
		for _, role := range EveryRole.List() {
			w, g := newWorld()
			w.grant("ann", "acme", role)
			w.grant("zoe", "zeta", role)
			ctx := person("ann").ctx(t)
			own, errOwn := call(ctx, g, method, request(t, method, "acme"))
			_, errForeign := call(ctx, g, method, request(t, method, "zeta"))
			_, errMissing := call(ctx, g, method, request(t, method, "nobody"))
			if !sameError(errForeign, errMissing) {
				t.Errorf("%s as %s: foreign tenant gives %v, missing tenant %v", method, role, errForeign, errMissing)
			}
			tenantScoped := rule.Scope == OneTenant || rule.Scope == SeenTenants || rule.Scope == TenantOrAll
			if allowed := errOwn == nil; rule.Roles != 0 && allowed != (tenantScoped && rule.Roles.Has(role)) {
				t.Errorf("%s as %s: %v", method, role, errOwn)
			}
			if hasTenant := methods()[method].Input().Fields().ByName("tenant") != nil; tenantScoped && hasTenant && errForeign == nil {
				t.Errorf("%s as %s: let into a foreign tenant", method, role)
			}
			if errOwn == nil && rule.Roles != 0 && own.Principal.Name != "ann" {
				t.Errorf("%s as %s: the method saw %+v", method, role, own)
			}
		}
	}
}

// sameError compares what goes over the wire, byte for byte.
func sameError(a, b error) bool {
	x, errX := proto.Marshal(status.Convert(a).Proto())
	y, errY := proto.Marshal(status.Convert(b).Proto())
	return errX == nil && errY == nil && string(x) == string(y)
}

func TestDecisions(t *testing.T) {
	w, g := newWorld()
	w.grant("root", event.TenantOperator, admin, auditor)
	w.grant("root", "acme", admin, auditor)
	w.grant("root", "zeta", admin, auditor)
	w.grant("ann", "acme", auditor)
	w.grant("ann", "zeta", approver)
	const (
		check  = apiv1.LedgerService_Check_FullMethodName
		create = apiv1.AdminService_CreateTenant_FullMethodName
		add    = apiv1.AdminService_AddUser_FullMethodName
		search = apiv1.QueryService_Search_FullMethodName
		ps     = apiv1.QueryService_ListInstances_FullMethodName

		isolation = apiv1.EvidenceService_Isolation_FullMethodName
	)
	all := []event.TenantID{event.TenantOperator, "acme", "zeta"}
	tests := map[string]struct {
		who    person
		method string
		tenant string
		want   Call
		err    error
	}{
		"own tenant":                {"ann", search, "acme", Call{Tenants: []event.TenantID{"acme"}}, nil},
		"role missing there":        {"ann", search, "zeta", Call{}, noRole},
		"no tenant where needed":    {"ann", search, "", Call{}, noTenantNamed},
		"ill-formed tenant":         {"ann", search, "Acme Corp", Call{}, badTenant},
		"all that she may see":      {"ann", ps, "", Call{Tenants: []event.TenantID{"acme", "zeta"}}, nil},
		"all where her role counts": {"ann", check, "", Call{Tenants: []event.TenantID{"acme"}}, nil},
		"nobody sees nothing":       {"bob", ps, "", Call{}, noRole},
		"not over all":              {"ann", create, "new", Call{}, notAll},
		"over all":                  {"root", create, "new", Call{Tenants: all, All: true}, nil},
		"grant over all":            {"root", add, "", Call{Tenants: all, All: true}, nil},
		"grant in one":              {"root", add, "acme", Call{Tenants: []event.TenantID{"acme"}}, nil},
		"grant over all, not root":  {"ann", add, "", Call{}, notAll},
		"one of all, over all":      {"root", isolation, "acme", Call{Tenants: []event.TenantID{"acme"}, All: true}, nil},
		"one of all, not over all":  {"ann", isolation, "acme", Call{}, notAll},
		"one of all, none named":    {"root", isolation, "", Call{}, noTenantNamed},
		"one of all, unknown":       {"root", isolation, "nobody", Call{}, noTenant},
		"no such method":            {"root", "/custody.api.v1.AdminService/Drop", "acme", Call{}, noMethod},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := proto.Message(&apiv1.SearchRequest{Tenant: test.tenant})
			if _, known := methods()[test.method]; known {
				m = request(t, test.method, test.tenant)
			}
			got, err := call(test.who.ctx(t), g, test.method, m)
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			opt := cmpopts.IgnoreFields(Call{}, "Principal", "Recorded", "as")
			if diff := cmp.Diff(test.want, got, opt); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCertificate(t *testing.T) {
	w, g := newWorld()
	w.grant("ann", "acme", auditor)
	old := &x509.Certificate{Raw: person("ann").der(), NotAfter: testTime.Add(-time.Second)}
	tests := map[string]struct {
		peer *peer.Peer
		want error
	}{
		"no peer":        {nil, noCertificate},
		"no TLS":         {&peer.Peer{}, noCertificate},
		"no certificate": {&peer.Peer{AuthInfo: credentials.TLSInfo{}}, noCertificate},
		"not verified": {&peer.Peer{AuthInfo: credentials.TLSInfo{
			State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: person("ann").der()}}},
		}}, noCertificate},
		"expired": {&peer.Peer{AuthInfo: credentials.TLSInfo{
			State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{old}}},
		}}, expired},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if test.peer != nil {
				ctx = peer.NewContext(ctx, test.peer)
			}
			_, err := call(ctx, g, apiv1.QueryService_Search_FullMethodName, &apiv1.SearchRequest{Tenant: "acme"})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestReadsAreRecordedBeforeTheyHappen(t *testing.T) {
	w, g := newWorld()
	w.grant("ann", "acme", auditor)
	m := &apiv1.ExportRequest{Tenant: "acme", Purpose: "review 2026-1"}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := call(person("ann").ctx(t), g, apiv1.EvidenceService_Export_FullMethodName, m)
	if err != nil || got.Recorded != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	want := []Read{{
		Tenant: "acme", Principal: Principal{"ann", person("ann").fingerprint()}, Method: apiv1.EvidenceService_Export_FullMethodName,
		QueryDigest: sha256.Sum256(encoded), Opened: true, Purpose: "review 2026-1",
	}}
	if diff := cmp.Diff(want, w.reads); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
}

func TestNothingIsReadWithoutARecord(t *testing.T) {
	tests := map[string]struct {
		broken error
		want   codes.Code
	}{
		"stream is down":   {errors.New("disk is gone"), codes.Unavailable},
		"purpose too long": {&event.FieldError{Field: "system.reason", Reason: "longer than 4096 bytes"}, codes.InvalidArgument},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, g := newWorld()
			w.grant("ann", "acme", analyst)
			w.broken = test.broken
			ran := false
			info := &grpc.UnaryServerInfo{FullMethod: apiv1.QueryService_Why_FullMethodName}
			_, err := g.Unary(person("ann").ctx(t), &apiv1.WhyRequest{Tenant: "acme"}, info, func(context.Context, any) (any, error) {
				ran = true
				return nil, nil
			})
			if status.Code(err) != test.want || ran {
				t.Errorf("got %v, method ran: %v", err, ran)
			}
		})
	}
}

func TestOpened(t *testing.T) {
	tests := map[string]struct {
		request proto.Message
		want    bool
	}{
		"search":             {&apiv1.SearchRequest{}, false},
		"search, opened":     {&apiv1.SearchRequest{Open: true}, true},
		"export":             {&apiv1.ExportRequest{}, true},
		"export of nothing":  {&apiv1.ExportRequest{DiscloseNothing: true}, false},
		"content":            {&apiv1.ContentRequest{}, true},
		"approval":           {&apiv1.ShowApprovalRequest{}, true},
		"request without it": {&apiv1.ListKeysRequest{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := opens(test.request); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// wire is the server's end of a stream with one request.
type wire struct {
	grpc.ServerStream
	ctx  context.Context
	in   *apiv1.SearchRequest
	sent int
}

func (s *wire) Context() context.Context { return s.ctx }
func (s *wire) SendMsg(any) error        { s.sent++; return nil }
func (s *wire) RecvMsg(m any) error {
	proto.Merge(m.(proto.Message), s.in)
	return nil
}

// follow is a Search that answers until it cannot; between answers it runs then.
func follow(g *Guard, s *wire, then func()) error {
	info := &grpc.StreamServerInfo{FullMethod: apiv1.QueryService_Search_FullMethodName}
	return g.Stream(nil, s, info, func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(new(apiv1.SearchRequest)); err != nil {
			return err
		}
		for range 3 {
			if _, ok := From(stream.Context()); !ok {
				return errors.New("no decision in the context")
			}
			if err := stream.SendMsg(new(apiv1.SearchResponse)); err != nil {
				return err
			}
			then()
		}
		return nil
	})
}

func TestStreamIsAuthorisedAtItsRequest(t *testing.T) {
	w, g := newWorld()
	w.grant("ann", "acme", analyst)
	s := &wire{ctx: person("ann").ctx(t), in: &apiv1.SearchRequest{Tenant: "acme"}}
	if err := follow(g, s, func() {}); err != nil || s.sent != 3 || len(w.reads) != 1 {
		t.Errorf("got %v after %d answers and %d records", err, s.sent, len(w.reads))
	}
	s = &wire{ctx: person("ann").ctx(t), in: &apiv1.SearchRequest{Tenant: "zeta"}}
	if err := follow(g, s, func() {}); !errors.Is(err, noTenant) || s.sent != 0 {
		t.Errorf("foreign tenant: got %v after %d answers", err, s.sent)
	}
}

func TestStreamEndsWithTheRole(t *testing.T) {
	w, g := newWorld()
	w.grant("ann", "acme", analyst)
	s := &wire{ctx: person("ann").ctx(t), in: &apiv1.SearchRequest{Tenant: "acme"}}
	err := follow(g, s, func() { w.grants = nil })
	if !errors.Is(err, noTenant) || s.sent != 1 {
		t.Errorf("got %v after %d answers", err, s.sent)
	}
}

func TestStreamThatAnswersWithoutARequestIsRefused(t *testing.T) {
	_, g := newWorld()
	s := &wire{ctx: person("ann").ctx(t)}
	info := &grpc.StreamServerInfo{FullMethod: apiv1.QueryService_Search_FullMethodName}
	err := g.Stream(nil, s, info, func(_ any, stream grpc.ServerStream) error { return stream.SendMsg(new(apiv1.SearchResponse)) })
	if err == nil || s.sent != 0 {
		t.Errorf("got %v after %d answers", err, s.sent)
	}
}
