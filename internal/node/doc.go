// Package node assembles one Custody process: it opens the parts, wires them together and serves them.
// The server of the command line and the system under test are this same assembly.
//
// # The data folder
//
// Folders are 0700, files with secrets 0600.
//
//	keys/system.pem   signs Custody's own events and receipts
//	keys/log.pem      signs checkpoints
//	keys/time.pem     cosigns checkpoints with the time
//	keys/export/      signs bundles, for tenants whose logs name another key than the log's
//	keys/ca/          the certificate authority of servers and people
//	keys/vault/       data keys of sealed content
//	keys/tokens/      join tokens, by hash
//	people/           client certificates; admin.crt and admin.key from the first start
//	stream/           JetStream, unless the stream is elsewhere
//	store/            the embedded engine, unless the store is elsewhere
//	custody.sock      the local socket, TLS as everywhere
//	serve.lock        held by the process that serves the folder
//	custody.json      what was chosen: address, domain
//
// # Order
//
// Start: keys, stream, store, ledger; admission takes over what the ledger has committed and follows the
// stream; the door opens last. Stop: the door first, then what it feeds. A kill at any point is an ordinary
// start afterwards: what was acknowledged is in the stream, and the ledger goes on from its head.
package node
