package notify

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/ingest"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// house is a stream with Custody's own events, and a server that is told.
type house struct {
	t        *testing.T
	stream   *stream.Stream
	key      *signer.Key
	system   *ingest.System
	dir      string
	receiver *receiver
}

// receiver is a real HTTP server that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int // of the next answers
	got    []sent
}

type sent struct {
	path   string
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: http.StatusOK}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, sent{q.URL.Path, q.Header, body})
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) all() []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// wait returns when the server was told so many times.
func (r *receiver) wait(t *testing.T, n int) []sent {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got := r.all(); len(got) >= n {
			return got
		}
	}
	t.Fatalf("told %d times, want %d", len(r.all()), n)
	return nil
}

func newHouse(t *testing.T) *house {
	t.Helper()
	s, err := stream.Open(t.Context(), stream.Config{Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	key, err := signer.Generate()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, stream: s, key: key, system: ingest.NewSystem(key, s, time.Now), dir: t.TempDir(), receiver: newReceiver(t)}
	t.Cleanup(h.system.Close)
	genesis := event.Example("system.genesis").GetSystem()
	public := key.Public()
	genesis.GetGenesis().SystemKey = public[:]
	if _, err := h.system.Create(t.Context(), "acme", &eventv1.Event{Body: &eventv1.Event_System{System: genesis}}); err != nil {
		t.Fatal(err)
	}
	return h
}

// say records system events.
func (h *house) say(systems ...*eventv1.System) {
	h.t.Helper()
	for _, x := range systems {
		if _, err := h.system.Record(h.t.Context(), "acme", &eventv1.Event{Body: &eventv1.Event_System{System: x}}); err != nil {
			h.t.Fatal(err)
		}
	}
}

// secret is written into a file of the owner's own.
func (h *house) secret(name, text string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

const webhookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

func (h *house) webhook() Receiver {
	return Receiver{Name: "ops", Kind: "webhook", URL: h.receiver.URL, SecretFile: h.secret("secret", webhookSecret), Severity: Info}
}

// open starts the engine with retries that do not wait; stop ends it.
func (h *house) open(change func(*Config), receivers ...Receiver) *Engine {
	h.t.Helper()
	cfg := Config{Source: h.stream, System: h.key.Public(), Receivers: receivers, Dir: filepath.Join(h.dir, "notify"), Sleep: hasty}
	if change != nil {
		change(&cfg)
	}
	e, err := Open(h.t.Context(), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(e.Close)
	return e
}

// hasty sleeps for a moment whatever is asked.
func hasty(ctx context.Context, _ time.Duration) bool { return sleep(ctx, 2*time.Millisecond) }

func containment(state eventv1.ContainmentState, path, evidence string) *eventv1.System {
	return &eventv1.System{Actor: "dana", Reason: "mails strangers", Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
		Plan: "c-1", Target: "instance/acme/mole", Level: "pause", State: state, Path: path, Evidence: evidence,
	}}}
}

const (
	requested = eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED
	proposed  = eventv1.ContainmentState_CONTAINMENT_STATE_PROPOSED
	delivered = eventv1.ContainmentState_CONTAINMENT_STATE_DELIVERED
	unproven  = eventv1.ContainmentState_CONTAINMENT_STATE_UNPROVEN
	verified  = eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED
	expiring  = eventv1.ContainmentState_CONTAINMENT_STATE_EXPIRING
	released  = eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED
)

// told is the payload of a webhook.
type told struct {
	Type string `json:"type"`
	Data struct {
		ID       string   `json:"id"`
		Key      string   `json:"key"`
		Severity string   `json:"severity"`
		Title    string   `json:"title"`
		Detail   string   `json:"detail"`
		Resolved bool     `json:"resolved"`
		Commands []string `json:"commands"`
	} `json:"data"`
}

func parse(t *testing.T, list []sent) (all []told) {
	t.Helper()
	for _, s := range list {
		var x told
		if err := json.Unmarshal(s.body, &x); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	return all
}

func types(all []told) (list []string) {
	for _, x := range all {
		list = append(list, x.Type)
	}
	return list
}

// TestTellsOfEvents: each kind of event is told in the order of the log, what is nobody's business is not, and the end of a
// containment ends what was told of it.
func TestTellsOfEvents(t *testing.T) {
	h := newHouse(t)
	h.open(nil, h.webhook())
	h.say(
		containment(proposed, "", ""), containment(requested, "", ""), containment(requested, "gate/ab", ""), containment(delivered, "gate/ab", ""),
		containment(unproven, "gate/ab", "not proven within 1m0s"), containment(unproven, "connector/mail", "STILL ALIVE: \x1b[31m200"),
		containment(verified, "connector/mail", "401"), event.Example("system.access").GetSystem(), event.Example("system.case").GetSystem(),
		&eventv1.System{Actor: "dana", Reason: "x", Detail: &eventv1.System_Case{Case: &eventv1.Case{Case: "case-1", Action: 1, Target: "tenant/acme"}}},
		containment(expiring, "", ""), containment(released, "", ""),
	)
	want := []string{
		"custody.proposed", "custody.contained", "custody.unproven", "custody.unproven", "custody.proven", "custody.case",
		"custody.expiring", "custody.released", "custody.released",
	}
	got := parse(t, h.receiver.wait(t, len(want)))
	if diff := cmp.Diff(want, types(got)); diff != "" {
		t.Fatalf("told (-want +got):\n%s", diff)
	}
	if keep := got[6].Data.Commands[0]; keep != "custody contain instance/acme/mole --level pause --reason 'not over'" {
		t.Errorf("of what is about to end: %q", keep)
	}
	quarantined := &eventv1.Containment{Target: "run/acme/it's", Level: "quarantine"}
	if keep := keepOf(quarantined); keep != `custody contain 'run/acme/it'\''s' --level pause --reason 'not over'` {
		t.Errorf("of a quarantine that is about to end: %q", keep)
	}
	if strings.ContainsRune(got[3].Data.Detail, 0x1b) {
		t.Errorf("detail %q", got[3].Data.Detail)
	}
	for _, x := range got {
		if len(x.Data.Commands) == 0 || !strings.HasPrefix(x.Data.Commands[0], "custody ") {
			t.Errorf("%s: commands %q", x.Type, x.Data.Commands)
		}
	}
	ended := []string{got[6].Data.Key, got[7].Data.Key}
	slices.Sort(ended)
	if diff := cmp.Diff([]string{"containment/acme/c-1", "step/acme/c-1/gate/ab"}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
}

// TestManyStepsAreOneNotification: of the steps of one containment that are not proven, the first few are told one by one and the others
// are counted; the end of the containment ends them all.
func TestManyStepsAreOneNotification(t *testing.T) {
	h := newHouse(t)
	h.open(nil, h.webhook())
	var events []*eventv1.Event
	for i := range 100 {
		x := containment(unproven, fmt.Sprintf("gate/%02x", i), "not proven within 1m0s")
		events = append(events, &eventv1.Event{Body: &eventv1.Event_System{System: x}})
	}
	if _, err := h.system.Record(t.Context(), "acme", events...); err != nil {
		t.Fatal(err)
	}
	h.say(containment(released, "", ""))
	got := parse(t, h.receiver.wait(t, 12))
	if title := got[5].Data.Title; title != "NOT PROVEN: pause of instance/acme/mole by 95 more steps" {
		t.Errorf("the others: %q", title)
	}
	for i, x := range got {
		if x.Data.Resolved != (i > 5) {
			t.Errorf("%d: %s, resolved %v", i, x.Data.Key, x.Data.Resolved)
		}
	}
	if next := got[0].Data.Commands[1]; next != "custody contain instance/acme/mole --level quarantine --plan" {
		t.Errorf("what to do about a step: %q", next)
	}
}

// TestBrokenGlassIsLoud: whoever acts without the second person is named, to whoever hears only of the gravest too; an end of a
// containment that was told of does not hide it.
func TestBrokenGlassIsLoud(t *testing.T) {
	h := newHouse(t)
	gravest := h.webhook()
	gravest.Severity = Critical
	h.open(nil, gravest)
	broken := func(state eventv1.ContainmentState) *eventv1.System {
		x := containment(state, "", "")
		x.GetContainment().BreakGlass = true
		return x
	}
	h.say(broken(requested), broken(released), containment(unproven, "gate/ab", "last"))
	got := parse(t, h.receiver.wait(t, 3))
	if diff := cmp.Diff([]string{"custody.glass", "custody.glass", "custody.unproven"}, types(got)); diff != "" {
		t.Fatalf("told (-want +got):\n%s", diff)
	}
	for i, verb := range []string{"contained", "released"} {
		x := got[i].Data
		if x.Title != "GLASS BROKEN: dana "+verb+" (instance/acme/mole, pause), and no second person was asked" || x.Severity != "critical" || x.Resolved {
			t.Errorf("%s: %+v", verb, x)
		}
	}
}

// TestSignature: whoever has the secret, or the public key, can check that it was us, as Standard Webhooks says.
func TestSignature(t *testing.T) {
	seed := sha256.Sum256([]byte("seed"))
	private := ed25519.NewKeyFromSeed(seed[:])
	for name, test := range map[string]struct {
		secret string
		check  func(message, signature []byte) bool
		prefix string
	}{
		"HMAC": {webhookSecret, func(message, signature []byte) bool {
			key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(webhookSecret, "whsec_"))
			mac := hmac.New(sha256.New, key)
			mac.Write(message)
			return hmac.Equal(mac.Sum(nil), signature)
		}, "v1,"},
		"Ed25519": {"whsk_" + base64.StdEncoding.EncodeToString(seed[:]), func(message, signature []byte) bool {
			return ed25519.Verify(private.Public().(ed25519.PublicKey), message, signature)
		}, "v1a,"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			r := h.webhook()
			r.SecretFile = h.secret("key", test.secret)
			h.open(nil, r)
			h.say(containment(requested, "", ""))
			got := h.receiver.wait(t, 1)[0]
			text, ok := strings.CutPrefix(got.header.Get("Webhook-Signature"), test.prefix)
			signature, err := base64.StdEncoding.DecodeString(text)
			message := got.header.Get("Webhook-Id") + "." + got.header.Get("Webhook-Timestamp") + "." + string(got.body)
			if !ok || err != nil || !test.check([]byte(message), signature) {
				t.Errorf("signature %q", got.header.Get("Webhook-Signature"))
			}
		})
	}
}

// TestKnownSignature is the example of the specification's libraries.
func TestKnownSignature(t *testing.T) {
	k, err := signingKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	k.sign(r, "msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0))
	if got := r.Header.Get("Webhook-Signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
}

// TestRetriesAndGoesOn: a receiver that is down is told later, in order and under the same id; one that refuses a notification as such
// does not hold back the next for ever.
func TestRetriesAndGoesOn(t *testing.T) {
	h := newHouse(t)
	h.receiver.answer(http.StatusServiceUnavailable)
	h.open(nil, h.webhook())
	h.say(containment(requested, "", ""), containment(unproven, "gate/ab", "silence"))
	tried := h.receiver.wait(t, 3)
	if tried[0].header.Get("Webhook-Id") != tried[2].header.Get("Webhook-Id") {
		t.Error("another attempt has another id")
	}
	h.receiver.answer(http.StatusOK)
	last := func() string { got := parse(t, h.receiver.all()); return got[len(got)-1].Type }
	for end := time.Now().Add(10 * time.Second); last() != "custody.unproven" && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := last(); got != "custody.unproven" {
		t.Fatalf("the last is %s", got)
	}
	h.receiver.answer(http.StatusBadRequest)
	before := len(h.receiver.all())
	h.say(containment(unproven, "gate/cd", "silence"), containment(unproven, "gate/ef", "silence"))
	if got := parse(t, h.receiver.wait(t, before+2*refusals)); got[before].Data.Key == got[before+refusals].Data.Key {
		t.Errorf("after %d refusals it is still %s", refusals, got[before].Data.Key)
	}
}

// TestAfterARestart: what was delivered is not sent again, and what happened meanwhile is.
func TestAfterARestart(t *testing.T) {
	h := newHouse(t)
	h.say(containment(proposed, "", "")) // before there was a receiver
	e := h.open(nil, h.webhook())
	h.say(containment(requested, "", ""))
	h.receiver.wait(t, 1)
	e.Close()
	h.say(containment(unproven, "gate/ab", "silence"))
	e = h.open(nil, h.webhook())
	h.receiver.wait(t, 2)
	e.Close()
	h.open(nil, h.webhook())
	h.say(containment(released, "", ""))
	want := []string{"custody.contained", "custody.unproven", "custody.released", "custody.released"}
	if diff := cmp.Diff(want, types(parse(t, h.receiver.wait(t, len(want))))); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestSeverityAndTenants: a receiver is told of what it asks for.
func TestSeverityAndTenants(t *testing.T) {
	h := newHouse(t)
	grave, foreign := h.webhook(), h.webhook()
	grave.Severity, foreign.Name, foreign.Tenants = Critical, "foreign", []string{"zeta"}
	h.open(nil, grave, foreign)
	h.say(containment(requested, "", ""), containment(unproven, "gate/ab", "silence"), containment(verified, "gate/cd", "401"), containment(released, "", ""))
	want := []string{"custody.unproven", "custody.released"}
	if diff := cmp.Diff(want, types(parse(t, h.receiver.wait(t, 2)))); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestFirings: the most severe come first, a flood is counted, each is told once, also after a restart, and again when a person is
// needed.
func TestFirings(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	var list []Firing
	for i := range mostFirings + 30 {
		severity := "medium"
		if i == mostFirings+29 {
			severity = "critical"
		}
		list = append(list, Firing{
			ID: event.ID{byte(i), 6: 0x80, 8: 0x80}, Tenant: "acme", Rule: "r", Severity: severity, Instance: "mole", Index: uint64(i), Time: time.Now().UnixNano(),
		})
	}
	firings := func(c *Config) {
		c.Firings = func() []Firing {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(list)
		}
	}
	e := h.open(firings, h.webhook())
	got := parse(t, h.receiver.wait(t, mostFirings+1))
	if got[0].Data.Severity != "critical" || got[mostFirings].Type != "custody.flood" || !strings.HasPrefix(got[mostFirings].Data.Title, "30 more firings in acme") {
		t.Errorf("first %s, last %s %q", got[0].Data.Severity, got[mostFirings].Type, got[mostFirings].Data.Title)
	}
	for end := time.Now().Add(10 * time.Second); e.workers[0].remembered() != len(list)+1 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	e.Close()
	mu.Lock()
	list[3].NeedsPerson = "20 containments in a minute"
	mu.Unlock()
	h.open(firings, h.webhook())
	got = parse(t, h.receiver.wait(t, mostFirings+2))
	if last := got[mostFirings+1]; last.Data.Severity != "critical" || !strings.Contains(last.Data.Detail, "20 containments") || len(got) != mostFirings+2 {
		t.Errorf("%d told, the last is %v", len(got), last)
	}
}

// TestForeignBatch: what the system key has not signed is told to nobody, and hinders nothing.
func TestForeignBatch(t *testing.T) {
	h := newHouse(t)
	stranger, err := signer.Generate()
	if err != nil {
		t.Fatal(err)
	}
	h.open(func(c *Config) { c.System = stranger.Public() }, h.webhook())
	h.say(containment(unproven, "gate/ab", "silence"))
	e := h.open(func(c *Config) { c.Dir = filepath.Join(h.dir, "again") }, h.webhook())
	h.say(containment(unproven, "gate/cd", "silence"))
	if got := parse(t, h.receiver.wait(t, 1)); got[0].Data.Key != "step/acme/c-1/gate/cd" || len(e.workers) != 1 {
		t.Errorf("told of %s", got[0].Data.Key)
	}
}

// TestADeadReceiverHoldsUpNobody: neither the others nor whoever records.
func TestADeadReceiverHoldsUpNobody(t *testing.T) {
	h := newHouse(t)
	dead := h.webhook()
	dead.Name, dead.URL = "dead", "http://127.0.0.1:1"
	e := h.open(nil, dead, h.webhook())
	h.say(containment(unproven, "gate/ab", "silence"))
	h.receiver.wait(t, 1)
	list, err := (&Service{Engine: e}).ListReceivers(t.Context(), nil)
	if err != nil || len(list.GetReceivers()) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	trouble := func() string { return e.workers[0].info().GetTrouble() }
	for end := time.Now().Add(10 * time.Second); trouble() == "" && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := trouble(); !strings.HasPrefix(got, "no answer: dial: ") || strings.Contains(got, "127.0.0.1") {
		t.Errorf("trouble %q", got)
	}
}

// TestGivenUp: after a day nobody is told any more, and that is counted.
func TestGivenUp(t *testing.T) {
	h := newHouse(t)
	e := h.open(func(c *Config) { c.Now = func() time.Time { return time.Now().Add(mostAge + time.Minute) } }, h.webhook())
	h.say(containment(unproven, "gate/ab", "silence"))
	for end := time.Now().Add(10 * time.Second); e.workers[0].info().GetGivenUp() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not given up")
		}
	}
	if n := len(h.receiver.all()); n != 0 {
		t.Errorf("told %d times", n)
	}
}

// remembered is how many notifications are dealt with.
func (w *worker) remembered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.state.IDs)
}
