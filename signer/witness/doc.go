// Package witness speaks the C2SP tlog-witness protocol (https://c2sp.org/tlog-witness) from both sides: a [Witness] cosigns the
// checkpoints of logs that it knows, and a [Client] asks one for its cosignature.
//
// # What a cosignature says
//
// A witness remembers, for each log, the largest checkpoint that it has cosigned, and cosigns another only if the log proves that it
// continues that one (RFC 6962 section 2.1.2). So two checkpoints that the same witness has cosigned are of one history, and whoever
// requires a quorum of witnesses that overlaps in an honest one cannot be shown another history than anybody else.
//
// # Order
//
// A witness makes its new state durable before it signs: after a crash between the two it has promised more than it gave, never
// less. A state that cannot be read stops the witness: to begin again at nothing would be to forget a promise.
//
// # Requests
//
//	POST <prefix>/add-checkpoint
//
//	old 20852014
//	PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
//
//	example.com/behind-the-sofa
//	20852163
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//
//	— example.com/behind-the-sofa Az3grlgt…
//
// The answers are 200 with signature lines, 400 (not in this form), 403 (not signed by the log), 404 (unknown log), 409 (another old
// size, which the body names as text/x.tlog.size; or another root of the same size) and 422 (the proof does not hold). Checkpoints with
// extension lines are not in this form here.
//
// Worked example:
//
//	w, err := witness.Open(witness.Config{Dir: "witness", Name: "witness.example/w1", Logs: quorum.Logs})
//	http.ListenAndServe("127.0.0.1:7445", w)
package witness
