package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/agentcustody/custody/contain"
)

// Subjects of the system account.
const (
	subjectLookup = "$SYS.REQ.ACCOUNT.%s.CLAIMS.LOOKUP"
	subjectUpdate = "$SYS.REQ.CLAIMS.UPDATE"
	subjectStats  = "$SYS.REQ.SERVER.PING"
	subjectConns  = "$SYS.REQ.SERVER.PING.CONNZ"
	subjectServer = "$SYS.REQ.SERVER.PING.VARZ"
	subjectKick   = "$SYS.REQ.SERVER.%s.KICK"
)

const (
	// mostConns is how many connections of the user a server lists: one credential has a handful.
	mostConns = 1024
	// pushPatience is how long it is waited for servers to say that they have a push: those without a resolver say nothing.
	pushPatience = 2 * time.Second
	// natsTimeout bounds a call where the context has no deadline.
	natsTimeout = 10 * time.Second
)

var errAnswer = errors.New("a server's answer cannot be read")

// natsUser is the connector that revokes a user in its account's JWT and pushes that to the servers' resolver.
type natsUser struct {
	urls       []string
	admin      secret // credentials of a user of the system account
	signingKey secret // seed of a key of the operator
	login      secret // the agent's credentials
	caFile     string
}

// natsLogin is the agent's user as its credentials have it.
type natsLogin struct {
	claims  *jwt.UserClaims
	account string
	creds   []byte
}

// Revoke adds the user to the account's revocations, and ends what connections the servers have not ended by themselves.
func (n *natsUser) Revoke(ctx context.Context, _ contain.Errand) (string, error) {
	u, err := n.user()
	if err != nil {
		return "", err
	}
	nc, err := n.open(ctx)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	account, err := lookUp(ctx, nc, u.account)
	if err != nil {
		return "", err
	}
	if !account.IsClaimRevoked(u.claims) {
		account.Revoke(u.claims.Subject)
		if err := n.push(ctx, nc, account); err != nil {
			return "", err
		}
	}
	ended, err := kick(ctx, nc, u)
	return fmt.Sprintf("user %s is revoked in account %s; %d connections were left, and ended", u.claims.Subject, u.account, ended), err
}

// Probe connects as the user to every server that is named, and looks for connections of it at all servers.
func (n *natsUser) Probe(ctx context.Context, _ contain.Errand) (contain.Liveness, string, error) {
	u, err := n.user()
	if err != nil {
		return contain.Unclear, "", err
	}
	for _, url := range n.urls {
		switch err := n.logIn(ctx, url, u); {
		case err == nil:
			return contain.Alive, fmt.Sprintf("%s lets user %s in", url, u.claims.Subject), nil
		case !errors.Is(err, nats.ErrAuthorization) && !errors.Is(err, nats.ErrAuthRevoked):
			return contain.Unclear, "", fmt.Errorf("connect to %s as user %s: %w", url, u.claims.Subject, err)
		}
	}
	nc, err := n.open(ctx)
	if err != nil {
		return contain.Unclear, "", err
	}
	defer nc.Close()
	return standing(ctx, nc, u, len(n.urls))
}

// standing is what the servers know of a user whose login they have refused.
func standing(ctx context.Context, nc *nats.Conn, u *natsLogin, tried int) (contain.Liveness, string, error) {
	account, err := lookUp(ctx, nc, u.account)
	if err != nil {
		return contain.Unclear, "", err
	}
	left, err := connectionsOf(ctx, nc, u)
	switch {
	case err != nil:
		return contain.Unclear, "", err
	case len(left) > 0:
		return contain.Alive, fmt.Sprintf("user %s still has %d connections", u.claims.Subject, len(left)), nil
	case !account.IsClaimRevoked(u.claims):
		return contain.Unclear, fmt.Sprintf("user %s is refused, but its account does not revoke it", u.claims.Subject), nil
	}
	return contain.Dead, fmt.Sprintf("%d servers refuse user %s, which is revoked and has no connection", tried, u.claims.Subject), nil
}

