package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/ca"
)

// person adds a user and returns their certificate.
func (s *site) person(tenant, name string, role eventv1.Role) ca.Client {
	s.t.Helper()
	r, err := s.asRoot().AddUser(s.t.Context(), &apiv1.AddUserRequest{Tenant: tenant, Name: name, Role: role})
	if err != nil {
		s.t.Fatal(err)
	}
	return ca.Client{CertPEM: r.GetCertificatePem(), KeyPEM: r.GetKeyPem()}
}

func fingerprintOf(c ca.Client) access.Fingerprint {
	block, _ := pem.Decode(c.CertPEM)
	return sha256.Sum256(block.Bytes)
}

// actions lists what Custody recorded in a tenant's log.
func (s *site) actions(tenant string) (list []string) {
	for _, e := range s.systemEvents(tenant) {
		list = append(list, event.Action(e))
	}
	return list
}

func TestTenantBeginsWithGenesisAndGrants(t *testing.T) {
	s := newSite(t, siteConfig{})
	r, err := s.asRoot().CreateTenant(t.Context(), &apiv1.CreateTenantRequest{Tenant: "acme", DisplayName: "Acme Corp"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(r.GetOrigin(), "test.example/custody/") {
		t.Errorf("origin is %q", r.GetOrigin())
	}
	events := s.systemEvents("acme")
	genesis := events[0].GetSystem()
	key := s.system.key.Public()
	if string(genesis.GetGenesis().GetSystemKey()) != string(key[:]) || genesis.GetGenesis().GetOrigin() != r.GetOrigin() || genesis.GetActor() != "root" {
		t.Errorf("genesis is %v", genesis)
	}
	if len(events) != 7 { // root's six roles
		t.Errorf("%d events: %v", len(events), s.actions("acme"))
	}
	if _, err := s.asRoot().CreateTenant(t.Context(), &apiv1.CreateTenantRequest{Tenant: "acme"}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a second time: %v", err)
	}
}

// TestBadInputChangesNothing: every refusal names the field, and no leaf is written.
func TestBadInputChangesNothing(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1")
	id, unknown := a.key.ID(), make([]byte, 32)
	root, ctx := s.asRoot(), t.Context()
	long := strings.Repeat("x", event.MaxText+1)
	tests := map[string]struct {
		call  func() error
		code  codes.Code
		field string
	}{
		"tenant name": {func() error { return second(root.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: "Acme Corp"})) }, codes.InvalidArgument, "tenant"},
		"tenant too long": {func() error {
			return second(root.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: strings.Repeat("a", 64)}))
		}, codes.InvalidArgument, "tenant"},
		"tenant reserved": {func() error { return second(root.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: "operator"})) }, codes.InvalidArgument, "tenant"},
		"display name": {func() error {
			return second(root.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: "new", DisplayName: long}))
		}, codes.InvalidArgument, "display_name"},
		"instance name": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "a/b"}))
		}, codes.InvalidArgument, "instance"},
		"instance reserved": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "custody"}))
		}, codes.InvalidArgument, "instance"},
		"instance of the operator": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "operator", Instance: "a"}))
		}, codes.InvalidArgument, "tenant"},
		"label": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "a", Labels: &eventv1.Labels{Owner: long}}))
		}, codes.InvalidArgument, "labels.owner"},
		"permission": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "a", Permissions: []*eventv1.Permission{{Tool: "x"}}}))
		}, codes.InvalidArgument, "permissions[0].verb"},
		"manifest digest": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "a", ManifestDigest: []byte{1}}))
		}, codes.InvalidArgument, "source_digest"},
		"token of no instance": {func() error {
			return second(root.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{Tenant: "acme", Instance: "nope", Producer: 1}))
		}, codes.NotFound, "instance"},
		"token of no class": {func() error {
			return second(root.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{Tenant: "acme", Instance: "support-1", Producer: 4}))
		}, codes.InvalidArgument, "producer"},
		"token for ever": {func() error {
			return second(root.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{Tenant: "acme", Instance: "support-1", Producer: 1, Ttl: int64(MaxTokenTTL) + 1}))
		}, codes.InvalidArgument, "ttl"},
		"key id": {func() error {
			return second(root.RevokeKey(ctx, &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: []byte{1}}))
		}, codes.InvalidArgument, "key_id"},
		"key unknown": {func() error {
			return second(root.RevokeKey(ctx, &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: unknown}))
		}, codes.NotFound, "key"},
		"suspect in the future": {func() error {
			return second(root.SuspectKey(ctx, &apiv1.SuspectKeyRequest{Tenant: "acme", KeyId: id[:], SuspectFrom: 1000}))
		}, codes.InvalidArgument, "suspect_from"},
		"reason too long": {func() error {
			return second(root.RevokeKey(ctx, &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: id[:], Reason: long}))
		}, codes.InvalidArgument, "reason"},
		"secret in a reason": {func() error {
			return second(root.RevokeKey(ctx, &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: id[:], Reason: "leaked " + awsKey}))
		}, codes.InvalidArgument, "reason"},
		"secret in a label": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "a", Labels: &eventv1.Labels{Owner: awsKey}}))
		}, codes.InvalidArgument, "labels.owner: looks like a secret"},
		"secret in a permission": {func() error {
			return second(root.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "a", Permissions: []*eventv1.Permission{{Verb: 1, Tool: "t", Resource: awsKey}}}))
		}, codes.InvalidArgument, "permissions[0].resource: looks like a secret"},
		"name of the authority": {func() error {
			return second(root.AddUser(ctx, &apiv1.AddUserRequest{Tenant: "acme", Name: "ca", Role: 2}))
		}, codes.InvalidArgument, "name"},
		"person's name": {func() error {
			return second(root.AddUser(ctx, &apiv1.AddUserRequest{Tenant: "acme", Name: "Dana D.", Role: 2}))
		}, codes.InvalidArgument, "name"},
		"person's role": {func() error {
			return second(root.AddUser(ctx, &apiv1.AddUserRequest{Tenant: "acme", Name: "dana", Role: 99}))
		}, codes.InvalidArgument, "role"},
		"operator's name in a tenant": {func() error {
			return second(root.AddUser(ctx, &apiv1.AddUserRequest{Tenant: "acme", Name: "root", Role: 2}))
		}, codes.AlreadyExists, "name"},
		"user in the operator's log": {func() error {
			return second(root.AddUser(ctx, &apiv1.AddUserRequest{Tenant: "operator", Name: "dana", Role: 2}))
		}, codes.InvalidArgument, "tenant"},
		"nobody": {func() error {
			return second(root.RemoveUser(ctx, &apiv1.RemoveUserRequest{Tenant: "acme", Name: "dana"}))
		}, codes.NotFound, "name"},
		"the last admin": {func() error { return second(root.RemoveUser(ctx, &apiv1.RemoveUserRequest{Name: "root"})) }, codes.FailedPrecondition, "name"},
		"operator's people in a tenant": {func() error {
			return second(root.RemoveUser(ctx, &apiv1.RemoveUserRequest{Tenant: "acme", Name: "root"}))
		}, codes.FailedPrecondition, "name"},
	}
	before := len(s.systemEvents("acme")) + len(s.systemEvents("operator"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.call()
			if status.Code(err) != test.code || !strings.HasPrefix(status.Convert(err).Message(), test.field) {
				t.Errorf("got %v", err)
			}
		})
	}
	if after := len(s.systemEvents("acme")) + len(s.systemEvents("operator")); after != before {
		t.Errorf("bad input left %d leaves", after-before)
	}
}

