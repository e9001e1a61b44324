package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentcustody/custody/contain"
)

const (
	// sessionPause is how often it is looked whether terminated sessions are gone.
	sessionPause = 20 * time.Millisecond
	// notPermitted and refusedIn are how PostgreSQL says "role is not permitted to log in", and that there is no such role, whatever the
	// language of its messages: after authentication, so not for a wrong password, nor for what pg_hba.conf lets nobody.
	notPermitted = "28000" // invalid_authorization_specification
	refusedIn    = "InitializeSessionUserId"
)

// postgres is the connector that takes a role's login away. Files hold connection strings of libpq.
type postgres struct {
	admin secret // Custody's own login
	login secret // the agent's login, as role
	role  string
	spare []string // delegates that are left alone
}

// Revoke takes the login from the role, and then ends its sessions: in this order nobody slips in between.
func (p *postgres) Revoke(ctx context.Context, e contain.Errand) (string, error) {
	db, err := p.open(ctx)
	if err != nil {
		return "", err
	}
	defer hangUp(db)
	role := p.about(e)
	if _, err := db.Exec(ctx, noLogin(role)); err != nil {
		return "", fmt.Errorf("take the login of role %q: %w", role, pgError(err))
	}
	ended, err := endSessions(ctx, db, role)
	if err != nil {
		return "", fmt.Errorf("end sessions of role %q: %w", role, pgError(err))
	}
	return fmt.Sprintf("role %q is NOLOGIN, %d sessions ended", role, ended), nil
}

// Probe logs in as the role, and looks for sessions of it. A delegate's login is not known here: of it the catalogue is asked.
func (p *postgres) Probe(ctx context.Context, e contain.Errand) (contain.Liveness, string, error) {
	word := "its own login was not tried"
	if e.Delegate == "" {
		found, evidence, err := p.logIn(ctx)
		if err != nil || found != contain.Dead {
			return found, evidence, err
		}
		word = evidence
	}
	db, err := p.open(ctx)
	if err != nil {
		return contain.Unclear, "", err
	}
	defer hangUp(db)
	permitted, sessions, err := standingOf(ctx, db, p.about(e))
	switch {
	case err != nil:
		return contain.Unclear, "", fmt.Errorf("look at role %q: %w", p.about(e), pgError(err))
	case permitted:
		return contain.Alive, fmt.Sprintf("role %q may log in", p.about(e)), nil
	case sessions > 0:
		return contain.Alive, fmt.Sprintf("role %q still has %d sessions", p.about(e), sessions), nil
	}
	return contain.Dead, fmt.Sprintf("role %q is NOLOGIN and has no session; %s", p.about(e), word), nil
}

// DryRun takes the logins away in a transaction that it rolls back: nobody sees it, and every right is exercised.
func (p *postgres) DryRun(ctx context.Context, e contain.Errand) (would []string, err error) {
	db, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(db)
	names := []string{p.about(e)}
	if e.Delegate == "" {
		more, err := p.delegates(ctx, db)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	for _, name := range names {
		line, err := rehearse(ctx, db, name)
		if err != nil {
			return would, fmt.Errorf("role %q: %w", name, pgError(err))
		}
		would = append(would, line)
	}
	return would, nil
}

// Delegates are the roles that can act with what the role has: see roles.
func (p *postgres) Delegates(ctx context.Context) ([]string, error) {
	db, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(db)
	return p.delegates(ctx, db)
}

// about is the role that an errand is about.
func (p *postgres) about(e contain.Errand) string {
	if e.Delegate != "" {
		return e.Delegate
	}
	return p.role
}

// logIn tries the agent's own login.
func (p *postgres) logIn(ctx context.Context) (contain.Liveness, string, error) {
	cfg, err := connection(p.login)
	if err != nil {
		return contain.Unclear, "", err
	}
	if cfg.User != p.role {
		return contain.Unclear, "", fmt.Errorf("%w: %s is the login of another role than %q", contain.ErrNotSent, p.login, p.role)
	}
	db, err := pgx.ConnectConfig(ctx, cfg)
	if err == nil {
		hangUp(db)
		return contain.Alive, fmt.Sprintf("role %q logs in", p.role), nil
	}
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if ok && refusal.Code == notPermitted && refusal.Routine == refusedIn {
		return contain.Dead, "its login is refused: " + refusal.Message, nil
	}
	if ok {
		return contain.Unclear, "its login fails for another reason: SQLSTATE " + refusal.Code, nil
	}
	return contain.Unclear, "", fmt.Errorf("log in as %q: %w", p.role, err)
}

// open connects as Custody.
func (p *postgres) open(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := connection(p.admin)
	if err != nil {
		return nil, err
	}
	if cfg.User == p.role {
		return nil, fmt.Errorf("%w: %s is the login of role %q itself", contain.ErrNotSent, p.admin, p.role)
	}
	db, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	return db, nil
}

// hangUp closes a connection, and waits for no answer for long.
func hangUp(db *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = db.Close(ctx)
}

// connection reads a connection string. Its errors do not repeat it.
func connection(file secret) (*pgx.ConnConfig, error) {
	text, err := file.text()
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not a connection string of PostgreSQL", contain.ErrNotSent, file)
	}
	if !isSafe(&cfg.Config) {
		return nil, fmt.Errorf("%w: %s would cross a network without a verified server: say sslmode=verify-full", contain.ErrNotSent, file)
	}
	return cfg, nil
}

