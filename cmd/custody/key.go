package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

func trimSpace(b []byte) []byte { return bytes.TrimSpace(b) }

// keyCommand manages emitter keys.
func (a *app) keyCommand() *cobra.Command {
	return group("key", "List, revoke and suspect emitter keys, by log index", a.keyList(), a.keyRevoke(), a.keySuspect())
}

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use:   "list TENANT",
		Short: "List a tenant's emitter keys and the leaves that each may sign for",
		Args:  cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			resp, err := apiv1.NewAdminServiceClient(conn).ListKeys(ctx, &apiv1.ListKeysRequest{Tenant: args[0]})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderKeys(w, resp.GetKeys()) })
		}),
	}
}

func renderKeys(w io.Writer, keys []*apiv1.KeyInfo) {
	t := newTable(w, "key", "instance", "producer", "from", "to", "suspect from")
	for _, k := range keys {
		to, suspect := "-", "-"
		if k.GetRevoked() {
			to = strconv.FormatUint(k.GetValidTo(), 10)
		}
		if k.GetSuspect() {
			suspect = strconv.FormatUint(k.GetSuspectFrom(), 10)
		}
		t.AppendRow(table.Row{hex.EncodeToString(k.GetKeyId()), k.GetInstance(), event.Producers.Name(k.GetProducer()), k.GetValidFrom(), to, suspect})
	}
	t.Render()
}

func (a *app) keyRevoke() *cobra.Command {
	var reason string
	var suspect int64
	cmd := &cobra.Command{
		Use:     "revoke TENANT KEY",
		Short:   "Make a key invalid from the next leaf on",
		Example: "  custody key revoke acme 3f2a9c --reason 'laptop lost' --suspect-from 4711",
		Args:    cobra.ExactArgs(2),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			id, err := findKey(ctx, conn, args[0], args[1])
			if err != nil {
				return err
			}
			req := &apiv1.RevokeKeyRequest{Tenant: args[0], KeyId: id, Reason: reason, Suspect: suspect >= 0}
			if suspect >= 0 {
				req.SuspectFrom = uint64(suspect)
			}
			if _, err := apiv1.NewAdminServiceClient(conn).RevokeKey(ctx, req); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "key %s: revoked\n", short(id))
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	cmd.Flags().Int64Var(&suspect, "suspect-from", -1, "first leaf index that is in doubt")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

func (a *app) keySuspect() *cobra.Command {
	var reason string
	var from uint64
	cmd := &cobra.Command{
		Use:   "suspect TENANT KEY",
		Short: "Mark a key's leaves from an index on as in doubt; the key stays valid",
		Args:  cobra.ExactArgs(2),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			id, err := findKey(ctx, conn, args[0], args[1])
			if err != nil {
				return err
			}
			req := &apiv1.SuspectKeyRequest{Tenant: args[0], KeyId: id, SuspectFrom: from, Reason: reason}
			if _, err := apiv1.NewAdminServiceClient(conn).SuspectKey(ctx, req); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "key %s: in doubt from leaf %d\n", short(id), from)
			return nil
		}),
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "first leaf index that is in doubt (required)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

// findKey finds a key by the beginning of its id.
func findKey(ctx context.Context, conn *grpc.ClientConn, tenant, prefix string) ([]byte, error) {
	resp, err := apiv1.NewAdminServiceClient(conn).ListKeys(ctx, &apiv1.ListKeysRequest{Tenant: tenant})
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for _, k := range resp.GetKeys() {
		if strings.HasPrefix(hex.EncodeToString(k.GetKeyId()), strings.ToLower(prefix)) {
			found = append(found, k.GetKeyId())
		}
	}
	if len(found) != 1 {
		return nil, fail(exitNotFound, fmt.Errorf("key %q: %d keys match", prefix, len(found)), "nothing was changed", "custody key list "+tenant)
	}
	return found[0], nil
}