// second drops the answer.
func second[T any](_ T, err error) error { return err }

func TestInstanceIsChangedOnlyByWhatIsNew(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	root := s.asRoot()
	manifest := &apiv1.CreateInstanceRequest{
		Tenant: "acme", Instance: "support-1", Labels: &eventv1.Labels{Owner: "team-a", Regulation: []string{"gdpr"}},
		Permissions: []*eventv1.Permission{{Verb: eventv1.PermissionVerb_PERMISSION_VERB_SEND, Tool: "send_email"}},
	}
	for range 2 { // the second time nothing changes
		r, err := root.CreateInstance(t.Context(), manifest)
		if err != nil || r.GetManifestVersion() != 2 {
			t.Errorf("got %v, %v", r, err)
		}
	}
	want := []string{"system.instance", "system.manifest", "system.instance", "system.manifest"}
	if diff := cmp.Diff(want, s.actions("acme")[7:]); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
}

func TestJoin(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	s.instance("acme", "support-2")
	client := apiv1.NewEnrolServiceClient(s.dial(ca.Client{}))
	token, key := s.token("acme", "support-1"), ok(signer.Generate())(t)
	enrolled := s.enrol("acme", "support-2")
	spoilt := map[string]struct {
		change func(*apiv1.JoinRequest)
		code   codes.Code
		field  string
	}{
		"no token":        {func(r *apiv1.JoinRequest) { r.Token = "" }, codes.Unauthenticated, "token"},
		"another token":   {func(r *apiv1.JoinRequest) { r.Token += "0" }, codes.Unauthenticated, "token"},
		"path as a token": {func(r *apiv1.JoinRequest) { r.Token = "custody-join_../../x" }, codes.Unauthenticated, "token"},
		"huge token":      {func(r *apiv1.JoinRequest) { r.Token = tokenPrefix + strings.Repeat("x", 1<<19) }, codes.Unauthenticated, "token"},
		"no key":          {func(r *apiv1.JoinRequest) { r.PublicKey = nil }, codes.InvalidArgument, "public_key"},
		"key of nobody":   {func(r *apiv1.JoinRequest) { r.PublicKey = make([]byte, 32) }, codes.InvalidArgument, "public_key"},
		"no proof":        {func(r *apiv1.JoinRequest) { r.Proof = nil }, codes.InvalidArgument, "proof"},
		"proof of others": {func(r *apiv1.JoinRequest) { r.Proof[0] ^= 1 }, codes.InvalidArgument, "proof"},
		"no enrolment":    {func(r *apiv1.JoinRequest) { r.Enrolment = nil }, codes.InvalidArgument, "enrolment"},
		"enrolment of another instance": {func(r *apiv1.JoinRequest) {
			r.Enrolment = joinRequest(t, token, "acme", "support-2", key).GetEnrolment()
		}, codes.InvalidArgument, "enrolment"},
		"replaces nothing": {func(r *apiv1.JoinRequest) { r.Replaces = make([]byte, 32) }, codes.NotFound, "replaces"},
		"replaces badly":   {func(r *apiv1.JoinRequest) { r.Replaces = []byte{1} }, codes.InvalidArgument, "replaces"},
		"key of another": {func(r *apiv1.JoinRequest) {
			proto.Reset(r)
			proto.Merge(r, joinRequest(t, token, "acme", "support-1", enrolled.key)) // of another instance
		}, codes.AlreadyExists, "key"},
	}
	for name, test := range spoilt {
		t.Run(name, func(t *testing.T) {
			r := joinRequest(t, token, "acme", "support-1", key)
			test.change(r)
			_, err := client.Join(t.Context(), r)
			if status.Code(err) != test.code || !strings.HasPrefix(status.Convert(err).Message(), test.field) {
				t.Errorf("got %v", err)
			}
		})
	}
	got, err := client.Join(t.Context(), joinRequest(t, token, "acme", "support-1", key))
	if err != nil {
		t.Fatalf("after spoilt requests the token is gone: %v", err)
	}
	id := key.ID()
	want := &apiv1.JoinResponse{Tenant: "acme", Instance: "support-1", KeyId: id[:], Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT}
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(got, "origin")); diff != "" || got.GetOrigin() == "" {
		t.Errorf("join (-want +got):\n%s", diff)
	}
	if _, err := client.Join(t.Context(), joinRequest(t, token, "acme", "support-1", ok(signer.Generate())(t))); !sameStatus(err, unknownToken()) {
		t.Errorf("a second time: %v", err)
	}
}

