package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Names of flags that several commands of approval have.
const (
	flagTenant = "tenant"
	flagReason = "reason"
)

// listPoll is how often a command that waits for a question looks.
const listPoll = 200 * time.Millisecond

// questionHelp says what an ID is.
const questionHelp = "ID is what custody approvals list shows, or the id of the approval.requested event."

func (a *app) approvalsCommand() *cobra.Command {
	return group("approvals", "See what agents ask people to approve", a.approvalsList(), a.approvalsShow())
}

func (a *app) approvalsList() *cobra.Command {
	req, wait := new(apiv1.ListApprovalsRequest), time.Duration(0)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the calls that wait for an approver",
		Long:    "List the calls that wait for an approver, oldest first, without what is sealed. The record says that you looked.",
		Example: "  custody approvals list\n  custody approvals list --tenant acme --all\n  custody approvals list --wait 10m",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := waitForQuestions(ctx, conn, req, wait)
			if err != nil {
				return err
			}
			if len(resp.GetApprovals()) == 0 {
				a.note("nothing waits for an approver")
			}
			return a.result(resp, func(w io.Writer) { renderQuestions(w, resp.GetApprovals()) })
		}),
		ValidArgsFunction: noFiles,
	}
	cmd.Flags().StringVar(&req.Tenant, flagTenant, "", "only this tenant; all that you may see if absent")
	cmd.Flags().BoolVar(&req.All, "all", false, "answered, withdrawn and expired ones too")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long until there is one")
	return cmd
}

func waitForQuestions(ctx context.Context, conn *grpc.ClientConn, req *apiv1.ListApprovalsRequest, wait time.Duration) (*apiv1.ListApprovalsResponse, error) {
	end := time.Now().Add(wait)
	for {
		resp, err := apiv1.NewApprovalServiceClient(conn).ListApprovals(ctx, req)
		if err != nil || len(resp.GetApprovals()) > 0 || !time.Now().Before(end) {
			return resp, err
		}
		select {
		case <-time.After(listPoll):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func renderQuestions(w io.Writer, list []*apiv1.ApprovalInfo) {
	t := newGrid("id", "tenant", "state", "instance", "tool", "class", "for", "asked (UTC)", "until (UTC)")
	for _, q := range list {
		x := q.GetAsked()
		t.row(q.GetId(), q.GetTenant(), q.GetState(), word(x.GetInstance()), word(x.GetTool()), event.Consequences.Name(x.GetConsequence()),
			dash(word(x.GetPrincipal())), stamp(q.GetAskedAt()), stamp(x.GetValidUntil()))
	}
	t.print(w)
}

func (a *app) approvalsShow() *cobra.Command {
	req, asShown := new(apiv1.ShowApprovalRequest), false
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one question: the very text to decide on, and what people have said",
		Long: "Show one question. The text is the one that the record has sealed; the server shows it only if it is exactly what the\n" +
			"record of the proposed call says. It is opened, and the record says so. With --as-shown the text comes alone, byte for\n" +
			"byte, so that its SHA-256 is the digest that the record names.\n\n" + questionHelp,
		Example: "  custody approvals show a-k3jd7xw2mpqa\n  custody approvals show a-k3jd7xw2mpqa --as-shown | sha256sum",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			resp, err := showQuestion(ctx, conn, req, args[0])
			if err != nil {
				return err
			}
			if asShown {
				_, err := a.out.Write(resp.GetText())
				return err
			}
			return a.result(resp, func(w io.Writer) { renderQuestion(w, resp) })
		}),
		ValidArgsFunction: noFiles,
	}
	cmd.Flags().StringVar(&req.Tenant, flagTenant, "", "tenant of the question; found if absent")
	cmd.Flags().StringVar(&req.Purpose, "purpose", "", "why, for the record")
	cmd.Flags().BoolVar(&asShown, "as-shown", false, "only the text, byte for byte")
	return cmd
}

