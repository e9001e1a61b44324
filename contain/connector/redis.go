package connector

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/agentcustody/custody/contain"
)

// wrongPass is how Redis refuses a login: a user who is off, a wrong password, no such user.
const wrongPass = refusal("WRONGPASS")

// redis is the connector that turns an ACL user off, on each of some servers: ACLs are not replicated.
type redis struct {
	nodes  []*url.URL
	user   string
	admin  secret // Custody's own login, NAME:PASSWORD
	login  secret // the user's login
	caFile string // certificates that servers are held to; empty is the system's
}

// Revoke turns the user off everywhere, and then ends its connections.
func (r *redis) Revoke(ctx context.Context, _ contain.Errand) (string, error) {
	var ended int64
	saved := "saved"
	err := r.each(ctx, func(w *wire) error {
		if _, err := w.do("ACL", "SETUSER", r.user, "off"); err != nil {
			return fmt.Errorf("turn off: %w", err)
		}
		n, err := w.do("CLIENT", "KILL", "USER", r.user)
		if err != nil {
			return fmt.Errorf("end connections: %w", err)
		}
		count, _ := n.(int64)
		ended += count
		if _, err := w.do("ACL", "SAVE"); err != nil {
			saved = "NOT saved: a server that restarts lets it in again"
		}
		return nil
	})
	return fmt.Sprintf("user %q is off on %d servers, %d connections ended, %s", r.user, len(r.nodes), ended, saved), err
}

// Probe logs in as the user everywhere, and looks for connections of it. Alive anywhere is alive.
func (r *redis) Probe(ctx context.Context, _ contain.Errand) (contain.Liveness, string, error) {
	_, password, err := r.credential()
	if err != nil {
		return contain.Unclear, "", err
	}
	for _, node := range r.nodes {
		found, evidence, err := r.probe(ctx, node, password)
		if err != nil || found != contain.Dead {
			return found, evidence, err
		}
	}
	return contain.Dead, fmt.Sprintf("%d servers refuse the login of user %q, who is off and has no connection", len(r.nodes), r.user), nil
}

// DryRun reads what Revoke would change, and lets each server say whether it may.
func (r *redis) DryRun(ctx context.Context, _ contain.Errand) (would []string, err error) {
	if _, _, err := r.credential(); err != nil {
		return nil, err
	}
	own, _, err := r.admin.login()
	if err != nil {
		return nil, err
	}
	err = r.each(ctx, func(w *wire) error {
		if err := mayRevoke(w, own, r.user); err != nil {
			return err
		}
		user, err := w.acl(r.user)
		if err != nil {
			return err
		}
		n, err := w.connections(r.user)
		state := "turn off"
		if !user.on {
			state = "is off already; again turn off"
		}
		would = append(would, fmt.Sprintf("%s: %s user %q, and end its %d connections", w.RemoteAddr(), state, r.user, n))
		return err
	})
	return would, err
}

// mayRevoke asks whether our own user may do it, with ACL DRYRUN; Redis 6 has none, and nothing is known there.
func mayRevoke(w *wire, own, user string) error {
	for _, command := range [][]string{{"ACL", "SETUSER", user, "off"}, {"CLIENT", "KILL", "USER", user}} {
		answer, err := w.do(append([]string{"ACL", "DRYRUN", own}, command...)...)
		if errors.Is(err, refusal("ERR")) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ACL DRYRUN: %w", err)
		}
		if answer != "OK" {
			return fmt.Errorf("user %q of admin_file may not %s", own, strings.Join(command[:2], " "))
		}
	}
	return nil
}

// credential is the user's login, which must be of this user.
func (r *redis) credential() (name, password string, err error) {
	name, password, err = r.login.login()
	if err == nil && name != r.user {
		err = fmt.Errorf("%w: %s is the login of another user than %q", contain.ErrNotSent, r.login, r.user)
	}
	return name, password, err
}

// each does something on each server as Custody. A server that fails does not spare the others.
func (r *redis) each(ctx context.Context, do func(*wire) error) error {
	var all error
	for _, node := range r.nodes {
		w, err := r.open(ctx, node)
		if err == nil {
			err = do(w)
			_ = w.Close()
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", node.Host, err))
		}
	}
	return all
}

