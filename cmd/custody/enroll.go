package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// defaultTicketTTL is how long a ticket waits to be used.
const defaultTicketTTL = time.Hour

// ticket is what enroll prints and join takes: a one-time token with what is needed to reach the server and to know it.
type ticket struct {
	Token   string `json:"token"`
	Address string `json:"address"`
	CA      []byte `json:"ca"`

	expires int64 // ns since the Unix epoch
}

func (t ticket) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseTicket reads what enroll printed.
func parseTicket(s string) (ticket, error) {
	var t ticket
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err != nil || t.Token == "" || t.Address == "" {
		return ticket{}, inputError(errors.New("the ticket is not one that custody enroll printed"), "custody enroll TENANT/INSTANCE")
	}
	return t, nil
}

// isFor reports whether the ticket is for an emitter's instance.
func (t ticket) isFor(id edge.Identity) bool {
	return strings.HasPrefix(t.Token, fmt.Sprintf("custody-join_%s_%s_", id.Tenant, id.Instance))
}

// enrollCommand makes a one-time ticket, or uses one.
func (a *app) enrollCommand() *cobra.Command {
	var ttl time.Duration
	var producer, into string
	cmd := &cobra.Command{
		Use:   "enroll TENANT/INSTANCE",
		Short: "Let an emitter join: a one-time ticket, or a ready emitter folder with --into",
		Long: "Make a one-time, expiring ticket with which an emitter enrols its own key. The key is made where the agent runs and\n" +
			"never leaves it: run custody join there. With --into the ticket is used at once, on this machine, and the folder is\n" +
			"ready for the SDK (CUSTODY_EMITTER=DIR) or for custody edge --dir DIR.",
		Example: "  custody enroll acme/support-1 --into ./emitter\n" +
			"  custody enroll acme/support-1 --ttl 10m | ssh agents-1 custody join - --dir /var/lib/agent/custody",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.firstInstance,
		RunE: a.callAt(place{door: true}, func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			t, err := makeTicket(ctx, conn, args[0], producer, ttl)
			if err != nil {
				return err
			}
			if into != "" {
				return a.join(ctx, t, into)
			}
			return a.say(object{{"ticket", t.String()}, {"address", t.Address}, {"expires_at", timeJSON(t.expires)}}, "%s\n", t)
		}),
	}
	cmd.Flags().DurationVar(&ttl, "ttl", defaultTicketTTL, "how long the ticket waits to be used, at most 168h")
	cmd.Flags().StringVar(&producer, "producer", "agent", "agent, gateway or importer")
	cmd.Flags().StringVar(&into, "into", "", "use the ticket now, and write the emitter's folder here")
	a.offer(cmd, "producer", outsiders)
	return cmd
}

// outsiders are the producers that a ticket can be for: everybody but Custody itself.
var outsiders = []string{"agent", "gateway", "importer"}

func makeTicket(ctx context.Context, conn *grpc.ClientConn, name, producer string, ttl time.Duration) (ticket, error) {
	tenant, instance, err := splitInstance(name)
	if err != nil {
		return ticket{}, err
	}
	class, err := parseName(event.Producers, producer)
	if err == nil && class == eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
		err = fmt.Errorf("%q is Custody itself", producer)
	}
	if err != nil {
		return ticket{}, usageError("--producer: %w", err)
	}
	if ttl <= 0 {
		return ticket{}, usageError("--ttl %s: must be more than 0", ttl)
	}
	resp, err := apiv1.NewAdminServiceClient(conn).CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: class, Ttl: ttl.Nanoseconds(),
	})
	if err != nil {
		return ticket{}, err
	}
	return ticket{Token: resp.GetToken(), Address: resp.GetAddress(), CA: resp.GetCaPem(), expires: resp.GetExpiresAt()}, nil
}

// joinCommand uses a ticket where the agent runs.
func (a *app) joinCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "join TICKET",
		Short: "Make a key for an emitter and enrol it with a ticket",
		Long: "Make a key for an emitter, in a folder on this machine, and enrol it with the ticket that custody enroll printed. The\n" +
			"ticket - is read from standard input. The folder is for one process at a time: the SDK (CUSTODY_EMITTER=DIR) or\n" +
			"custody edge --dir DIR.",
		Example:           "  custody join - --dir /var/lib/agent/custody < ticket",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.readTicket(args[0])
			if err != nil {
				return err
			}
			return a.join(cmd.Context(), t, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "emitter folder, made if it does not exist (required)")
	_ = cmd.MarkFlagRequired("dir")
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}

// join uses a ticket.
func (a *app) join(ctx context.Context, t ticket, dir string) error {
	id, err := edge.Join(ctx, dir, t.Token, t.Address, t.CA)
	if err != nil {
		return joinError(err, t.Address)
	}
	return a.sayIdentity(id, dir)
}

// joinError says what to do about a ticket.
func joinError(err error, address string) error {
	switch status.Code(rootStatus(err)) {
	case codes.Unauthenticated:
		return fail(exitDenied, explain(err).err, "no key was enrolled", "get another ticket: custody enroll TENANT/INSTANCE")
	case codes.Unavailable:
		return fail(exitUnavailable, fmt.Errorf("%s cannot be reached: %w", address, explain(err).err), "the ticket can still be used", "custody status where the server runs; then the same command again")
	}
	return err
}

// rootStatus is the server's answer inside an error; the error itself if there is none.
func rootStatus(err error) error {
	if remote, ok := errors.AsType[interface {
		GRPCStatus() *status.Status
		error
	}](err); ok {
		return remote
	}
	return err
}

func (a *app) sayIdentity(id edge.Identity, dir string) error {
	return a.say(object{
		{"tenant", id.Tenant},
		{"instance", id.Instance},
		{"producer", id.Producer},
		{"key_id", id.KeyID.String()},
		{"address", id.Address},
		{"dir", dir},
	}, "%s/%s: key %s in %s\n", id.Tenant, id.Instance, id.KeyID.String()[:12], dir)
}

// maxTicket bounds a ticket that is read from standard input, in bytes.
const maxTicket = 64 << 10

// readTicket reads a ticket from the command line, or from standard input: secrets do not belong on a command line.
func (a *app) readTicket(text string) (ticket, error) {
	if text == "-" {
		raw, err := io.ReadAll(io.LimitReader(a.in, maxTicket))
		if err != nil {
			return ticket{}, fmt.Errorf("read standard input: %w", err)
		}
		text = strings.TrimSpace(string(raw))
	}
	return parseTicket(text)
}
