// Package notify tells people outside that they are needed: firings, and containments that are not proven, wait for a second
// person, or are about to end.
//
// # Delivery
//
// Each receiver follows the stream on its own, from the position that it has kept, so the stream is the queue: a receiver that is
// down holds up nobody but itself, and a restart goes on where it was. Firings, which are no events, are looked at again and again,
// the most severe first; those that were sent are remembered. What is sent is sent at least once, with the same id each time
// (Webhook-Id, dedup_key, labels), by which a receiver knows a repeat.
//
// A receiver that does not take a notification is asked again, with pauses that double from a second to five minutes, for a day. What
// it refuses as such (400, 413, 422) is given up after five attempts, so that it does not hold back the next. A flood of firings is
// sent as its first twenty and one notification that counts the others; so are the unproven steps of one containment, after five.
//
// Whoever contains or releases without the second person who is needed is named in a notification of its own, of the gravest severity.
//
// # What is sent
//
// Text in which everything that an agent or a person wrote is escaped, and the commands to run next. The generic webhook is signed
// as https://www.standardwebhooks.com says: "v1," HMAC-SHA256 or "v1a," Ed25519 over "id.timestamp.body". The others are Slack's
// incoming webhook, PagerDuty's Events API v2 and Alertmanager's API v2.
//
// # Secrets
//
// They stand in files that nobody but their owner may read, are read for each delivery, and appear in no log and no answer. URLs are
// https, or http on loopback; no redirect is followed.
package notify