// DryRun reads what Revoke would change, and looks whether the servers trust the key that would sign it.
func (n *natsUser) DryRun(ctx context.Context, _ contain.Errand) ([]string, error) {
	u, err := n.user()
	if err != nil {
		return nil, err
	}
	nc, err := n.open(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	account, err := lookUp(ctx, nc, u.account)
	if err != nil {
		return nil, err
	}
	if err := n.isTrusted(ctx, nc, account); err != nil {
		return nil, err
	}
	left, err := connectionsOf(ctx, nc, u)
	if err != nil {
		return nil, err
	}
	state := "revoke"
	if account.IsClaimRevoked(u.claims) {
		state = "is revoked already:"
	}
	return []string{fmt.Sprintf("account %s: %s user %s (%s), and end its %d connections", u.account, state, u.claims.Subject, u.claims.Name, len(left))}, nil
}

// user reads the agent's credentials.
func (n *natsUser) user() (*natsLogin, error) {
	creds, err := n.login.bytes()
	if err != nil {
		return nil, err
	}
	token, err := jwt.ParseDecoratedJWT(creds)
	if err == nil {
		var claims *jwt.UserClaims
		if claims, err = jwt.DecodeUserClaims(token); err == nil {
			account := claims.IssuerAccount
			if account == "" {
				account = claims.Issuer
			}
			return &natsLogin{claims, account, creds}, nil
		}
	}
	return nil, fmt.Errorf("%w: %s does not hold the credentials of a user", contain.ErrNotSent, n.login)
}

// open connects as Custody to whichever server answers.
func (n *natsUser) open(ctx context.Context) (nc *nats.Conn, err error) {
	creds, err := n.admin.bytes()
	if err != nil {
		return nil, err
	}
	for _, url := range n.urls {
		if nc, err = n.connect(ctx, url, creds); err == nil {
			return nc, nil
		}
	}
	return nil, fmt.Errorf("%w: connect to the system account: %w", contain.ErrNotSent, err)
}

// logIn tries the agent's own credentials at one server.
func (n *natsUser) logIn(ctx context.Context, url string, u *natsLogin) error {
	nc, err := n.connect(ctx, url, u.creds)
	if err == nil {
		nc.Close()
	}
	return err
}

func (n *natsUser) connect(ctx context.Context, url string, creds []byte) (*nats.Conn, error) {
	timeout := natsTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	options := []nats.Option{nats.UserCredentialBytes(creds), nats.NoReconnect(), nats.Timeout(timeout), nats.Name("custody"), nats.ErrorHandler(silent)}
	if n.caFile != "" {
		options = append(options, nats.RootCAs(n.caFile))
	}
	return nats.Connect(url, options...)
}

// silent takes the place of the library's handler, which prints. What counts is returned.
func silent(*nats.Conn, *nats.Subscription, error) {}

// lookUp asks for an account's JWT.
func lookUp(ctx context.Context, nc *nats.Conn, account string) (*jwt.AccountClaims, error) {
	m, err := nc.RequestWithContext(ctx, fmt.Sprintf(subjectLookup, account), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: look up account %s: %w", contain.ErrNotSent, account, err)
	}
	claims, err := jwt.DecodeAccountClaims(string(m.Data))
	if err != nil {
		return nil, fmt.Errorf("%w: account %s: the servers have no JWT of it", contain.ErrNotSent, account)
	}
	return claims, nil
}

// signer is the operator's key. The caller wipes it.
func (n *natsUser) signer() (nkeys.KeyPair, error) {
	seed, err := n.signingKey.text()
	if err != nil {
		return nil, err
	}
	key, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not hold the seed of an operator's key", contain.ErrNotSent, n.signingKey)
	}
	return key, nil
}

