// Package detect is the detectors that run beside the agent, where content is still clear text. What they find they say in events of
// their own (data.content_finding), which are signed like any other; the text itself goes nowhere. Rules see only the findings.
//
//	w := detect.NewWatcher()
//	findings := w.Observe(e, content)   // after e is recorded: events to record next
//
// # Provenance
//
// The detector "provenance" looks at each proposed call and asks where it comes from. It knows what the run was told by its user
// (trusted content), and what it has read (untrusted content). Its finding has the proposal as its cause, and as its label some of
// these marks, in this order, separated by spaces; there is no finding where only the marks in parentheses would stand.
//
//	prose_destination   an address, link, account or number in the arguments stands in running text of untrusted content, in no
//	                    structured field of any, and not in what the user said
//	prose_value         so does another value of one to eight words
//	unasked             the user's request has no word for what the tool does and none for what it does it to
//	instructed          near a value that stands in running text, that text has a word for what the tool does
//	addressed           a value of the arguments stands in a passage of untrusted content that speaks to an agent, or close to it
//	spoken_to           the run has read such a passage, and the request lacks a word for what the tool does or for what it does it to
//	(instructed_elsewhere) it does so in content that the user did not point at
//	(pointed)           the prose values come only from content that the user pointed at: the call that fetched it has a value of
//	                    the user's among its arguments
//	(unasked_act)       the request has no word for what the tool does
//	(unasked_object)    the request has no word for what it does it to
//	(delegated)         the request says to do what something else says
//	(users_value)       the arguments hold an address, link, account or number of the user's
//	(borrowed)          a value of the arguments stands in untrusted content and nowhere in the request
//
// The words of tools and requests are compared by a vocabulary of plain English (words.go); what it does not know is not unasked.
// A field is structured where it is the whole of a line, of a list item, of "key: value" or of a quoted JSON value.
//
// A passage speaks to an agent when it has signs of that (speech.go): the mark-up of a conversation, words that set earlier
// instructions aside, that know of a task which the reader was given, that address a program, that claim the user's authority. Signs
// are weighed; mentioning such programs, however often, is not enough.
//
// All marks but instructed, addressed and spoken_to are of where values stand and of what the user said: no wording of untrusted
// content changes them. These three are readings of that wording, so rules that use them are content rules.
//
// # Bounds
//
// A watcher keeps the newest text of its newest runs, by the constants of limits.go. Its findings depend on nothing but the events.
package detect
