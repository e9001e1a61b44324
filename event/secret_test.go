package event_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Bodies of tokens, put together at run time so that scanners of repositories stay quiet.
const (
	base62  = "a8Kf93LmQz71BvTxW05cRn2YhJ6dPsG4uEiO"
	hex32   = "9f86d081884c7d659a2feaa0c55ad015"
	base32  = "J7Q2KXWMB4TZ6N3P"
	jwtText = "eyJhbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" + "." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	pemText = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----"
)

func TestScrub(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"aws":               {"key AKIA" + base32 + ".", "key [secret:aws_access_key]."},
		"aws secret":        {"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "zzKEY12345", "aws_secret_access_key = [secret:secret_value]"},
		"github":            {"token: ghp_" + base62, "token: [secret:github_token]"},
		"github fine":       {"x github_pat_11ABC_" + base62 + " y", "x [secret:github_token] y"},
		"gitlab":            {"glpat-" + base62[:20], "[secret:gitlab_token]"},
		"slack":             {"xoxb-1234567890-" + base62, "[secret:slack_token]"},
		"stripe":            {"sk_live_" + base62[:24], "[secret:stripe_key]"},
		"openai":            {"sk-" + base62 + base62[:12], "[secret:openai_key]"},
		"openai project":    {"sk-proj-" + base62, "[secret:openai_key]"},
		"anthropic":         {"sk-ant-api03-" + base62, "[secret:anthropic_key]"},
		"google":            {"AIza" + base62[:35], "[secret:google_api_key]"},
		"google oauth":      {"ya29." + base62, "[secret:google_oauth_token]"},
		"sendgrid":          {"SG." + base62[:22] + "." + base62 + " ok", "[secret:sendgrid_key] ok"},
		"vault":             {"hvs." + base62, "[secret:vault_token]"},
		"npm":               {"npm_" + base62, "[secret:npm_token]"},
		"twilio":            {"SK" + hex32, "[secret:twilio_key]"},
		"jwt":               {"got " + jwtText + ", fine", "got [secret:jwt], fine"},
		"bearer jwt":        {"Authorization: Bearer " + jwtText, "Authorization: Bearer [secret:jwt]"},
		"bearer":            {"authorization: bearer " + base62 + "\n", "authorization: bearer [secret:bearer_token]\n"},
		"basic":             {"Authorization: Basic dXNlcjpodW50ZXIy", "Authorization: Basic [secret:basic_auth]"},
		"private key":       {"a\n" + pemText + "\nb", "a\n[secret:private_key]\nb"},
		"private key cut":   {"-----BEGIN PRIVATE KEY-----\nMHcC", "[secret:private_key]"},
		"private key json":  {`{"k":"` + strings.ReplaceAll(pemText, "\n", `\n`) + `"}`, `{"k":"[secret:private_key]"}`},
		"password":          {"password=hunter2", "password=[secret:password]"},
		"password prose":    {"the DB password: Tr0ub4dor&3, ok", "the DB password: [secret:password], ok"},
		"password json":     {`{"password":"s3cr3t!","a":1}`, `{"password":"[secret:password]","a":1}`},
		"password escaped":  {`"{\"db_password\": \"s3cr3t!\"}"`, `"{\"db_password\": \"[secret:password]\"}"`},
		"password yaml":     {"db:\n  passwd: 'p4ss;word'\n", "db:\n  passwd: '[secret:password]'\n"},
		"password env":      {"export PGPASSWORD=abc123xyz", "export PGPASSWORD=[secret:password]"},
		"password option":   {"mysql --password hunter2 -u root", "mysql --password [secret:password] -u root"},
		"password long":     {"passphrase=correcthorsebatterystaple", "passphrase=[secret:password]"},
		"url":               {"postgres://app:s3cret@db.corp:5432/x", "postgres://app:[secret:url_password]@db.corp:5432/x"},
		"url with at":       {"amqp://u:p@ss1@mq/", "amqp://u:[secret:url_password]@mq/"},
		"api key":           {"X-Api-Key: " + hex32, "X-Api-Key: [secret:secret_value]"},
		"api key go":        {`apiKey := "` + base62 + `"`, `apiKey := "[secret:secret_value]"`},
		"query":             {"https://a.example/?access_token=" + base62 + "&x=1", "https://a.example/?access_token=[secret:secret_value]&x=1"},
		"storage":           {"AccountName=a;AccountKey=" + base62 + "ab12==;E=c", "AccountName=a;AccountKey=[secret:secret_value];E=c"},
		"two":               {"AKIA" + base32 + " password=hunter2", "[secret:aws_access_key] password=[secret:password]"},
		"assigned specific": {`secret="ghp_` + base62 + `"`, `secret="[secret:github_token]"`},
	} {
		out, n := event.Scrub([]byte(c.text))
		if diff := cmp.Diff(c.want, string(out)); diff != "" || n == 0 {
			t.Errorf("%s: %d found (-want +got):\n%s", name, n, diff)
		}
		if d, found := event.ScanSecrets(out); found {
			t.Errorf("%s: %s found in scrubbed text %q", name, d, out)
		}
	}
}

