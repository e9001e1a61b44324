package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// policyCommand exports what a verifier must trust.
func (a *app) policyCommand() *cobra.Command {
	return group("policy", "Export what a verifier must be told to trust", a.policyExport())
}

func (a *app) policyExport() *cobra.Command {
	var tenant, out, armoured string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a tenant's policy file and print its fingerprints, to compare by telephone",
		Long: "Write a tenant's policy file: the keys that a verifier of its bundles must trust. With --out its fingerprints are\n" +
			"printed, to be compared by another way than the file came. --export-key writes the key of the bundles alone, for cosign and\n" +
			"other tools that read PEM.",
		Example: "  custody policy export --tenant acme --out acme.policy.json\n" +
			"  custody policy export --tenant acme --out acme.policy.json --export-key acme.pem",
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return allFree(out, armoured) },
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(ctx, &apiv1.ExportPolicyRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			if err := keepExportKey(resp.GetPolicy(), armoured); err != nil {
				return err
			}
			if out == "" {
				_, err := a.out.Write(resp.GetPolicy())
				return err
			}
			return a.keepPolicy(resp.GetPolicy(), out)
		})),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant (required)")
	cmd.Flags().StringVar(&out, "out", "", "policy file, which must not exist; standard output if absent")
	cmd.Flags().StringVar(&armoured, "export-key", "", "PEM file for the key of the bundles, which must not exist; none if absent")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

// allFree refuses files that exist before any is written. Those without a name are not wanted.
func allFree(files ...string) error {
	for _, file := range files {
		if file == "" {
			continue
		}
		if err := free(file); err != nil {
			return err
		}
	}
	return nil
}

// keepExportKey writes the export key of a policy as PEM, if a file is named for it.
func keepExportKey(raw []byte, out string) error {
	if out == "" {
		return nil
	}
	policy, err := evidence.ParsePolicy(raw)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	armoured, err := policy.ExportKey.PEM()
	if err == nil {
		err = writeNew(out, armoured)
	}
	if err != nil {
		return fmt.Errorf("write export key: %w", err)
	}
	return nil
}

// keepPolicy writes a policy file and prints its fingerprints.
func (a *app) keepPolicy(raw []byte, out string) error {
	policy, err := evidence.ParsePolicy(raw)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	all, err := policy.Fingerprints()
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	if err := writeNew(out, raw); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	text, fingerprints := strings.Builder{}, object{}
	for _, f := range all {
		fmt.Fprintf(&text, "  %-11s %s\n", f.Of, f.Text)
		fingerprints = append(fingerprints, member{f.Of, f.Text})
	}
	return a.say(object{{"policy", out}, {"fingerprints", fingerprints}},
		"policy written to %s; compare these by another way than the file came:\n%s", out, text.String())
}

// writeNew writes a file that does not exist, 0600.
func writeNew(path string, content []byte) error {
	if err := free(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}
