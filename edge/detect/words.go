package detect

import (
	"regexp"
	"strings"
	"unicode"
)

// request is what the user has said in a run.
type request struct {
	text      string          // in lower case
	words     map[string]bool // its words, by their stems
	delegated bool
}

func (q *request) add(text string) {
	text = strings.ToLower(text)
	if strings.Contains(q.text, text) || len(q.text) >= maxTrusted {
		return
	}
	text = text[:min(len(text), maxTrusted-len(q.text))]
	q.text += "\n" + text
	if q.words == nil {
		q.words = map[string]bool{}
	}
	for _, w := range split(text) {
		q.words[stem(w)] = true
	}
	q.delegated = q.delegated || delegation.MatchString(text)
}

// delegation says to do what something else says.
var delegation = regexp.MustCompile(`\b(do|perform|complete|execute|follow|carry out|finish|take care of|handle|resolve|work through|act on)\b[^.\n]{0,40}\b(tasks?|actions?|to-?dos?|instructions?|steps|requests?|tickets?|issues?|asks|says|specified|told)\b`)

// says reports whether the user said exactly that.
func (q *request) says(v string) bool { return v != "" && indexWord(q.text, withoutScheme(v), 0) >= 0 }

// covers reports whether the user said that, or all words of it.
func (q *request) covers(v string) bool {
	if q.says(v) {
		return true
	}
	parts := strings.FieldsFunc(v, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	for _, p := range parts {
		if indexWord(q.text, p, 0) < 0 {
			return false
		}
	}
	return len(parts) > 0
}

// names reports whether a value of a call is the user's.
func (q *request) names(values []string) bool {
	for _, v := range values {
		if len(v) >= minNamed && q.says(v) {
			return true
		}
	}
	return false
}

// minNamed is the length of a value that names something, bytes: shorter ones stand in any text.
const minNamed = 3

// knows reports whether an e-mail address is of somebody whom the user named: a word of its local part is the user's.
func (q *request) knows(address string) bool {
	local, _, found := strings.Cut(address, "@")
	for _, w := range split(local) {
		if found && len(w) >= minNamed && indexWord(q.text, w, 0) >= 0 {
			return true
		}
	}
	return false
}

// unasked compares a tool's name with the request. What the vocabulary does not know is not unasked.
func (q *request) unasked(named words) (act, object bool) {
	if q.words == nil {
		return false, false
	}
	act = named.verb != "" && !q.has(verbs[named.verb])
	object = len(named.objects) > 0
	for _, o := range named.objects {
		if q.words[stem(o)] || q.has(objects[o]) {
			object = false
		}
	}
	return act, object
}

func (q *request) has(synonyms []string) bool {
	for _, w := range synonyms {
		if q.words[stem(w)] {
			return true
		}
	}
	return false
}

// words are what a tool's name says: what it does, and what to.
type words struct {
	verb    string
	objects []string
}

func wordsOf(tool string) (w words) {
	for _, x := range split(spaced(tool)) {
		switch {
		case w.verb == "" && verbs[x] != nil:
			w.verb = x
		case !filler[x]:
			w.objects = append(w.objects, x)
		}
	}
	return w
}

// spaced parts camelCase.
func spaced(s string) string {
	var b strings.Builder
	lower := false
	for _, c := range s {
		if unicode.IsUpper(c) && lower {
			b.WriteByte(' ')
		}
		lower = unicode.IsLower(c)
		b.WriteRune(c)
	}
	return strings.ToLower(b.String())
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsLetter(c) })
}

// stem takes off what English adds to a word.
func stem(w string) string {
	for _, suffix := range []string{"ing", "ed", "es", "s", "e"} {
		if short, ok := strings.CutSuffix(w, suffix); ok && len(short) >= 3 {
			return short
		}
	}
	return w
}

// filler says nothing about what is acted on.
var filler = set(`to from by in of the for a an on and with at or user id ids info new direct my all it its tool api do` +
	` get read list search find lookup look query fetch view show check count browse open load retrieve visit describe`)