func TestScanSecretsIsQuietOnOrdinaryText(t *testing.T) {
	for _, text := range []string{
		prose,
		"The bearer of bad news arrived; basic functionality works. Basic dXNlcg== is incomplete.",
		"Forgot your password? Password: must have at least 8 characters.",
		`{"password":{"type":"string"},"token_type":"bearer","max_tokens":4096,"secretName":"my-tls-secret"}`,
		`{"password":"Passwort","username":"Benutzername"}`,
		`{"next_page_token":"` + base62 + `","idempotency_token":"` + base62 + `"}`,
		"password=<your password> password=${DB_PASSWORD} password={{ .Values.password }} password=**** password=$DB_PASSWORD",
		"password = get_password1() ; password = os.environ['P1'] ; password=self.password1",
		"api_key=YOUR_API_KEY_1234567890 secret: none token: 550e8400-e29b-41d4-a716-446655440000",
		"sha256:" + hex32 + hex32 + " commit " + hex32 + "d00d1234 digest=" + hex32,
		"id 550e8400-e29b-41d4-a716-446655440000, order INV-2024-00017, DE89 3704 0044 0532 0130 00",
		"sk-learn-something-with-a-long-name and ghp_short and AKIASHORT and xoxb-none eyJustAWord.eyJanother",
		"https://example.com/path?user=bob ssh://git@github.com:22/x.git http://localhost:8080/a@b mailto:bob@corp.example",
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
		"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
		"secret: my-service-account-2024-production-east token = tokenizer_for_document_42",
		"| key | value |\n|-----------|-------------|\n---------------- 10\n",
	} {
		if s := event.NewScanner([]byte(text)); s.Next() {
			t.Errorf("%s: %q in %q", s.Detector, text[s.Start:s.End], text)
		}
	}
}

func TestScanEventNamesTheField(t *testing.T) {
	secret := "ghp_" + base62
	for want, change := range map[string]func(*eventv1.Event){
		"":                      func(*eventv1.Event) {},
		"principal":             func(e *eventv1.Event) { e.Principal = secret },
		"on_behalf_of":          func(e *eventv1.Event) { e.OnBehalfOf = []string{"a", secret} },
		"execution.reason":      func(e *eventv1.Event) { e.GetExecution().Reason = "failed with " + secret },
		"sealed.subject":        func(e *eventv1.Event) { e.Sealed[0].Subject = secret },
		"execution.destination": func(e *eventv1.Event) { e.GetExecution().Destination = "https://u:p4ss@h.example" },
	} {
		e := event.Example("execution.decided")
		e.Sealed = event.Example("execution.proposed").Sealed
		change(e)
		b, err := event.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if field, detector, found := event.ScanEvent(b); field != want || found != (want != "") {
			t.Errorf("%q (%s), want %q", field, detector, want)
		}
		n := event.ScrubEvent(e)
		if b, err = event.Marshal(e); err != nil {
			t.Fatal(err)
		}
		if field, _, found := event.ScanEvent(b); found || (n > 0) != (want != "") {
			t.Errorf("scrubbed %d times, still in %q", n, field)
		}
	}
}

func TestExamplesHoldNoSecret(t *testing.T) {
	for _, action := range event.Actions() {
		e := event.Example(action)
		if n := event.ScrubEvent(e); n != 0 {
			t.Errorf("%s: %d secrets", action, n)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add([]byte(pemText + " password=hunter2 postgres://a:b1@c " + jwtText))
	f.Add([]byte(`{"api_key":"` + base62 + `"} Basic dXNlcjpodW50ZXIy SG.` + base62))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, n := event.Scrub(b)
		if d, found := event.ScanSecrets(out); found {
			t.Fatalf("%s left in %q", d, out)
		}
		if _, found := event.ScanSecrets(b); found != (n > 0) {
			t.Fatalf("scan says %v, scrub %d", found, n)
		}
	})
}
