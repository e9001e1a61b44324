package event

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// ScanSecrets reports the first secret in b by the name of its detector. It finds credentials that have a form of their own
// (key prefixes, private keys, JSON web tokens), credentials in headers and URLs, and values assigned to names such as
// password or api_key. It does not find a secret that looks like a word; a digest, a UUID or an id is none.
func ScanSecrets(b []byte) (detector string, found bool) {
	if !mayHoldSecret(b) {
		return "", false
	}
	s := NewScanner(b)
	if s.Next() {
		return s.Detector, true
	}
	return "", false
}

// Scrub replaces every secret in b by [secret:detector] and counts them. b itself is not changed; it is returned if there
// is none. ScanSecrets finds nothing in out.
func Scrub(b []byte) (out []byte, n int) {
	if !mayHoldSecret(b) {
		return b, 0
	}
	for {
		next, found := scrubOnce(b)
		if found == 0 {
			return b, n
		}
		b, n = next, n+found
	}
}

// scrubOnce may leave a secret that only shows when its neighbour is gone.
func scrubOnce(b []byte) (out []byte, n int) {
	at := 0
	for s := NewScanner(b); s.Next(); n++ {
		out = append(out, b[at:s.Start]...)
		out = append(append(append(out, "[secret:"...), s.Detector...), ']')
		at = s.End
	}
	if n == 0 {
		return b, 0
	}
	return append(out, b[at:]...), n
}

// Scanner finds the secrets of a text one after the other, in one pass. Words that are too short to be a secret cost one
// table look-up a byte.
type Scanner struct {
	text     []byte
	pos      int
	run      int    // where the value without quotes ends that was looked at last
	looks    int    // how often it was looked at
	Detector string // of the secret found last
	Start    int    // where it begins in the text
	End      int    // and ends
}

// NewScanner begins at the start of text.
func NewScanner(text []byte) *Scanner { return &Scanner{text: text} }

// Classes of bytes for the scanner; others separate words.
const (
	plainByte  = 1 << iota // letters, digits, - and _
	assignByte             // = and :
	joinedByte             // a dot
)

var secretClass = func() (t [256]uint8) {
	for c := range 128 {
		if wordByte(byte(c)) {
			t[c] = plainByte
		}
	}
	t['='], t[':'], t['.'] = assignByte, assignByte, joinedByte
	return t
}()

// minSecretWord is the shortest word worth a look: -----BEGIN and --password have ten bytes. Shorter ones matter only before
// a space (Bearer, Basic) or a dot (SG., hvs.).
const minSecretWord = 10

// maxSecretValue is the longest assigned value; longer ones (keys, tokens) have a form of their own.
const maxSecretValue = 1024

// maxDotted is where the last word of a token of several words may begin. Without an end, SG.SG.SG.… costs the square of its length.
const maxDotted = 128

// Next looks for another secret and reports whether there is one.
func (s *Scanner) Next() bool {
	text, word := s.text, s.pos
	for i := s.pos; i < len(text); {
		switch secretClass[text[i]] {
		case plainByte:
			word = i
			for i++; i < len(text) && secretClass[text[i]] == plainByte; i++ {
			}
			if (i-word >= minSecretWord || text[word]|0x20 == 'b') && s.word(word, i) {
				return true
			}
			continue
		case assignByte:
			if s.assigned(i) {
				return true
			}
		case joinedByte:
			if i-word < 5 && s.dotted(word, i) {
				return true
			}
		}
		i++
	}
	s.pos = len(text)
	return false
}

// found notes a secret.
func (s *Scanner) found(detector string, start, end int) bool {
	s.Detector, s.Start, s.End, s.pos = detector, start, end, end
	return true
}

// wordEnd is the end of the word at i.
func (s *Scanner) wordEnd(i int) int {
	for i < len(s.text) && secretClass[s.text[i]] == plainByte {
		i++
	}
	return i
}

// word looks at one word.
func (s *Scanner) word(start, end int) bool {
	w := s.text[start:end]
	switch {
	case w[0] == '-':
		return s.pem(start, end) || s.option(start, end)
	case w[0]|0x20 == 'b' && end < len(s.text) && s.text[end] == ' ' && s.header(w, end+1):
		return true
	case bytes.HasPrefix(w, []byte("eyJ")) && s.jwt(start, end):
		return true
	}
	if r := tokenRuleOf(w); r != nil {
		return s.found(r.detector, start, end)
	}
	return false
}