func unknownToken() error { return status.Error(codes.Unauthenticated, "token: "+ErrToken.Error()) }

func TestTokenExpires(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	token := s.token("acme", "support-1")
	s.clock.advance(DefaultTokenTTL)
	client := apiv1.NewEnrolServiceClient(s.dial(ca.Client{}))
	_, err := client.Join(t.Context(), joinRequest(t, token, "acme", "support-1", ok(signer.Generate())(t)))
	if !sameStatus(err, unknownToken()) {
		t.Errorf("got %v", err)
	}
}

// TestTokenIsTakenOnce: of many that hold the same token one gets in.
func TestTokenIsTakenOnce(t *testing.T) {
	tokens := ok(OpenTokens(t.TempDir(), time.Now))(t)
	token := ok(tokens.Create(Enrolment{Tenant: "acme", Instance: "a", Producer: 1, ExpiresAt: time.Now().Add(time.Hour).UnixNano()}))(t)
	var work sync.WaitGroup
	won := make(chan Enrolment, 16)
	for range 16 {
		work.Go(func() {
			if e, err := tokens.Take(token); err == nil {
				won <- e
			}
		})
	}
	work.Wait()
	if len(won) != 1 {
		t.Errorf("%d takers got in", len(won))
	}
}

// TestAJoinWhoseAnswerWasLost: whoever holds the key asks again with another token, and no second enrolment stands in the log.
func TestAJoinWhoseAnswerWasLost(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	client := apiv1.NewEnrolServiceClient(s.dial(ca.Client{}))
	first, next := s.enrol("acme", "support-1"), ok(signer.Generate())(t)
	old := first.key.ID()
	rotate := func(token string) *apiv1.JoinRequest {
		r := joinRequest(t, token, "acme", "support-1", next)
		r.Replaces = old[:]
		return r
	}
	again := func(request func(token string) *apiv1.JoinRequest, want codes.Code) {
		t.Helper()
		before, token := len(s.actions("acme")), s.token("acme", "support-1")
		if r, err := client.Join(t.Context(), request(token)); status.Code(err) != want || err == nil && r.GetInstance() != "support-1" {
			t.Errorf("again: %v, %v", r, err)
		}
		if after := len(s.actions("acme")); after != before {
			t.Errorf("%d more leaves", after-before)
		}
		if _, err := client.Join(t.Context(), request(token)); want == codes.OK && !sameStatus(err, unknownToken()) {
			t.Errorf("with the same token: %v", err)
		}
	}
	join := func(token string) *apiv1.JoinRequest { return joinRequest(t, token, "acme", "support-1", first.key) }
	again(join, codes.OK)
	if _, err := client.Join(t.Context(), rotate(s.token("acme", "support-1"))); err != nil {
		t.Fatal(err)
	}
	again(rotate, codes.OK)
	again(join, codes.AlreadyExists) // it was rotated out
}