// showQuestion has a question shown, in whatever tenant it is.
func showQuestion(ctx context.Context, conn *grpc.ClientConn, req *apiv1.ShowApprovalRequest, id string) (*apiv1.ShowApprovalResponse, error) {
	client := apiv1.NewApprovalServiceClient(conn)
	if req.Id = id; req.GetTenant() == "" {
		resp, err := client.ListApprovals(ctx, &apiv1.ListApprovalsRequest{All: true})
		if err != nil {
			return nil, err
		}
		for _, q := range resp.GetApprovals() {
			if id, err := event.IDFromBytes(q.GetAsked().GetRequest()); q.GetId() == req.GetId() || err == nil && id.String() == req.GetId() {
				req.Tenant = q.GetTenant()
			}
		}
	}
	if req.GetTenant() == "" {
		return nil, fail(exitNotFound, fmt.Errorf("no question %q", id), nothingChanged, "custody approvals list --all")
	}
	return client.ShowApproval(ctx, req)
}

// renderQuestion shows text line by line, escaped: whoever wrote it, a terminal is not theirs to steer.
func renderQuestion(w io.Writer, r *apiv1.ShowApprovalResponse) {
	q := r.GetApproval()
	digest := sha256.Sum256(r.GetText())
	fmt.Fprintf(w, "%s  %s  asked %s by %s, until %s\n", q.GetId(), q.GetState(), stamp(q.GetAskedAt()), word(q.GetAsked().GetInstance()), stamp(q.GetAsked().GetValidUntil()))
	for _, s := range q.GetSteps() {
		fmt.Fprintf(w, "  %s\n", stepWords(s))
	}
	fmt.Fprintf(w, "shown text, SHA-256 %x:\n", digest)
	for line := range strings.Lines(string(r.GetText())) {
		fmt.Fprintf(w, "| %s\n", event.Escape(strings.TrimSuffix(line, "\n")))
	}
}

func stepWords(s *apiv1.ApprovalAct) string {
	x := s.GetStep()
	who := s.GetActor()
	if who == "" {
		who = "the agent"
	}
	words := joined([]string{event.ApprovalStates.Name(x.GetState()), by(who)}, given(to, x.GetEscalatedTo()), []string{"at", stamp(s.GetAt())})
	if x.GetShownAt() > 0 {
		words = append(words, "after", time.Duration(s.GetAt()-x.GetShownAt()).Round(time.Second).String())
	}
	return strings.Join(append(words, given(word, s.GetReason())...), " ")
}

// decision is a command that answers a question.
type decision struct {
	use, short, long string
	state            eventv1.ApprovalState
	verb             string // what the person is asked to confirm

	tenant, reason, shown, to string
}

func (a *app) approveCommand() *cobra.Command {
	return a.decideCommand(&decision{
		use: "approve", short: "Let one call run that waits for you, exactly as shown", verb: "approve this call",
		state: eventv1.ApprovalState_APPROVAL_STATE_APPROVED,
		long: "Approve one call. The text is shown and you are asked; a script that has shown it names its digest with --shown. Only a\n" +
			"person with the role approver can, nobody for themselves, and an answer is final. The agent may begin the call once,\n" +
			"within a minute, with exactly these arguments. What is financial or provisions something takes two persons.",
	})
}

func (a *app) rejectCommand() *cobra.Command {
	return a.decideCommand(&decision{
		use: "reject", short: "Refuse one call that waits for you", verb: "reject this call",
		state: eventv1.ApprovalState_APPROVAL_STATE_REJECTED,
		long:  "Refuse one call. The agent gets the reason. The answer is final; the agent may propose another call.",
	})
}

func (a *app) escalateCommand() *cobra.Command {
	d := &decision{
		use: "escalate", short: "Pass one question on to another approver", verb: "pass this on",
		state: eventv1.ApprovalState_APPROVAL_STATE_ESCALATED,
		long: "Pass one question on. You no longer answer it: another approver does, or with --to only\n" +
			"that person. The time does not start anew.",
	}
	cmd := a.decideCommand(d)
	cmd.Flags().StringVar(&d.to, "to", "", "the person who has to answer; any other approver if absent")
	return cmd
}

