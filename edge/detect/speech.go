package detect

import (
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sign is a way of speaking that is meant for an agent, not for the people whom content is written for: words in this order
// within one sentence.
type sign struct {
	weight int
	steps  []step
}

// step is one of the words, by their bases, so many words after the step before at the most.
type step struct {
	words  string
	within int
}

// How much a sign says. Signs of different kinds that stand close together add up; to speak to an agent takes one that is not faint
// and enough of them all. So a document that talks about agents, however much, does not speak to one.
const (
	faint  = 1 // honest content has it now and then
	plain  = 2 // it is odd in content that people write for people
	sure   = 3
	enough = 3
)

// Words for one thing.
const (
	programs = `ai llm assistant agent chatbot bot bots gpt chatgpt claude gemini llama copilot mistral`
	told     = `instruction prompt direction directive task guideline command context request restriction safeguard query goal objective`
	earlier  = `previous prior above earlier preceding existing original other all any your initial current user`
	owners   = `user owner operator developer administrator admin creator principal`
	does     = `solve complete finish continue proceed perform fulfil answer execute start handle address resume accomplish do`
)

// Words that stand for what no list can hold.
const (
	firstInLine = "\x00first" // the next word is the first of its line
	identifier  = "\x00ident" // as programs name things: send_money
)

// signs are of plain English; none is of a certain attack.
var signs = []sign{
	// It sets aside what the agent was told.
	{sure, []step{{`ignore disregard forget override bypass abandon discard`, 0}, {earlier, 4}, {told, 4}}},
	{sure, []step{{`stop not don`, 0}, {`follow obey`, 2}, {earlier, 3}, {told, 3}}},
	{plain, []step{{`instead rather`, 0}, {`original previous user initial current`, 4}, {told, 2}}},
	// It knows that somebody has given the reader a task.
	{sure, []step{{told, 0}, {`i user`, 3}, {`gave given assigned asked told`, 2}, {`you`, 1}}},
	{plain, []step{{told, 0}, {`user`, 3}, {`gave given assigned asked requested`, 2}}},
	{plain, []step{{does, 0}, {`user original assigned`, 3}, {`task request query instruction`, 2}}},
	{faint, []step{{`before prior after until once order`, 0}, {does, 4}, {told, 5}}},
	// It addresses a program, or names one.
	{plain, []step{{`dear hey hi hello attention note message instruction`, 0}, {programs, 3}}},
	{plain, []step{{`you`, 0}, {`are re`, 1}, {programs, 3}}},
	{plain, []step{{`to`, 0}, {`you`, 1}, {programs, 1}}},
	{faint, []step{{`ai llm chatbot bots gpt chatgpt claude gemini llama copilot`, 0}}},
	{faint, []step{{`language`, 0}, {`model`, 1}}},
	// It begins as a turn of a conversation does, or as an order.
	{plain, []step{{firstInLine, 0}, {`system assistant ai`, 1}, {`message prompt note notice instruction alert override update command`, 1}}},
	{plain, []step{{firstInLine, 0}, {`new updated additional important hidden special urgent`, 1}, {`instruction task directive prompt objective command`, 2}}},
	// It gives itself the user's authority.
	{plain, []step{{`i this`, 0}, {`am m is`, 1}, {`your`, 2}, {owners, 1}}},
	{plain, []step{{`important urgent critical official special priority`, 0}, {`message instruction notice directive task request order`, 1}, {`from by`, 2}, {`me your user owner admin administrator developer system`, 2}}},
	// It knows of tools.
	{faint, []step{{`call invoke use using execute run trigger`, 0}, {`tool function ` + identifier, 4}}},
	// It does not want to be known.
	{faint, []step{{`not don never without`, 0}, {`tell telling mention inform notify notifying reveal alert ask asking report`, 2}, {`user anyone anybody this them him her about confirmation permission`, 3}}},
	// It gives orders and insists.
	{faint, []step{{`must should need required please sure`, 0}, {`first immediately following exactly instructed`, 8}}},
}

// marker is mark-up of a conversation inside a text: of the turns that models are trained with, or like one.
type marker struct {
	text   string
	weight int
}

var markers = []marker{
	{"<|im_", sure},
	{"<|system", sure},
	{"<|user", sure},
	{"<|assistant", sure},
	{"<|start", sure},
	{"<|end", sure},
	{"[inst]", sure},
	{"[/inst]", sure},
	{"<<sys>>", sure},
	{"<system", plain},
	{"<assistant", plain},
	{"<instruction", plain},
	{"<prompt", plain},
	{"<information", plain},
	{"<important", plain},
	{"<urgent", plain},
}

// lists numbers the lists of words, and listed says in which of them a stem is, a bit each.
var lists, listed = compileSigns()

func compileSigns() (lists map[string]uint64, listed map[string]uint64) {
	lists, listed = map[string]uint64{}, map[string]uint64{}
	for _, s := range signs {
		for _, st := range s.steps {
			if lists[st.words] == 0 {
				lists[st.words] = 1 << len(lists)
			}
			for w := range strings.FieldsSeq(st.words) {
				listed[base(w)] |= lists[st.words]
			}
		}
	}
	return lists, listed
}

// token is a word of a text that is in some list.
type token struct {
	from, to int
	word     int    // number of the word in the text
	sentence int    // and of its sentence
	lists    uint64 // that it is in
}

// tokens are the words of a text that signs may be made of, in order.
func tokens(text string) (all []token) {
	word, sentence, fresh := 0, 0, true
	for at := 0; at < len(text); {
		c, n := utf8.DecodeRuneInString(text[at:])
		if !letter(c) {
			if strings.ContainsRune(".!?;\n", c) {
				sentence++
			}
			fresh = fresh || c == '\n'
			at += n
			continue
		}
		end := at + wordLength(text[at:])
		if fresh {
			all = append(all, token{at, at, word, sentence, listed[firstInLine]})
			word, fresh = word+1, false
		}
		if in := listsOf(text[at:end]); in != 0 {
			all = append(all, token{at, end, word, sentence, in})
		}
		word++
		at = end
	}
	return all
}

func letter(c rune) bool { return unicode.IsLetter(c) || c == '_' }

func wordLength(text string) int {
	if n := strings.IndexFunc(text, func(c rune) bool { return !letter(c) }); n >= 0 {
		return n
	}
	return len(text)
}

func listsOf(word string) uint64 {
	if len(word) > maxWord {
		return 0
	}
	if strings.Contains(strings.Trim(word, "_"), "_") {
		return listed[identifier]
	}
	return listed[base(word)]
}

// base is a word without what English adds to it. Short words are left alone: a note is not a not.
func base(w string) string {
	for _, suffix := range []string{"ing", "ed", "es", "s", "e"} {
		if short, ok := strings.CutSuffix(w, suffix); ok && len(short) >= 4 {
			return short
		}
	}
	return w
}

// hit is a sign that was found.
type hit struct{ from, to, kind, weight int }

// hits are all signs of a text, by their places.
func hits(text string) (all []hit) {
	words := tokens(text)
	for i := range words {
		for kind := range signs {
			if to, ok := signs[kind].at(words[i:]); ok {
				all = append(all, hit{words[i].from, to, kind, signs[kind].weight})
			}
		}
	}
	for i, m := range markers {
		for from, n := 0, 0; n < maxSeen; n++ {
			at := strings.Index(text[from:], m.text)
			if at < 0 {
				break
			}
			all = append(all, hit{from + at, from + at + len(m.text), len(signs) + i, m.weight})
			from += at + len(m.text)
		}
	}
	slices.SortFunc(all, func(a, b hit) int { return a.from - b.from })
	return all
}

// at reports whether the sign begins with the first of these words, and where it ends.
func (s *sign) at(words []token) (to int, ok bool) {
	if words[0].lists&lists[s.steps[0].words] == 0 {
		return 0, false
	}
	last := 0
	for _, st := range s.steps[1:] {
		next := last + 1
		for ; next < len(words) && words[next].follows(words[last], st.within) && words[next].lists&lists[st.words] == 0; next++ {
		}
		if next == len(words) || !words[next].follows(words[last], st.within) {
			return 0, false
		}
		last = next
	}
	return words[last].to, true
}

func (t token) follows(before token, within int) bool {
	return t.sentence == before.sentence && t.word-before.word <= within
}

// spoken are the places of a text, [from, to) in order, that speak to an agent. Signs belong together when they are within
// speechGap of each other.
func spoken(text string) (places [][2]int) {
	for found := hits(text); len(found) > 0; {
		n, to := 0, found[0].to
		var kinds uint64
		for ; n < len(found) && found[n].from <= to+speechGap; n++ {
			to = max(to, found[n].to)
			kinds |= 1 << found[n].kind
		}
		if speaks(kinds) {
			places = append(places, [2]int{found[0].from, to})
		}
		found = found[n:]
	}
	return places
}

// speaks reports whether signs of these kinds together make speech to an agent.
func speaks(kinds uint64) bool {
	sum, most := 0, 0
	for ; kinds != 0; kinds &= kinds - 1 {
		w := weightOf(bits.TrailingZeros64(kinds))
		sum, most = sum+w, max(most, w)
	}
	return most > faint && sum >= enough
}

func weightOf(kind int) int {
	if kind < len(signs) {
		return signs[kind].weight
	}
	return markers[kind-len(signs)].weight
}

// within reports whether a place of the text is in speech to an agent or close to it.
func within(places [][2]int, at, end int) bool {
	return slices.ContainsFunc(places, func(p [2]int) bool { return at <= p[1]+speechReach && end >= p[0]-speechReach })
}