// TestLabelsThatAreNotNamedStay: whoever changes one label loses no other.
func TestLabelsThatAreNotNamedStay(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	change := func(labels *eventv1.Labels, names ...string) error {
		return second(s.asRoot().CreateInstance(t.Context(), &apiv1.CreateInstanceRequest{
			Tenant: "acme", Instance: "support-1", Labels: labels, LabelNames: names,
		}))
	}
	if err := change(&eventv1.Labels{Client: "c", Owner: "o", OnCall: "p", Environment: "e", Regulation: []string{"gdpr"}, Canary: true}); err != nil {
		t.Fatal(err)
	}
	if err := change(&eventv1.Labels{OnCall: "q", Client: "not named"}, "on_call", "owner"); err != nil {
		t.Fatal(err)
	}
	if err := change(&eventv1.Labels{}, "colour"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "label_names[0]") {
		t.Errorf("no label: %v", err)
	}
	i, _ := s.admin.instance("acme", "support-1")
	want := &eventv1.Labels{Client: "c", OnCall: "q", Environment: "e", Regulation: []string{"gdpr"}, Canary: true}
	if diff := cmp.Diff(want, i.Labels, protocmp.Transform()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// TestRevokedAndInDoubtFromTheBeginning: leaf 0 is nobody's, and still all that the key signed is in doubt.
func TestRevokedAndInDoubtFromTheBeginning(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	id := idOf(s.enrol("acme", "support-1"))
	revoke := &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: id, Suspect: true, Reason: "stolen"}
	if _, err := s.asRoot().RevokeKey(t.Context(), revoke); err != nil {
		t.Fatal(err)
	}
	r, err := s.asRoot().ListKeys(t.Context(), &apiv1.ListKeysRequest{Tenant: "acme"})
	if err != nil || !r.GetKeys()[0].GetSuspect() || r.GetKeys()[0].GetSuspectFrom() > r.GetKeys()[0].GetValidFrom() {
		t.Errorf("got %v, %v", r, err)
	}
	_, err = s.asRoot().RevokeKey(t.Context(), revoke)
	if hexID := hex.EncodeToString(id); status.Convert(err).Message() != "key "+hexID+": "+registry.ErrEnded.Error() {
		t.Errorf("twice: %v", err)
	}
}

// TestExportKeysAreReplaced: the key is there before the log names it, and that of before is gone.
func TestExportKeysAreReplaced(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	root, dir, before := s.asRoot(), signer.ExportKeys(filepath.Join(s.dir, "export")), signer.KeyID{}
	for _, algorithm := range []string{signer.AlgorithmP256, signer.AlgorithmEd25519} {
		r, err := root.RotateExportKey(t.Context(), &apiv1.RotateExportKeyRequest{Tenant: "acme", Algorithm: algorithm, Reason: "wanted"})
		if err != nil {
			t.Fatal(err)
		}
		id := signer.KeyID(r.GetKeyId())
		key, err := dir.Load(id)
		if err != nil || key.Algorithm() != algorithm || signer.ExportKey(r.GetPublicKey()).ID() != id {
			t.Errorf("%s: %v, %v", algorithm, r, err)
		}
		if _, err := dir.Load(before); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the one before: %v", err)
		}
		events := s.systemEvents("acme")
		if x := events[len(events)-1].GetSystem(); x.GetActor() != "root" || x.GetReason() != "wanted" || string(x.GetExportKey().GetPublicKey()) != string(r.GetPublicKey()) {
			t.Errorf("on record: %v", x)
		}
		before = id
	}
	r, err := root.ListKeys(t.Context(), &apiv1.ListKeysRequest{Tenant: "acme"})
	if err != nil || len(r.GetExportKeys()) != 3 {
		t.Fatalf("got %v, %v", r, err)
	}
	for i, k := range r.GetExportKeys() {
		if k.GetReplaced() != (i < 2) || (k.GetAlgorithm() == signer.AlgorithmP256) != (i == 1) || k.GetReplaced() && k.GetValidTo() != r.GetExportKeys()[i+1].GetValidFrom() {
			t.Errorf("key %d: %v", i, k)
		}
	}
}

