// Package connector takes credentials out of the world, and looks whether they are gone: by commands, webhooks, OAuth 2.0, and in
// PostgreSQL, Redis and NATS themselves.
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
//	    dry_run: true                      # the command knows "dry-run"
//	  - name: crm
//	    kind: webhook
//	    covers: [connector/acme/*/crm]
//	    url: https://hooks.example/revoke
//	    secret_file: /etc/custody/crm.secret
//	    probe: {url: https://crm.example/v1/me, header_file: /etc/custody/crm.header, dead: [401], alive: [200]}
//	  - name: api
//	    kind: oauth
//	    covers: [connector/acme/support-1/api]
//	    url: https://login.example/token/revocation
//	    introspection: https://login.example/token/introspection
//	    client: custody
//	    secret_file: /etc/custody/client.secret
//	    token_file: /etc/custody/api.token
//	    derived_files: [/etc/custody/api.access]   # tokens that were made from it
//	  - name: db
//	    kind: postgres
//	    covers: [connector/acme/support-1/db]
//	    role: support-1
//	    admin_file: /etc/custody/db.admin  # host=db user=custody password=… sslmode=verify-full sslrootcert=…
//	    login_file: /etc/custody/db.login  # host=db user=support-1 password=… sslmode=verify-full sslrootcert=…
//	    spare: [dba]                       # roles that hold the role and are left alone
//	  - name: cache
//	    kind: redis
//	    covers: [connector/acme/support-1/cache]
//	    urls: [rediss://cache-1:6379, rediss://cache-2:6379]
//	    user: support-1
//	    admin_file: /etc/custody/cache.admin  # custody:PASSWORD
//	    login_file: /etc/custody/cache.login  # support-1:PASSWORD
//	    ca_file: /etc/custody/ca.pem
//	  - name: bus
//	    kind: nats
//	    covers: [connector/acme/support-1/bus]
//	    urls: [tls://nats-1:4222, tls://nats-2:4222]
//	    admin_file: /etc/custody/system.creds      # of a user of the system account
//	    signing_key_file: /etc/custody/operator.nk # seed of a signing key of the operator
//	    login_file: /etc/custody/support-1.creds
//
// Keys that a kind does not take are refused. Paths are those of the server's machine.
//
// # Descent
//
// What was made from a credential follows it. A connector that says "derived_from: NAME" is called by whatever calls that one.
// PostgreSQL and OAuth know descendants themselves; each is a step of its own, called connector/NAME/DESCENDANT.
//
// # exec
//
// The command is run with "revoke", "probe" or, if the file says so, "dry-run" as its last argument and the errand as JSON on its
// standard input, with no environment but PATH and HOME. Its first line of output is the evidence, which is recorded: it must
// hold no secret. Exit codes of revoke: 0 done, 75 nothing was done (try again), any other: not known. Of probe: 0 dead, 1 alive,
// any other: not known. Of dry-run: 0 it could. A command that runs out of time is killed with everything that it has started.
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
// probe, together with the probe by request if there is one: then both must say dead. Derived tokens are introspected and revoked
// each by itself: RFC 7009, section 2.1, leaves it to the server whether they die with their parent.
//
// # postgres
//
// Revoke: ALTER ROLE … NOLOGIN, and then pg_terminate_backend for every session, until none is left. The role of admin_file needs
// CREATEROLE (from PostgreSQL 16 on: with ADMIN OPTION on the role) and pg_signal_backend. Probe: a login with login_file must be
// refused because the role may not log in; a wrong password and what pg_hba.conf refuses prove nothing. Besides, the catalogue must
// have it as NOLOGIN and without a session. Descendants are the roles that hold the role, and those that it may make and
// administer; of them only the catalogue is asked. Dry run: the same ALTER ROLE in a transaction that is rolled back. Not seen: what
// the role has left behind (triggers, jobs, functions of a definer), and a pool that logs in as another role.
//
// # redis
//
// Revoke: ACL SETUSER … off, CLIENT KILL USER, ACL SAVE, on each server that is named: ACLs are not replicated. Without an ACL file
// a server that restarts lets the user in again, and the evidence says so. Probe: AUTH must be refused everywhere, with the user off
// or gone, login_file holding the user's password, and no connection left. Redis 6 and later.
//
// # nats
//
// For servers in operator mode with a resolver that takes updates. Revoke: the user goes into the revocations of its account, whose JWT
// is signed anew and pushed with $SYS.REQ.CLAIMS.UPDATE; connections that the servers leave are kicked. Probe: each server that is
// named must refuse the user, the account must revoke it, and no server of the cluster may have a connection of it. An operator who
// edits the account elsewhere must pull first (nsc pull): pushing an older copy takes the revocation back.
//
// # Secrets
//
// They stand in files that are read at each call, only if nobody but their owner can read them, and appear in no log, no evidence and
// no error. They cross a network only under TLS with a server that is verified.
package connector