// tokenRule is a kind of credential with a prefix of its own.
type tokenRule struct {
	detector string
	prefix   string
	least    int      // bytes after the prefix
	most     int      // bytes after the prefix, 0 for no limit
	kind     alphabet // what the rest is made of
}

// alphabet is what stands after a prefix.
type alphabet uint8

const (
	mixed  alphabet = iota // letters, digits, - and _, with at least one digit
	alnum                  // letters and digits, with at least one digit
	upper                  // capital letters and digits
	hexa                   // lower-case hexadecimal digits
	random                 // letters and digits that change as they do in random text
)

// tokenRules are from the issuers' documentation; longer prefixes stand before shorter ones.
var tokenRules = [...]tokenRule{
	{"aws_access_key", "AKIA", 16, 16, upper},
	{"aws_access_key", "ASIA", 16, 16, upper},
	{"aws_access_key", "ABIA", 16, 16, upper},
	{"aws_access_key", "ACCA", 16, 16, upper},
	{"github_token", "ghp_", 36, 0, alnum},
	{"github_token", "gho_", 36, 0, alnum},
	{"github_token", "ghu_", 36, 0, alnum},
	{"github_token", "ghs_", 36, 0, alnum},
	{"github_token", "ghr_", 36, 0, alnum},
	{"github_token", "github_pat_", 36, 0, mixed},
	{"gitlab_token", "glpat-", 20, 0, mixed},
	{"gitlab_token", "glptt-", 20, 0, mixed},
	{"gitlab_token", "gldt-", 20, 0, mixed},
	{"gitlab_token", "glrt-", 20, 0, mixed},
	{"slack_token", "xoxb-", 20, 0, mixed},
	{"slack_token", "xoxp-", 20, 0, mixed},
	{"slack_token", "xoxa-", 20, 0, mixed},
	{"slack_token", "xoxr-", 20, 0, mixed},
	{"slack_token", "xoxs-", 20, 0, mixed},
	{"slack_token", "xoxe-", 20, 0, mixed},
	{"slack_token", "xapp-", 20, 0, mixed},
	{"stripe_key", "sk_live_", 16, 0, alnum},
	{"stripe_key", "sk_test_", 16, 0, alnum},
	{"stripe_key", "rk_live_", 16, 0, alnum},
	{"stripe_key", "rk_test_", 16, 0, alnum},
	{"stripe_key", "whsec_", 24, 0, alnum},
	{"anthropic_key", "sk-ant-", 20, 0, mixed},
	{"openai_key", "sk-proj-", 20, 0, mixed},
	{"openai_key", "sk-svcacct-", 20, 0, mixed},
	{"openai_key", "sk-admin-", 20, 0, mixed},
	{"openai_key", "sk-", 20, 0, random},
	{"google_api_key", "AIza", 35, 35, mixed},
	{"google_oauth_secret", "GOCSPX-", 24, 0, mixed},
	{"npm_token", "npm_", 36, 36, alnum},
	{"pypi_token", "pypi-", 50, 0, mixed},
	{"huggingface_token", "hf_", 30, 0, random},
	{"digitalocean_token", "dop_v1_", 64, 64, hexa},
	{"digitalocean_token", "doo_v1_", 64, 64, hexa},
	{"shopify_token", "shpat_", 32, 32, hexa},
	{"shopify_token", "shpss_", 32, 32, hexa},
	{"twilio_key", "SK", 32, 32, hexa},
	{"mailgun_key", "key-", 32, 32, hexa},
	{"databricks_token", "dapi", 32, 34, hexa},
	{"groq_key", "gsk_", 32, 0, random},
	{"xai_key", "xai-", 40, 0, random},
	{"replicate_token", "r8_", 30, 0, random},
	{"grafana_token", "glsa_", 32, 0, mixed},
	{"linear_key", "lin_api_", 32, 0, random},
	{"notion_token", "ntn_", 36, 0, random},
	{"postman_key", "PMAK-", 40, 0, mixed},
	{"atlassian_token", "ATATT3", 40, 0, mixed},
	{"age_key", "AGE-SECRET-KEY-1", 50, 0, mixed},
}

// tokenRulesAt are the rules by the first byte of the prefix.
var tokenRulesAt = func() (t [256][]*tokenRule) {
	for i := range tokenRules {
		r := &tokenRules[i]
		t[r.prefix[0]] = append(t[r.prefix[0]], r)
	}
	return t
}()