// open connects to a server as Custody.
func (r *redis) open(ctx context.Context, node *url.URL) (*wire, error) {
	name, password, err := r.admin.login()
	if err != nil {
		return nil, err
	}
	if name == r.user {
		return nil, fmt.Errorf("%w: %s is the login of user %q itself", contain.ErrNotSent, r.admin, r.user)
	}
	w, err := r.dial(ctx, node)
	if err != nil {
		return nil, err
	}
	if _, err := w.do("AUTH", name, password); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("%w: log in as %q: %w", contain.ErrNotSent, name, err)
	}
	return w, nil
}

func (r *redis) dial(ctx context.Context, node *url.URL) (*wire, error) {
	pool, err := certificates(r.caFile)
	if err != nil {
		return nil, err
	}
	return dialRedis(ctx, node, &tls.Config{ServerName: node.Hostname(), RootCAs: pool, MinVersion: tls.VersionTLS12})
}

// certificates are those of a file in PEM; nil, which means the system's, if there is no file.
func certificates(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%w: %s holds no certificate", contain.ErrNotSent, path)
	}
	return pool, nil
}

// probe tries the login at one server. A refusal alone proves nothing: the password may be an old one. The user must be off or gone, or the
// password must be the user's.
func (r *redis) probe(ctx context.Context, node *url.URL, password string) (contain.Liveness, string, error) {
	try, err := r.dial(ctx, node)
	if err != nil {
		return contain.Unclear, "", err
	}
	_, refused := try.do("AUTH", r.user, password)
	_ = try.Close()
	switch {
	case refused == nil:
		return contain.Alive, fmt.Sprintf("%s lets user %q in", node.Host, r.user), nil
	case !errors.Is(refused, wrongPass):
		return contain.Unclear, "", fmt.Errorf("log in at %s as %q: %w", node.Host, r.user, refused)
	}
	w, err := r.open(ctx, node)
	if err != nil {
		return contain.Unclear, "", err
	}
	defer w.Close()
	return r.standing(w, node, password)
}

// standing is what a server knows of a user whose login it has refused.
func (r *redis) standing(w *wire, node *url.URL, password string) (contain.Liveness, string, error) {
	user, err := w.acl(r.user)
	if err != nil {
		return contain.Unclear, "", err
	}
	n, err := w.connections(r.user)
	sum := sha256.Sum256([]byte(password))
	switch {
	case err != nil:
		return contain.Unclear, "", err
	case n > 0:
		return contain.Alive, fmt.Sprintf("%s still has %d connections of user %q", node.Host, n, r.user), nil
	case user.on:
		return contain.Unclear, fmt.Sprintf("%s refuses a password that is not that of user %q, who is on", node.Host, r.user), nil
	case user.exists && !slices.Contains(user.passwords, hex.EncodeToString(sum[:])):
		return contain.Unclear, fmt.Sprintf("user %q is off, but login_file has another password", r.user), nil
	}
	return contain.Dead, "", nil
}

// aclUser is what ACL GETUSER says.
type aclUser struct {
	exists, on bool
	passwords  []string // SHA-256, hex
}

func (w *wire) acl(name string) (user aclUser, err error) {
	answer, err := w.do("ACL", "GETUSER", name)
	if err != nil {
		return user, fmt.Errorf("ACL GETUSER: %w", err)
	}
	list, ok := answer.([]reply)
	if answer == nil {
		return user, nil
	}
	if !ok || len(list)%2 != 0 {
		return user, fmt.Errorf("ACL GETUSER: %w", errReply)
	}
	user.exists = true
	for pair := range slices.Chunk(list, 2) {
		switch pair[0] {
		case "flags":
			user.on = slices.Contains(texts(pair[1]), "on")
		case "passwords":
			user.passwords = texts(pair[1])
		}
	}
	return user, nil
}

// texts are the strings of an array.
func texts(r reply) (list []string) {
	items, _ := r.([]reply)
	for _, item := range items {
		if text, ok := item.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// connections counts those of a user.
func (w *wire) connections(name string) (n int, err error) {
	answer, err := w.do("CLIENT", "LIST")
	if err != nil {
		return 0, fmt.Errorf("CLIENT LIST: %w", err)
	}
	text, ok := answer.(string)
	if !ok {
		return 0, fmt.Errorf("CLIENT LIST: %w", errReply)
	}
	for line := range strings.Lines(text) {
		if slices.Contains(strings.Fields(line), "user="+name) {
			n++
		}
	}
	return n, nil
}