// push signs an account's JWT and gives it to the resolver. Servers take it from the system account without a look at who has signed it,
// and refuse the whole account when they start again: so it is looked at here.
func (n *natsUser) push(ctx context.Context, nc *nats.Conn, account *jwt.AccountClaims) error {
	if err := n.isTrusted(ctx, nc, account); err != nil {
		return fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	key, err := n.signer()
	if err != nil {
		return err
	}
	defer key.Wipe()
	token, err := account.Encode(key)
	if err != nil {
		return fmt.Errorf("%w: sign account: %w", contain.ErrNotSent, err)
	}
	servers, err := countServers(ctx, nc)
	if err != nil {
		return fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	bounded, cancel := context.WithTimeout(ctx, pushPatience)
	defer cancel()
	taken, err := ask(bounded, nc, subjectUpdate, []byte(token), servers, parsePushed)
	if err != nil && (taken == 0 || bounded.Err() == nil) {
		return fmt.Errorf("push account: %w", err)
	}
	return nil // what has not answered in time is found by the probe
}

// parsePushed reads a server's answer to a push.
func parsePushed(answer []byte) error {
	var a struct {
		Data  *struct{} `json:"data"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(answer, &a); {
	case err != nil || a.Data == nil && a.Error == nil:
		return errAnswer
	case a.Error != nil:
		return fmt.Errorf("a server refuses it: %s", a.Error.Description)
	}
	return nil
}

// isTrusted reports why the servers would not take what our key signs.
func (n *natsUser) isTrusted(ctx context.Context, nc *nats.Conn, account *jwt.AccountClaims) error {
	key, err := n.signer()
	if err != nil {
		return err
	}
	defer key.Wipe()
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicOperatorKey(public) {
		return fmt.Errorf("%s does not hold the seed of an operator's key", n.signingKey)
	}
	var answer struct {
		Data struct {
			Operators []*jwt.OperatorClaims `json:"trusted_operators_claim"`
		} `json:"data"`
	}
	m, err := nc.RequestWithContext(ctx, subjectServer, nil)
	if err == nil {
		err = json.Unmarshal(m.Data, &answer)
	}
	if err != nil {
		return fmt.Errorf("ask for the trusted operators: %w", err)
	}
	signed := *account
	signed.Issuer = public
	for _, operator := range answer.Data.Operators {
		if operator.DidSign(&signed) {
			return nil
		}
	}
	return fmt.Errorf("the servers do not trust the key in %s", n.signingKey)
}

// natsConn is one connection at one server.
type natsConn struct {
	server string
	cid    uint64
}

// countServers is how many servers the cluster has.
func countServers(ctx context.Context, nc *nats.Conn) (int, error) {
	var stats struct {
		Statsz struct {
			Servers int `json:"active_servers"`
		} `json:"statsz"`
	}
	m, err := nc.RequestWithContext(ctx, subjectStats, nil)
	if err == nil {
		err = json.Unmarshal(m.Data, &stats)
	}
	if err != nil {
		return 0, fmt.Errorf("ask how many servers there are: %w", err)
	}
	return max(stats.Statsz.Servers, 1), nil
}

// connectionsOf are the user's at all servers. Every server of the cluster must have answered.
func connectionsOf(ctx context.Context, nc *nats.Conn, u *natsLogin) (list []natsConn, err error) {
	servers, err := countServers(ctx, nc)
	if err != nil {
		return nil, err
	}
	question, err := json.Marshal(map[string]any{"acc": u.account, "user": u.claims.Subject, "auth": true, "limit": mostConns})
	if err != nil {
		return nil, err
	}
	_, err = ask(ctx, nc, subjectConns, question, servers, func(answer []byte) error {
		found, err := parseConns(answer, u.claims.Subject)
		list = append(list, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return list, nil
}

// ask puts a question to every server and takes that many answers.
func ask(ctx context.Context, nc *nats.Conn, subject string, question []byte, servers int, take func([]byte) error) (taken int, err error) {
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err == nil {
		defer sub.Unsubscribe() //nolint:errcheck // the connection ends with it
		err = nc.PublishRequest(subject, inbox, question)
	}
	if err != nil {
		return 0, err
	}
	for ; taken < servers; taken++ {
		m, err := sub.NextMsgWithContext(ctx)
		if err == nil {
			err = take(m.Data)
		}
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// parseConns reads the connections of a user from a server's answer.
func parseConns(answer []byte, user string) (list []natsConn, err error) {
	var a struct {
		Server struct {
			ID string `json:"id"`
		} `json:"server"`
		Data *struct {
			Connections []struct {
				CID  uint64 `json:"cid"`
				User string `json:"authorized_user"`
			} `json:"connections"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.Data == nil {
		return nil, errAnswer
	}
	for _, c := range a.Data.Connections {
		if c.User == user {
			list = append(list, natsConn{a.Server.ID, c.CID})
		}
	}
	return list, nil
}

// kick ends what is left of a user's connections. Servers end them by themselves when they hear of a revocation; one that has been
// cut off from the resolver's updates does not.
func kick(ctx context.Context, nc *nats.Conn, u *natsLogin) (ended int, err error) {
	left, err := connectionsOf(ctx, nc, u)
	if err != nil {
		return 0, err
	}
	for _, c := range left {
		order, err := json.Marshal(map[string]uint64{"cid": c.cid})
		if err == nil {
			_, err = nc.RequestWithContext(ctx, fmt.Sprintf(subjectKick, c.server), order)
		}
		if err != nil {
			return ended, fmt.Errorf("end connection %d: %w", c.cid, err)
		}
		ended++
	}
	return ended, nil
}
