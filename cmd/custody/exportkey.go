package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
)

// keyExports begins a new key for what is exported.
func (a *app) keyExports() *cobra.Command {
	req := new(apiv1.RotateExportKeyRequest)
	cmd := &cobra.Command{
		Use:   "exports TENANT",
		Short: "Begin a new key for bundles, of Ed25519 or of ECDSA P-256 for verifiers that take nothing else",
		Long: "Begin a new key for a tenant's bundles and statements of isolation. At first the log key signs them, with Ed25519. The tenant's\n" +
			"log says which key is in force; the private key is a file of the server's keys/export that only its user may read, and the one\n" +
			"before is removed there. Auditors need a new policy (custody policy export): bundles by the key before verify with the old one\n" +
			"alone. What was exported before can be exported again (custody evidence export --at): nothing but the signatures is new.",
		Example: "  custody key exports acme --algorithm ecdsa-p256 --reason 'the auditors verify with an HSM'\n" +
			"  custody key exports acme --algorithm ecdsa-p256 --reason 'backup of keys/ was stolen'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.firstTenant,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			req.Tenant = args[0]
			resp, err := apiv1.NewAdminServiceClient(conn).RotateExportKey(ctx, req)
			if err != nil {
				return err
			}
			id := hex.EncodeToString(resp.GetKeyId())
			return a.say(object{{"tenant", req.GetTenant()}, {"algorithm", req.GetAlgorithm()}, {"key_id", id}, {"public_key", hex.EncodeToString(resp.GetPublicKey())}},
				"export key %s of %s is in force, %s; auditors need a new policy:\n  custody policy export --tenant %[2]s --out FILE\n", id, req.GetTenant(), req.GetAlgorithm())
		}),
	}
	cmd.Flags().StringVar(&req.Algorithm, "algorithm", "", signer.AlgorithmEd25519+" or "+signer.AlgorithmP256+" (required)")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record (required)")
	a.offer(cmd, "algorithm", []string{signer.AlgorithmEd25519, signer.AlgorithmP256})
	require(cmd, "algorithm", "reason")
	return cmd
}

// renderExportKeys lists the keys of bundles below those of emitters.
func renderExportKeys(w io.Writer, keys []*apiv1.ExportKeyInfo) {
	fmt.Fprintln(w)
	t := newGrid("export key", "algorithm", "from", "to")
	for _, k := range keys {
		to := "-"
		if k.GetReplaced() {
			to = strconv.FormatUint(k.GetValidTo(), 10)
		}
		t.row(hex.EncodeToString(k.GetKeyId()), k.GetAlgorithm(), k.GetValidFrom(), to)
	}
	t.print(w)
}
