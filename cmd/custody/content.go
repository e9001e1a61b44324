package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// contentCommand writes one sealed field into a file.
func (a *app) contentCommand() *cobra.Command {
	req, out := &apiv1.ContentRequest{}, ""
	cmd := &cobra.Command{
		Use:   "content EVENT PATH",
		Short: "Write the whole content of one sealed field into a file",
		Long: "Write the whole content of one sealed field into a file, as it was sealed. --open of search, trace and why shows the\n" +
			"beginning of what is longer than 64 KiB. The record says that it was opened.\n" + eventHelp,
		Example: "  custody content --tenant acme @33 result --out result.json",
		Args:    cobra.ExactArgs(2),
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			if err := free(out); err != nil {
				return err
			}
			id, err := eventID(ctx, conn, req.GetTenant(), args[0])
			if err != nil {
				return err
			}
			req.Event, req.Path, req.Index = id[:], args[1], indexOf(args[0])
			return a.saveContent(ctx, conn, req, out, args[0])
		})),
		ValidArgsFunction: noFiles,
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	cmd.Flags().StringVar(&out, "out", "", "file, which must not exist (required)")
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (a *app) saveContent(ctx context.Context, conn *grpc.ClientConn, req *apiv1.ContentRequest, out, name string) error {
	fields := "custody trace --tenant " + shellWord(req.GetTenant()) + " " + shellWord(name) + " --open"
	stream, err := apiv1.NewQueryServiceClient(conn).Content(ctx, req)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if status.Code(err) == codes.NotFound {
		return fail(exitNotFound, fmt.Errorf("%s has no sealed field %s", word(name), word(req.GetPath())), nothingChanged, fields)
	}
	if err != nil {
		return err
	}
	if first.GetState() != disclosed {
		return fail(exitNotFound, fmt.Errorf("%s is %s", word(req.GetPath()), first.GetState()), nothingChanged, fields)
	}
	file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write content: %w", err)
	}
	size, err := copyContent(stream, file)
	if err == nil && size != first.GetSize() {
		err = fmt.Errorf("%d bytes came, the event says %d", size, first.GetSize())
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	return a.say(object{{"path", req.GetPath()}, {"media_type", first.GetMediaType()}, {"size", size}, {"file", out}},
		"%s: %d bytes of %s to %s\n", word(req.GetPath()), size, word(first.GetMediaType()), out)
}

func copyContent(stream grpc.ServerStreamingClient[apiv1.ContentResponse], w io.Writer) (size uint64, err error) {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
		if _, err := w.Write(m.GetChunk()); err != nil {
			return size, fmt.Errorf("write content: %w", err)
		}
		size += uint64(len(m.GetChunk()))
	}
}