// TestExportKeysThatAreRefused changes nothing.
func TestExportKeysThatAreRefused(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	for name, test := range map[string]struct {
		r    *apiv1.RotateExportKeyRequest
		code codes.Code
	}{
		"no algorithm":      {&apiv1.RotateExportKeyRequest{Tenant: "acme", Reason: "r"}, codes.InvalidArgument},
		"another algorithm": {&apiv1.RotateExportKeyRequest{Tenant: "acme", Algorithm: "ecdsa-p384", Reason: "r"}, codes.InvalidArgument},
		"no reason":         {&apiv1.RotateExportKeyRequest{Tenant: "acme", Algorithm: "ed25519"}, codes.InvalidArgument},
		"a secret":          {&apiv1.RotateExportKeyRequest{Tenant: "acme", Algorithm: "ed25519", Reason: awsKey}, codes.InvalidArgument},
		"the operator":      {&apiv1.RotateExportKeyRequest{Tenant: "operator", Algorithm: "ed25519", Reason: "r"}, codes.InvalidArgument},
	} {
		if _, err := s.asRoot().RotateExportKey(t.Context(), test.r); status.Code(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.asRoot().RotateExportKey(t.Context(), &apiv1.RotateExportKeyRequest{Tenant: "nobody", Algorithm: "ed25519", Reason: "r"}); err == nil {
		t.Error("a tenant that is not there")
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "export")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRotationEndsTheOldKey(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	a.accept(a.batch("one"))
	key, token, old := ok(signer.Generate())(t), s.token("acme", "support-1"), a.key.ID()
	r := joinRequest(t, token, "acme", "support-1", key)
	r.Replaces = old[:]
	if _, err := apiv1.NewEnrolServiceClient(s.dial(ca.Client{})).Join(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := a.deliver(a.batch("two")).GetRefused(); got.GetReason() != badKey {
		t.Errorf("the old key: %v", got)
	}
	next := &agent{t: t, site: s, tenant: "acme", instance: "support-1", key: key, epoch: [16]byte{9}, epochNo: 1}
	next.connect().accept(next.batch("two"))
}

func TestKeysAreListedWithTheirEnds(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a, b := s.enrol("acme", "support-1"), s.enrol("acme", "support-1")
	id := b.key.ID()
	root := s.asRoot()
	if _, err := root.SuspectKey(t.Context(), &apiv1.SuspectKeyRequest{Tenant: "acme", KeyId: id[:], SuspectFrom: 3, Reason: "odd"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.RevokeKey(t.Context(), &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: id[:], Reason: "lost"}); err != nil {
		t.Fatal(err)
	}
	r, err := root.ListKeys(t.Context(), &apiv1.ListKeysRequest{Tenant: "acme"})
	if err != nil || len(r.GetKeys()) != 2 {
		t.Fatalf("got %v, %v", r, err)
	}
	for _, k := range r.GetKeys() {
		first := string(k.GetKeyId()) == string(idOf(a))
		if k.GetRevoked() == first || k.GetSuspect() == first || k.GetProducer() != eventv1.ProducerClass_PRODUCER_CLASS_AGENT {
			t.Errorf("got %v", k)
		}
	}
}

func idOf(a *agent) []byte {
	id := a.key.ID()
	return id[:]
}

func TestPeople(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	s.tenant("zeta", "support-1")
	dana := s.person("acme", "dana", eventv1.Role_ROLE_ADMIN)
	omar := s.person("", "omar", eventv1.Role_ROLE_OPERATOR)
	asDana, asOmar := apiv1.NewAdminServiceClient(s.dial(dana)), apiv1.NewAdminServiceClient(s.dial(omar))

	if got := s.seenBy(dana); !cmp.Equal(got, []string{"acme"}) {
		t.Errorf("dana sees %v", got)
	}
	if got := s.seenBy(omar); !cmp.Equal(got, []string{"acme", "zeta"}) {
		t.Errorf("omar sees %v", got)
	}
	if _, err := asOmar.CreateTenant(t.Context(), &apiv1.CreateTenantRequest{Tenant: "new"}); err != nil {
		t.Errorf("omar: %v", err)
	}
	if got := s.seenBy(omar); !cmp.Equal(got, []string{"acme", "new", "zeta"}) {
		t.Errorf("omar sees %v", got)
	}
	if _, err := asDana.AddUser(t.Context(), &apiv1.AddUserRequest{Tenant: "acme", Name: "ann", Role: eventv1.Role_ROLE_ANALYST}); err != nil {
		t.Errorf("dana in her tenant: %v", err)
	}
	_, foreign := asDana.AddUser(t.Context(), &apiv1.AddUserRequest{Tenant: "zeta", Name: "ann", Role: eventv1.Role_ROLE_ANALYST})
	_, missing := asDana.AddUser(t.Context(), &apiv1.AddUserRequest{Tenant: "nobody", Name: "ann", Role: eventv1.Role_ROLE_ANALYST})
	if status.Code(foreign) != codes.PermissionDenied || !sameStatus(foreign, missing) {
		t.Errorf("foreign: %v, missing: %v", foreign, missing)
	}
	users, err := asDana.ListUsers(t.Context(), &apiv1.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range users.GetGrants() {
		names = append(names, fmt.Sprintf("%s@%s:%s", g.GetName(), g.GetTenant(), event.Roles.Name(g.GetRole())))
	}
	want := []string{
		"ann@acme:analyst", "dana@acme:admin", "omar@:operator",
		"root@:admin", "root@:auditor", "root@:analyst", "root@:responder", "root@:approver", "root@:operator",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// seenBy lists the tenants that a person sees.
func (s *site) seenBy(person ca.Client) (tenants []string) {
	s.t.Helper()
	r, err := apiv1.NewAdminServiceClient(s.dial(person)).ListTenants(s.t.Context(), &apiv1.ListTenantsRequest{})
	if err != nil {
		return []string{status.Code(err).String()}
	}
	for _, info := range r.GetTenants() {
		tenants = append(tenants, info.GetTenant())
	}
	return tenants
}

func TestRoleThatIsTakenAwayEndsAtOnce(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	dana, omar := s.person("acme", "dana", eventv1.Role_ROLE_AUDITOR), s.person("", "omar", eventv1.Role_ROLE_AUDITOR)
	root := s.asRoot()
	if _, err := root.RemoveUser(t.Context(), &apiv1.RemoveUserRequest{Tenant: "acme", Name: "dana"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.RemoveUser(t.Context(), &apiv1.RemoveUserRequest{Name: "omar"}); err != nil {
		t.Fatal(err)
	}
	for name, person := range map[string]ca.Client{"dana": dana, "omar": omar} {
		if got := s.seenBy(person); !cmp.Equal(got, []string{"PermissionDenied"}) {
			t.Errorf("%s still sees %v", name, got)
		}
	}
}

// TestReconcile repairs what a crash in the middle of a grant over all tenants leaves.
func TestReconcile(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	client, fingerprint, err := s.admin.issue("omar")
	if err != nil {
		t.Fatal(err)
	}
	grant := &eventv1.GrantChange{Principal: "omar", Role: eventv1.Role_ROLE_AUDITOR, Certificate: fingerprint, AllTenants: true}
	change := func(tenant event.TenantID, revoked bool) {
		g := proto.CloneOf(grant)
		g.Revoked = revoked
		if err := s.admin.change(t.Context(), tenant, &eventv1.System{Detail: &eventv1.System_Grant{Grant: g}}); err != nil {
			t.Fatal(err)
		}
	}
	change(event.TenantOperator, false) // crash before acme's log
	if err := s.admin.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.admission.Grants(fingerprintOf(client)); len(got) != 2 {
		t.Errorf("after the grant: %v", got)
	}
	change(event.TenantOperator, true) // crash before acme's log
	if got := s.admission.Grants(fingerprintOf(client)); len(got) != 0 {
		t.Errorf("the copy in acme's log still counts: %v", got)
	}
	if err := s.admin.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if grants := s.admin.grantsOf("acme", "omar"); len(grants) != 0 {
		t.Errorf("acme's log still has %v", grants)
	}
	before := len(s.systemEvents("acme"))
	if err := s.admin.Reconcile(t.Context()); err != nil || len(s.systemEvents("acme")) != before {
		t.Errorf("reconciling twice wrote leaves, %v", err)
	}
}

func TestReadsAreLeaves(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	dana := s.person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	if _, err := apiv1.NewAdminServiceClient(s.dial(dana)).ListKeys(t.Context(), &apiv1.ListKeysRequest{Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	events := s.systemEvents("acme")
	last := events[len(events)-1].GetSystem()
	certificate := fingerprintOf(dana)
	if last.GetActor() != "dana" || last.GetAccess().GetMethod() != apiv1.AdminService_ListKeys_FullMethodName ||
		string(last.GetAccess().GetCertificate()) != string(certificate[:]) {
		t.Errorf("recorded %v", last)
	}
}

// TestSystemRecordsTogether: records made at the same time share batches, and all are there, in an unbroken
// numbering over several starts.
func TestSystemRecordsTogether(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	record := func(n int) {
		var work sync.WaitGroup
		for i := range n {
			work.Go(func() {
				e := systemEvent(&eventv1.System{Detail: &eventv1.System_Access{Access: &eventv1.Access{Method: fmt.Sprint(i)}}})
				if _, err := s.system.Record(context.Background(), "acme", e); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
	}
	record(50)
	s.restart()
	record(50)
	if n := len(s.systemEvents("acme")); n != 109 {
		t.Errorf("%d events, want 109", n)
	}
	messages := s.messages("custody.sys.acme")
	if len(messages) > 60 {
		t.Errorf("109 events took %d batches", len(messages))
	}
	var h head
	for _, m := range messages {
		b := ok(event.ParseStreamBatch(m.Data))(t)
		st := ok(event.ParseStatement(b.GetStatement()))(t)
		where, r := h.place(st, event.BatchDigest(b.GetStatement()))
		if r != nil || where != follows {
			t.Fatalf("message %d does not continue: %v", m.Seq, r)
		}
		h = ok(headOf(m.Data))(t)
	}
	if h.epochNo != 2 {
		t.Errorf("two starts are %d epochs", h.epochNo)
	}
}

// TestTwoProcessesShareTheSystemKey: each continues behind the other in a new epoch; nothing is lost.
func TestTwoProcessesShareTheSystemKey(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	other := NewSystem(s.system.key, s.stream, s.clock.now)
	defer other.Close()
	e := systemEvent(&eventv1.System{Detail: &eventv1.System_Access{Access: &eventv1.Access{Method: "m"}}})
	before := len(s.systemEvents("acme"))
	for range 3 {
		for _, system := range []*System{s.system, other} {
			if _, err := system.Record(t.Context(), "acme", e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(s.systemEvents("acme")) - before; n != 6 {
		t.Errorf("%d of 6 records", n)
	}
}

func TestSystemRefuses(t *testing.T) {
	s := newSite(t, siteConfig{})
	e := systemEvent(&eventv1.System{Detail: &eventv1.System_Access{Access: &eventv1.Access{Method: "m"}}})
	if _, err := s.system.Record(t.Context(), "nobody", e); err == nil || !strings.Contains(err.Error(), ErrNoTenant.Error()) {
		t.Errorf("no tenant: %v", err)
	}
	if _, err := s.system.Record(t.Context(), "operator", systemEvent(&eventv1.System{Reason: awsKey, Detail: e.GetSystem().GetDetail()})); err == nil {
		t.Error("a secret was recorded")
	}
	s.system.Close()
	if _, err := s.system.Record(t.Context(), "operator", e); err == nil {
		t.Error("recorded after the end")
	}
}

// TestStrangersMessagesDoNotChangeAdmission: whoever may publish to the bus still has no system key.
func TestStrangersMessagesDoNotChangeAdmission(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	forger := NewSystem(ok(signer.Generate())(t), s.stream, s.clock.now)
	defer forger.Close()
	grant := &eventv1.GrantChange{Principal: "eve", Role: eventv1.Role_ROLE_ADMIN, Certificate: make([]byte, 32)}
	seq := ok(forger.Record(t.Context(), "acme", systemEvent(&eventv1.System{Detail: &eventv1.System_Grant{Grant: grant}})))(t)
	if err := s.admission.Await(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	if grants := s.admin.grantsOf("acme", "eve"); len(grants) != 0 {
		t.Errorf("admitted %v", grants)
	}
}