// tokenRuleOf is the rule that the whole word meets, or nil.
func tokenRuleOf(w []byte) *tokenRule {
	if len(w) == 0 {
		return nil
	}
	for _, r := range tokenRulesAt[w[0]] {
		if len(w) >= len(r.prefix) && string(w[:len(r.prefix)]) == r.prefix && r.matches(w[len(r.prefix):]) {
			return r
		}
	}
	return nil
}

func (r *tokenRule) matches(rest []byte) bool {
	if len(rest) < r.least || r.most > 0 && len(rest) > r.most {
		return false
	}
	has := composition(rest)
	switch r.kind {
	case upper:
		return has.lowers == 0 && has.others == 0
	case hexa:
		return has.uppers == 0 && has.others == 0 && has.digits > 0 && !bytes.ContainsFunc(rest, notHex)
	case alnum:
		return has.others == 0 && has.digits > 0
	case random:
		return has.digits > 0 && has.changes >= len(rest)/changesShare
	}
	return has.digits > 0
}

func notHex(r rune) bool { return r > 0x7f || !isHex(byte(r)) }

// changesShare: in a random token of letters and digits every second byte is of another class than the one before (small,
// capital, digit); in names and words one of ten. One of six tells them apart.
const changesShare = 6

// counts says what a text is made of.
type counts struct{ lowers, uppers, digits, others, changes int }

func composition(b []byte) (n counts) {
	last := 0
	for _, c := range b {
		class := 0
		switch {
		case c >= 'a' && c <= 'z':
			class = 1
			n.lowers++
		case c >= 'A' && c <= 'Z':
			class = 2
			n.uppers++
		case isDigit(c):
			class = 3
			n.digits++
		default:
			n.others++
		}
		if class != 0 && last != 0 && class != last {
			n.changes++
		}
		last = class
	}
	return n
}

// looksRandom reports whether b is a token that a program made: 16 bytes or more of base64 or URL-safe text with letters and
// digits that change as they do in random text, but no UUID.
func looksRandom(b []byte) bool {
	b = bytes.TrimRight(b, "=")
	if len(b) < 16 || isUUID(b) || bytes.HasPrefix(b, []byte("sha")) {
		return false
	}
	has := composition(b)
	return has.digits > 0 && has.lowers+has.uppers > 0 && has.changes >= len(b)/changesShare
}

// token68Byte is a byte of base64, base64url and bearer tokens (RFC 9110 section 11.2).
func token68Byte(c byte) bool {
	return wordByte(c) || c == '.' || c == '~' || c == '+' || c == '/' || c == '='
}

func (s *Scanner) token68(i int) int {
	for i < len(s.text) && token68Byte(s.text[i]) {
		i++
	}
	return i
}

// header finds the credential after Bearer and Basic.
func (s *Scanner) header(scheme []byte, start int) bool {
	end := s.token68(start)
	value := s.text[start:end]
	switch {
	case len(scheme) == 6 && bytes.EqualFold(scheme, []byte("bearer")) && looksRandom(value):
		return s.specific(start, end, "bearer_token")
	case len(scheme) == 5 && bytes.EqualFold(scheme, []byte("basic")) && isUserPassword(value):
		return s.found("basic_auth", start, end)
	}
	return false
}

// specific notes the value at start under the name of its own form, if it has one.
func (s *Scanner) specific(start, end int, detector string) bool {
	wordEnd := s.wordEnd(start)
	if r := tokenRuleOf(s.text[start:wordEnd]); r != nil {
		return s.found(r.detector, start, wordEnd)
	}
	if s.text[start] == 'e' && bytes.HasPrefix(s.text[start:], []byte("eyJ")) && s.jwt(start, wordEnd) {
		return true
	}
	return s.found(detector, start, end)
}

// isUserPassword reports whether b is base64 of user:password (RFC 7617).
func isUserPassword(b []byte) bool {
	if len(b) < 8 || len(b) > MaxText {
		return false
	}
	plain, err := base64.StdEncoding.AppendDecode(nil, b)
	colon := bytes.IndexByte(plain, ':')
	printable := !bytes.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd })
	return err == nil && colon > 0 && colon < len(plain)-1 && printable
}

// jwt finds header.payload.signature, both first parts base64url of a JSON object (RFC 7519).
func (s *Scanner) jwt(start, end int) bool {
	rest := s.text[end:]
	if end-start < minSecretWord || !bytes.HasPrefix(rest, []byte(".eyJ")) {
		return false
	}
	payload := s.wordEnd(end + 1)
	if payload == len(s.text) || s.text[payload] != '.' {
		return false
	}
	return s.found("jwt", start, s.wordEnd(payload+1))
}