func (a *app) decideCommand(d *decision) *cobra.Command {
	cmd := &cobra.Command{
		Use: d.use + " ID", Short: d.short, Long: d.long + "\n\n" + questionHelp, Args: cobra.ExactArgs(1), ValidArgsFunction: noFiles,
		Example: "  custody " + d.use + " a-k3jd7xw2mpqa --reason 'order 4711, checked with the customer'",
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			return a.decide(ctx, conn, d, args[0])
		}),
	}
	cmd.Flags().StringVar(&d.tenant, flagTenant, "", "tenant of the question; found if absent")
	cmd.Flags().StringVar(&d.reason, flagReason, "", "why, for the record (required)")
	cmd.Flags().StringVar(&d.shown, "shown", "", "SHA-256 of the text that you were shown; nothing is asked then")
	_ = cmd.MarkFlagRequired(flagReason)
	return cmd
}

// decide answers a question whose text the person has seen.
func (a *app) decide(ctx context.Context, conn *grpc.ClientConn, d *decision, id string) error {
	shown, err := showQuestion(ctx, conn, &apiv1.ShowApprovalRequest{Tenant: d.tenant, Purpose: "to decide"}, id)
	if err != nil {
		return decideError(err, id)
	}
	digest := sha256.Sum256(shown.GetText())
	if err := a.seen(d, shown, digest[:]); err != nil {
		return err
	}
	q := shown.GetApproval()
	resp, err := apiv1.NewApprovalServiceClient(conn).DecideApproval(ctx, &apiv1.DecideApprovalRequest{
		Tenant: q.GetTenant(), Id: q.GetId(), State: d.state, ShownDigest: digest[:], Reason: d.reason, EscalatedTo: d.to,
	})
	if err != nil {
		return decideError(err, id)
	}
	return a.result(resp, func(w io.Writer) { a.renderDecided(w, resp.GetApproval()) })
}

// seen makes sure that the person has seen this text: they name its digest, or see it now and say so.
func (a *app) seen(d *decision, shown *apiv1.ShowApprovalResponse, digest []byte) error {
	if d.shown != "" {
		named, err := hex.DecodeString(d.shown)
		if err != nil || !bytes.Equal(named, digest) {
			return fail(exitConflict, errors.New("the text in question is not the one that you name with --shown"), nothingChanged,
				"custody approvals show "+shown.GetApproval().GetId())
		}
		return nil
	}
	renderQuestion(a.err, shown)
	fmt.Fprintf(a.err, "%s? Type yes: ", d.verb)
	line, err := bufio.NewReader(io.LimitReader(a.in, 64)).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return fail(exitUsage, errors.Join(errors.New("not confirmed"), ignoreEOF(err)), nothingChanged,
			fmt.Sprintf("custody %s %s --reason 'WHY' --shown %x", d.use, shown.GetApproval().GetId(), digest))
	}
	return nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (a *app) renderDecided(w io.Writer, q *apiv1.ApprovalInfo) {
	fmt.Fprintf(w, "%s: %s of %s (%s)\n", q.GetState(), word(q.GetAsked().GetTool()), word(q.GetAsked().GetInstance()), q.GetId())
	if q.GetState() == "half" {
		fmt.Fprintf(w, "it takes another person: %s\n", a.hereAs(defaultPerson, "custody approve "+q.GetId()+" --reason 'WHY'"))
	}
}

// decideError names what helps.
func decideError(err error, id string) error {
	switch {
	case isCode(err, exitConflict):
		return fail(exitConflict, bare(err), nothingChanged, "custody approvals show "+shellWord(id))
	case isCode(err, exitNotFound):
		return fail(exitNotFound, bare(err), nothingChanged, "custody approvals list --all")
	}
	return err
}
