// Package connector takes credentials out of the world, by commands, webhooks and OAuth 2.0, and looks whether they are gone.
//
// A file in YAML says which containment calls which connector:
//
//	connectors:
//	  - name: mail-token
//	    kind: exec
//	    covers: [connector/acme/support-1/mail]
//	    credential: 3f2a9c                 # also called by: custody contain credential/acme/3f2a9c …
//	    idempotent: true                   # repeating a revocation does no harm
//	    timeout: 10s
//	    command: [/usr/local/lib/custody/mail-token, --account, support-1]
//	  - name: crm
//	    kind: webhook
//	    covers: [connector/acme/*/crm]
//	    url: https://hooks.example/revoke
//	    secret_file: /etc/custody/crm.secret
//	    probe: {url: https://crm.example/v1/me, header_file: /etc/custody/crm.header, dead: [401], alive: [200]}
//	  - name: api
//	    kind: oauth
//	    covers: [connector/acme/support-1/api]
//	    idempotent: true
//	    url: https://login.example/token/revocation
//	    introspection: https://login.example/token/introspection
//	    client: custody
//	    secret_file: /etc/custody/client.secret
//	    token_file: /etc/custody/api.token
//
// # exec
//
// The command is run with "revoke" or "probe" as its last argument and the errand as JSON on its standard input, with no
// environment but PATH and HOME. Its first line of output is the evidence, which is recorded: it must hold no secret. Exit
// codes of revoke: 0 done, 75 nothing was done (try again), any other: not known. Of probe: 0 dead, 1 alive, any other: not
// known. A command that runs out of time is killed with everything that it has started.
//
// # webhook
//
// A POST, signed as https://www.standardwebhooks.com has it: webhook-id, webhook-timestamp, webhook-signature "v1," and the
// base64 of HMAC-SHA256 under the secret over id, timestamp and body with dots between them. The id is the same for every
// repetition. Any 2xx is a yes. It proves nothing without a probe: a request with the credential itself.
//
// # oauth
//
// Revocation by RFC 7009, with a client secret by HTTP Basic (RFC 6749, section 2.3.1); introspection by RFC 7662 is the
// probe, together with the probe by request if there is one: then both must say dead.
//
// # Secrets
//
// They stand in files that are read at each call, and appear in no log, no evidence and no error.
package connector
