package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// keyCommand manages the keys of emitters, and those of a tenant.
func (a *app) keyCommand() *cobra.Command {
	return group("key", "List, rotate, revoke and suspect keys", a.keyList(), a.keyRotate(), a.keyRevoke(), a.keySuspect(), a.keyFingerprints(), a.keyExports())
}

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use:               "list TENANT",
		Short:             "List a tenant's emitter keys and the leaves that each may sign for, and its export keys",
		Long:              "List a tenant's emitter keys, and the keys that sign its bundles. A key counts from leaf FROM on, up to but not including leaf TO.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.firstTenant,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			resp, err := apiv1.NewAdminServiceClient(conn).ListKeys(ctx, &apiv1.ListKeysRequest{Tenant: args[0]})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderKeys(w, resp.GetKeys()); renderExportKeys(w, resp.GetExportKeys()) })
		}),
	}
}

func renderKeys(w io.Writer, keys []*apiv1.KeyInfo) {
	t := newGrid("key", "instance", "producer", "from", "to", "suspect from")
	for _, k := range keys {
		to, suspect := "-", "-"
		if k.GetRevoked() {
			to = strconv.FormatUint(k.GetValidTo(), 10)
		}
		if k.GetSuspect() {
			suspect = strconv.FormatUint(k.GetSuspectFrom(), 10)
		}
		t.row(hex.EncodeToString(k.GetKeyId()), k.GetInstance(), event.Producers.Name(k.GetProducer()), k.GetValidFrom(), to, suspect)
	}
	t.print(w)
}

func (a *app) keyRevoke() *cobra.Command {
	var reason string
	var suspect uint64
	cmd := &cobra.Command{
		Use:   "revoke TENANT KEY",
		Short: "Make a key invalid from the next leaf on",
		Long: "Make a key invalid from the next leaf on. KEY is the beginning of its id. What it signed before stays valid, unless\n" +
			"--suspect-from marks it as in doubt.",
		Example:           "  custody key revoke acme 3f2a9c --reason 'laptop lost' --suspect-from 4711",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.firstTenant,
	}
	cmd.RunE = a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
		key, err := findKey(ctx, conn, args[0], args[1])
		if err != nil {
			return err
		}
		id := key.GetKeyId()
		doubted := cmd.Flags().Changed("suspect-from")
		req := &apiv1.RevokeKeyRequest{Tenant: args[0], KeyId: id, Reason: reason, Suspect: doubted, SuspectFrom: suspect}
		if _, err := apiv1.NewAdminServiceClient(conn).RevokeKey(ctx, req); err != nil {
			return advise(err, codes.FailedPrecondition, "custody key list "+shellWord(args[0]))
		}
		return a.say(object{{"key_id", hex.EncodeToString(id)}, {"revoked", true}}, "key %s: revoked\n", short(id))
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	cmd.Flags().Uint64Var(&suspect, "suspect-from", 0, "first leaf index that is in doubt; none if absent")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

func (a *app) keySuspect() *cobra.Command {
	var reason string
	var from uint64
	cmd := &cobra.Command{
		Use:               "suspect TENANT KEY",
		Short:             "Mark a key's leaves from an index on as in doubt; the key stays valid",
		Example:           "  custody key suspect acme 3f2a9c --from 4711 --reason 'image was altered'",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.firstTenant,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			key, err := findKey(ctx, conn, args[0], args[1])
			if err != nil {
				return err
			}
			id := key.GetKeyId()
			req := &apiv1.SuspectKeyRequest{Tenant: args[0], KeyId: id, SuspectFrom: from, Reason: reason}
			if _, err := apiv1.NewAdminServiceClient(conn).SuspectKey(ctx, req); err != nil {
				return err
			}
			if key.GetSuspect() { // a doubt that was recorded is not taken back
				from = min(from, key.GetSuspectFrom())
			}
			return a.say(object{{"key_id", hex.EncodeToString(id)}, {"suspect_from", from}}, "key %s: in doubt from leaf %d\n", short(id), from)
		}),
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "first leaf index that is in doubt (required)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

// findKey finds a key by the beginning of its id.
func findKey(ctx context.Context, conn *grpc.ClientConn, tenant, prefix string) (*apiv1.KeyInfo, error) {
	resp, err := apiv1.NewAdminServiceClient(conn).ListKeys(ctx, &apiv1.ListKeysRequest{Tenant: tenant})
	if err != nil {
		return nil, err
	}
	var found []*apiv1.KeyInfo
	for _, k := range resp.GetKeys() {
		if strings.HasPrefix(hex.EncodeToString(k.GetKeyId()), strings.ToLower(prefix)) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return nil, fail(exitNotFound, fmt.Errorf("no key of %s begins with %q", tenant, prefix), nothingChanged, "custody key list "+shellWord(tenant))
	case 1:
		return found[0], nil
	}
	return nil, usageError("%d keys of %s begin with %q: give more of the id", len(found), tenant, prefix)
}
