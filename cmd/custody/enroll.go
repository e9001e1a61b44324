package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// defaultTokenTTL is how long a join token waits to be used.
const defaultTokenTTL = time.Hour

// ticket is what enroll prints and join takes: the token with what is needed to reach the server and to know it.
type ticket struct {
	Token   string `json:"token"`
	Address string `json:"address"`
	CA      []byte `json:"ca"`
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
	if err != nil || t.Token == "" {
		return ticket{}, fail(exitInput, errors.New("the ticket is not one that custody enroll printed"), "nothing was changed", "custody enroll TENANT/INSTANCE")
	}
	return t, nil
}

// enrollCommand makes a one-time ticket, or uses one.
func (a *app) enrollCommand() *cobra.Command {
	var ttl time.Duration
	var producer, into string
	cmd := &cobra.Command{
		Use:   "enroll TENANT/INSTANCE",
		Short: "Let an emitter join: a one-time ticket, or a ready emitter folder with --into",
		Long: "Make a one-time, expiring ticket with which an emitter enrols its own key. The key is made where the agent runs and\n" +
			"never leaves it. With --into the ticket is used at once and the folder is ready for the SDK or for custody edge.",
		Example: "  custody enroll acme/support-1 --into /var/lib/agent/custody\n  custody enroll acme/support-1 --ttl 10m    # then, where the agent runs: custody edge join TICKET --dir DIR",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			t, err := a.makeTicket(ctx, conn, args[0], producer, ttl)
			if err != nil {
				return err
			}
			if into == "" {
				fmt.Fprintln(a.out, t)
				return nil
			}
			return a.join(ctx, t, into)
		}),
	}
	cmd.Flags().DurationVar(&ttl, "ttl", defaultTokenTTL, "how long the ticket waits to be used")
	cmd.Flags().StringVar(&producer, "producer", "agent", "agent, gateway or importer")
	cmd.Flags().StringVar(&into, "into", "", "use the ticket now and write the emitter's folder here")
	return cmd
}

func (a *app) makeTicket(ctx context.Context, conn *grpc.ClientConn, name, producer string, ttl time.Duration) (ticket, error) {
	tenant, instance, err := splitInstance(name)
	if err != nil {
		return ticket{}, err
	}
	class, err := parseName(event.Producers, producer)
	if err != nil {
		return ticket{}, usageError("--producer: %s", err)
	}
	resp, err := apiv1.NewAdminServiceClient(conn).CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: class, Ttl: ttl.Nanoseconds(),
	})
	if err != nil {
		return ticket{}, err
	}
	return ticket{Token: resp.GetToken(), Address: resp.GetAddress(), CA: resp.GetCaPem()}, nil
}

// join uses a ticket.
func (a *app) join(ctx context.Context, t ticket, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create emitter folder: %w", err)
	}
	id, err := edge.Join(ctx, dir, t.Token, t.Address, t.CA)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	fmt.Fprintf(a.out, "%s/%s: key %s in %s\n", id.Tenant, id.Instance, id.KeyID.String()[:12], dir)
	return nil
}

// edgeJoin uses a ticket where the agent runs.
func (a *app) edgeJoin() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "join TICKET",
		Short: "Enrol a new key with a ticket (- reads it from standard input)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.argument(args[0])
			if err != nil {
				return err
			}
			t, err := parseTicket(text)
			if err != nil {
				return err
			}
			return a.join(cmd.Context(), t, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "emitter folder (required)")
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}

// maxArgument bounds an argument that is read from standard input, in bytes.
const maxArgument = 64 << 10

// argument is the word itself, or standard input for "-": secrets do not belong on a command line.
func (a *app) argument(word string) (string, error) {
	if word != "-" {
		return word, nil
	}
	raw, err := io.ReadAll(io.LimitReader(a.in, maxArgument))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return string(trimSpace(raw)), nil
}
