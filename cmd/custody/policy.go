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
	var tenant, out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a tenant's policy file and print its fingerprints, to compare by telephone",
		Long: "Write a tenant's policy file: the keys that a verifier of its bundles must trust. With --out its fingerprints are\n" +
			"printed, to be compared by another way than the file came.",
		Example: "  custody policy export --tenant acme --out acme.policy.json",
		Args:    cobra.NoArgs,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(ctx, &apiv1.ExportPolicyRequest{Tenant: tenant})
			if err != nil {
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
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
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