// pem finds a private key between -----BEGIN … PRIVATE KEY----- and its end (RFC 7468), or the end of the text.
func (s *Scanner) pem(start, end int) bool {
	at := bytes.Index(s.text[start:end], []byte("-----BEGIN"))
	if at < 0 {
		return false
	}
	start += at
	label, body, _ := bytes.Cut(s.text[start+len("-----BEGIN"):], []byte("-----"))
	if len(label) > 40 || !bytes.Contains(label, []byte("PRIVATE KEY")) {
		return false
	}
	if _, after, ended := bytes.Cut(body, []byte("-----END")); ended {
		if _, after, ended = bytes.Cut(after, []byte("-----")); ended {
			return s.found("private_key", start, len(s.text)-len(after))
		}
	}
	return s.found("private_key", start, len(s.text))
}

// option finds --password value on a command line.
func (s *Scanner) option(start, end int) bool {
	if !bytes.HasPrefix(s.text[start:], []byte("--")) || end+1 >= len(s.text) || s.text[end] != ' ' {
		return false
	}
	return s.value(nameOf(s.text[start+2:end]), end+1)
}

// dotted finds tokens whose short prefix ends in a dot.
func (s *Scanner) dotted(word, dot int) bool {
	var detector string
	least := 20
	switch string(s.text[word:dot]) {
	case "SG":
		detector = "sendgrid_key"
	case "hvs", "hvb":
		detector = "vault_token"
	case "ya29":
		detector = "google_oauth_token"
	default:
		return false
	}
	end := s.wordEnd(dot + 1)
	for end-dot < maxDotted && end+1 < len(s.text) && s.text[end] == '.' && secretClass[s.text[end+1]] == plainByte {
		end = s.wordEnd(end + 1)
	}
	if has := composition(s.text[dot+1 : end]); end-dot-1 < least || has.digits == 0 {
		return false
	}
	return s.found(detector, word, end)
}

// assigned finds the password of a URL, or the value that is assigned to a telling name: the = or : is at i.
func (s *Scanner) assigned(i int) bool {
	if bytes.HasPrefix(s.text[i:], []byte("://")) {
		return s.urlPassword(i + 3)
	}
	end := i
	for end > 0 && i-end < 4 && strings.IndexByte(" \t\"'\\", s.text[end-1]) >= 0 {
		end--
	}
	start := end
	for start > 0 && end-start < MaxName && (wordByte(s.text[start-1]) || s.text[start-1] == '.') {
		start--
	}
	name := nameOf(s.text[start:end])
	if name == noName {
		return false
	}
	for i++; i < len(s.text) && strings.IndexByte("=:> \t", s.text[i]) >= 0; i++ {
	}
	return s.value(name, i)
}

// urlPassword finds the password in user:password@host (RFC 3986 section 3.2.1).
func (s *Scanner) urlPassword(start int) bool {
	rest := s.text[start:min(len(s.text), start+MaxID)]
	stop := bytes.IndexFunc(rest, func(r rune) bool { return r <= ' ' || r > 0x7e || strings.ContainsRune("/?#\"'<>`\\", r) })
	if stop >= 0 {
		rest = rest[:stop]
	}
	at, colon := bytes.LastIndexByte(rest, '@'), bytes.IndexByte(rest, ':')
	if colon < 0 || at <= colon+1 || isPlaceholder(rest[colon+1:at]) {
		return false
	}
	return s.found("url_password", start+colon+1, start+at)
}

// naming says what a name promises of its value.
type naming uint8

const (
	noName       naming = iota
	passwordName        // chosen by a person
	keyName             // made by a program
)

// passwordNames and keyNames are how telling names end, without their joints.
var (
	passwordNames = [...]string{"password", "passwd", "pwd", "passphrase", "passcode"}
	keyNames      = [...]string{
		"secret", "token", "apikey", "accesskey", "secretkey", "privatekey", "accountkey", "authkey", "signingkey",
		"encryptionkey", "masterkey", "credential", "credentials", "secretaccesskey",
	}
	// harmlessNames are in the names of tokens that open nothing.
	harmlessNames = [...]string{"page", "next", "continuation", "cursor", "sync", "public", "idempotency"}
)

// nameOf looks at the end of a name: DB_PASSWORD, x-api-key, clientSecret.
func nameOf(name []byte) naming {
	var room [MaxName + 1]byte
	n := room[:0]
	for _, c := range name {
		if c != '_' && c != '-' && c != '.' && len(n) < cap(n) {
			n = append(n, lower(c))
		}
	}
	for _, p := range passwordNames {
		if bytes.HasSuffix(n, []byte(p)) {
			return passwordName
		}
	}
	for _, k := range keyNames {
		if bytes.HasSuffix(n, []byte(k)) {
			return keyKind(n)
		}
	}
	return noName
}