// isSafe reports whether every way that a connection may take is local, or TLS with a server that is checked: whoever stands in
// between could say that a login is refused.
func isSafe(c *pgconn.Config) bool {
	verified := func(f *pgconn.FallbackConfig) bool {
		local := strings.HasPrefix(f.Host, "/") || isLoopback(f.Host)
		return local || f.TLSConfig != nil && (!f.TLSConfig.InsecureSkipVerify || f.TLSConfig.VerifyPeerCertificate != nil)
	}
	ways := append([]*pgconn.FallbackConfig{{Host: c.Host, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	return !slices.ContainsFunc(ways, func(f *pgconn.FallbackConfig) bool { return !verified(f) })
}

func noLogin(role string) string { return "ALTER ROLE " + pgx.Identifier{role}.Sanitize() + " NOLOGIN" }

// endSessions terminates the sessions of a role and waits until they are gone.
func endSessions(ctx context.Context, db *pgx.Conn, role string) (ended int, err error) {
	for first := true; ; first = false {
		var left int
		if err := db.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1`, role).Scan(&left); err != nil {
			return ended, err
		}
		if first {
			ended = left
		}
		if left == 0 {
			return ended, nil
		}
		select {
		case <-time.After(sessionPause):
		case <-ctx.Done():
			return ended, context.Cause(ctx)
		}
	}
}

// standingOf is whether a role may log in, and how many sessions it has. A role that does not exist may not.
func standingOf(ctx context.Context, db *pgx.Conn, role string) (permitted bool, sessions int, err error) {
	err = db.QueryRow(ctx, `SELECT coalesce((SELECT rolcanlogin FROM pg_roles WHERE rolname = $1), false),
		(SELECT count(*) FROM pg_stat_activity WHERE usename = $1)`, role).Scan(&permitted, &sessions)
	return permitted, sessions, err
}

// rehearse does to one role what Revoke would, and undoes it.
func rehearse(ctx context.Context, db *pgx.Conn, role string) (string, error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // what is not rolled back here ends with the connection
	if _, err := tx.Exec(ctx, noLogin(role)); err != nil {
		return "", err
	}
	var maySignal bool
	var sessions int
	err = tx.QueryRow(ctx, `SELECT pg_has_role('pg_signal_backend', 'USAGE') OR pg_has_role($1::name, 'USAGE'),
		(SELECT count(*) FROM pg_stat_activity WHERE usename = $1)`, role).Scan(&maySignal, &sessions)
	if err == nil && !maySignal {
		err = errors.New("its sessions cannot be ended: GRANT pg_signal_backend TO the role of admin_file")
	}
	return fmt.Sprintf("role %q: NOLOGIN, and end its %d sessions", role, sessions), err
}

// roles are those that can act with what a role has: members of it, and members of these; and, where it may make roles, those that it
// administers. Superusers, whoever administers the role, and we are no delegates: they have not got it from the agent.
const roles = `WITH RECURSIVE held(role) AS (
	SELECT m.member FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname = $1 AND NOT m.admin_option
	UNION SELECT m.roleid FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = $1 AND r.rolcreaterole AND m.admin_option
	UNION SELECT m.member FROM pg_auth_members m JOIN held h ON h.role = m.roleid WHERE NOT m.admin_option
) SELECT r.rolname FROM pg_roles r JOIN held h ON h.role = r.oid
WHERE NOT r.rolsuper AND r.rolname <> current_user AND r.rolname <> $1 AND r.rolname <> ALL($2::text[])
	AND (r.rolcanlogin OR EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid))
ORDER BY r.rolname`

func (p *postgres) delegates(ctx context.Context, db *pgx.Conn) ([]string, error) {
	spare := append([]string{}, p.spare...) // not NULL
	rows, err := db.Query(ctx, roles, p.role, spare)
	if err == nil {
		var names []string
		if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return names, nil
		}
	}
	return nil, fmt.Errorf("delegates of role %q: %w", p.role, pgError(err))
}

// pgError is an error of the server in one line.
func pgError(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%s (SQLSTATE %s)", e.Message, e.Code)
	}
	return err
}
