package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/edge"
)

// keyRotate gives an emitter's folder a new key.
func (a *app) keyRotate() *cobra.Command {
	var given string
	cmd := &cobra.Command{
		Use:   "rotate DIR",
		Short: "Replace the key in an emitter's folder by a new one",
		Long: "Replace the key in an emitter's folder by a new one. The old key is revoked in the same leaf that enrols the new one.\n" +
			"The agent must be stopped, and everything that it recorded must have its receipt. Where the server's admin is not\n" +
			"at hand, --ticket takes a ticket of custody enroll for the same instance (- reads it from standard input).",
		Example: "  custody key rotate ./emitter\n  custody key rotate /var/lib/agent/custody --ticket - < ticket",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rotate(cmd.Context(), args[0], given)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().StringVar(&given, "ticket", "", "ticket to use; one is asked for if absent")
	return cmd
}

func (a *app) rotate(ctx context.Context, dir, given string) error {
	id, err := readIdentity(dir)
	if err != nil {
		return err
	}
	rotate := func(t ticket) error {
		next, err := edge.Rotate(ctx, dir, t.Token)
		if err != nil {
			return joinError(err, id.Address)
		}
		return a.sayIdentity(next, dir)
	}
	if given != "" {
		t, err := a.readTicket(given)
		if err == nil && !t.isFor(id) {
			err = inputError(fmt.Errorf("the ticket is not for %s/%s, whose folder %s is", id.Tenant, id.Instance, dir), "custody enroll TENANT/INSTANCE")
		}
		if err != nil {
			return err
		}
		return rotate(t)
	}
	conn, stop, err := a.connect(ctx, place{door: true})
	if err != nil {
		return err
	}
	defer stop()
	t, err := makeTicket(ctx, conn, string(id.Tenant)+"/"+string(id.Instance), id.Producer, defaultTicketTTL)
	if err != nil {
		return err
	}
	return rotate(t)
}

// readIdentity reads who an emitter's folder is of.
func readIdentity(dir string) (edge.Identity, error) {
	var id edge.Identity
	raw, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("%s: %w", dir, edge.ErrNotJoined)
	}
	if err == nil {
		err = json.Unmarshal(raw, &id)
	}
	if errors.Is(err, fs.ErrPermission) {
		return id, fmt.Errorf("read identity of %s: %w", dir, err)
	}
	if err != nil {
		return id, fmt.Errorf("read identity of %s: %w: %w", dir, edge.ErrDamaged, err)
	}
	return id, nil
}
