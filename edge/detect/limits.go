package detect

const (
	// maxRuns is how many runs are followed at a time: an emitter has few, and a run is forgotten at its end.
	maxRuns = 64
	// maxTrusted is what is kept of the user's words in one run, bytes: the first.
	maxTrusted = 64 << 10
	// maxUntrusted is what is kept of untrusted content in one run, bytes: the newest.
	maxUntrusted = 512 << 10
	// maxCalls is how many calls of a run are kept for the documents that they fetch.
	maxCalls = 64
	// maxLeaves is how many values of a call's arguments are looked at.
	maxLeaves = 64
	// maxEmbedded is how many addresses inside one longer value are looked at.
	maxEmbedded = 8
	// maxValue is the length of a value that is looked up, bytes; longer ones are composed, not copied.
	maxValue = 200
	// maxHost is the length of a text whose embedded addresses count: a longer one reports on what was read, and naming its sources
	// is not sending something there.
	maxHost = 120
	// maxSeen is how many places of one value are looked at in one document.
	maxSeen = 32
	// nearBy is how far around a value words count, bytes: a sentence or two.
	nearBy = 200
	// maxKey is the length of a field's name, bytes; a longer text before a colon is a sentence.
	maxKey = 24
	// maxWord is the length of a word that can be of a sign, bytes.
	maxWord = 40
	// speechGap is how far apart signs of one speech stand, bytes: a paragraph.
	speechGap = 400
	// speechReach is how far around its signs a speech reaches, bytes: two paragraphs.
	speechReach = 800
)