// verbs are words for what tools do, each with what people say when they want it.
var verbs = groups(
	`send email mail message write reply forward tell inform notify ask text dm contact respond answer let know invite remind`+
		` pay transfer wire refund reimburse`,
	`email send mail message write reply forward`, `forward send email mail share pass`, `reply respond answer write send`, `notify tell inform alert send let remind`,
	`post publish share upload tweet announce write put comment`, `publish post share release`, `upload post share put add attach send`, `tweet post share`, `comment reply post write say answer add`,
	`pay transfer send wire refund reimburse money bill cover charge split transaction give return back repay owe settle`,
	`transfer pay send wire move refund hand`, `wire pay send transfer`, `refund pay return reimburse back money compensate`, `charge pay bill cost`,
	`buy purchase order get book`, `purchase buy order get`, `order buy purchase get`,
	`create add make set schedule plan organize organise put new write generate prepare save draft start open book arrange`,
	`schedule create set plan arrange recurring every month monthly week weekly standing book add put`,
	`book reserve reservation make stay get find`, `reserve book reservation make stay get`,
	`delete remove cancel clear clean erase drop undo unsubscribe kick rid trash`, `remove delete cancel clear clean erase drop kick uninstall exclude take`,
	`cancel delete remove stop undo drop call`, `drop delete remove`, `revoke remove cancel withdraw take disable`, `disable stop off remove block`, `close finish end resolve complete`,
	`update change set modify edit adjust replace correct fix increase decrease make rename move reschedule postpone append add switch upgrade new`,
	`change update set modify edit adjust replace correct switch move new`, `modify update change edit adjust replace`, `edit update change modify correct fix write`, `set update change make put configure`,
	`reschedule update change move postpone modify schedule shift push`, `rename update change call name`, `move transfer put reschedule relocate`,
	`append add write update put insert extend`, `insert add put write`, `write create save draft put note`, `save store keep write download`,
	`invite add join onboard ask bring`, `add invite include put append join new create insert register attach`, `join enter add`, `assign give put set hand`,
	`share give access grant send`, `grant give allow access share permit let`, `approve accept confirm allow yes`,
	`run execute start launch do call test`, `execute run start do`, `deploy release launch push ship roll`, `install add set get`, `enable turn on activate allow`, `start run launch begin open`, `stop end halt cancel kill`,
	// Reading is asked for by asking anything: only the object tells.
)

// objects are words for what tools act on, each with what people call it.
var objects = groupsOfEqual(
	`money payment pay bill transfer refund transaction invoice rent fee price amount cost salary subscription fund funds cash deposit reimburse account order`,
	`webpage website web page site url link article blog online internet browser`,
	`email mail inbox letter recipient`,
	`message dm chat text inbox say tell write`,
	`file files document doc attachment folder drive report spreadsheet docx txt pdf`,
	`event appointment meeting calendar invitation schedule reminder participant participants attendee`,
	`hotel accommodation stay room lodging`,
	`password credential login passphrase`,
	`flight trip plane ticket`,
	`restaurant dinner lunch eat table cuisine`,
	`car vehicle rental`,
	`reservation booking book flight hotel trip`,
	`channel group room`,
	`contact person people colleague`,
	`task todo issue ticket`,
	`code repository repo branch commit`,
)

func set(list string) map[string]bool {
	all := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		all[w] = true
	}
	return all
}

// groups names each list by its first word.
func groups(lists ...string) map[string][]string {
	all := map[string][]string{}
	for _, list := range lists {
		all[strings.Fields(list)[0]] = strings.Fields(list)
	}
	return all
}

// groupsOfEqual names each list by all of its words.
func groupsOfEqual(lists ...string) map[string][]string {
	all := map[string][]string{}
	for _, list := range lists {
		for w := range strings.FieldsSeq(list) {
			all[w] = append(all[w], strings.Fields(list)...)
		}
	}
	return all
}