func keyKind(n []byte) naming {
	for _, h := range harmlessNames {
		if bytes.Contains(n, []byte(h)) {
			return noName
		}
	}
	return keyName
}

// value looks at what is assigned to a telling name at i.
func (s *Scanner) value(name naming, i int) bool {
	if s.tired(i) {
		return false
	}
	start, end, quoted := s.extent(i)
	v := s.text[start:end]
	switch {
	case name == noName || len(v) == 0 || len(v) > maxSecretValue || isPlaceholder(v):
		return false
	case name == passwordName && isPassword(v, quoted) && !s.called(end):
		return s.specific(start, end, "password")
	case name == keyName && isToken68(v) && looksRandom(v):
		return s.specific(start, end, "secret_value")
	}
	return false
}

// maxLooks is how many assignments inside one value are looked at: without a bound, text such as password=password=… would cost
// its length for every word of it.
const maxLooks = 8

// tired reports whether the value at i is inside one that was looked at often enough.
func (s *Scanner) tired(i int) bool {
	if i >= s.run {
		s.looks = 0
	}
	s.looks++
	return s.looks > maxLooks
}

// extent is the value at i, without quotes.
func (s *Scanner) extent(i int) (start, end int, quoted bool) {
	escape := 0
	if i+1 < len(s.text) && s.text[i] == '\\' {
		escape = 1
	}
	if i+escape >= len(s.text) || s.text[i+escape] != '"' && s.text[i+escape] != '\'' {
		for end = i; end < len(s.text) && end-i <= maxSecretValue && !s.endsValue(end); end++ {
		}
		s.run = end
		return i, end, false
	}
	start = i + escape + 1
	quote := s.text[start-1]
	for end = start; end < len(s.text) && end-start <= maxSecretValue && s.text[end] != quote && s.text[end] != '\n'; end++ {
	}
	if escape == 1 && end > start && s.text[end-1] == '\\' {
		end--
	}
	return start, end, true
}

// endsValue reports whether a value without quotes ends before i: at white space, at punctuation, or at the next field of a
// query (&name=).
func (s *Scanner) endsValue(i int) bool {
	c := s.text[i]
	if c == '&' {
		next := s.wordEnd(i + 1)
		return next < len(s.text) && s.text[next] == '='
	}
	return c <= ' ' || c >= 0x7f || strings.IndexByte(",;\"'`<>()[]{}\\", c) >= 0
}

// called reports whether the value is a call or an index: program text.
func (s *Scanner) called(end int) bool {
	return end < len(s.text) && strings.IndexByte("([{", s.text[end]) >= 0
}

func isToken68(v []byte) bool {
	for _, c := range v {
		if !token68Byte(c) {
			return false
		}
	}
	return true
}

// isPassword: one word that is not an ordinary one. Without quotes, a dotted name is program text.
func isPassword(v []byte, quoted bool) bool {
	if len(v) < 4 || bytes.IndexByte(v, ' ') >= 0 {
		return false
	}
	has := composition(v)
	symbols := bytes.ContainsAny(v, "!@#$%^&*+=?~|")
	program := !quoted && bytes.IndexByte(v, '.') > 0 && !symbols
	return !program && (has.digits > 0 && has.digits < len(v) || symbols || has.digits >= 8 || len(v) >= 20 && has.others == 0)
}

// placeholders stand for a secret in documentation, templates and masked output.
var placeholders = [...]string{
	"your", "example", "changeme", "change-me", "change_me", "placeholder", "redacted", "dummy", "xxxx", "****", "....", "${", "{{", "••••",
}

// isPlaceholder reports whether v only stands for a secret.
func isPlaceholder(v []byte) bool {
	if bytes.IndexByte([]byte("<[{$%*"), v[0]) >= 0 && (len(v) < 2 || v[0] != '$' && v[0] != '%' || isLetter(v[1]) || v[1] == '(' || v[1] == '{') {
		return true
	}
	low := bytes.ToLower(v)
	for _, p := range placeholders {
		if bytes.Contains(low, []byte(p)) {
			return true
		}
	}
	switch string(low) {
	case "password", "passwd", "secret", "token", "string", "null", "none", "nil", "true", "false", "undefined", "test":
		return true
	}
	return false
}
