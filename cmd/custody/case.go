package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// caseCommand is what people do about an incident.
func (a *app) caseCommand() *cobra.Command {
	return group("case", "Work an incident until the system is changed so that it does not happen again",
		a.caseOpen(), a.caseList(), a.caseShow(), a.caseAdd(), a.caseClassify(), a.caseSettle(), a.caseFix(), a.caseClose())
}

// caseFlags are the flags of an act.
type caseFlags struct {
	tenant, reason string
	events         []string
	firings        []string
	containments   []string
}

func (f *caseFlags) register(cmd *cobra.Command, events string) {
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "tenant (required)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for the record (required)")
	require(cmd, "tenant", "reason")
	if events != "" {
		cmd.Flags().StringArrayVar(&f.events, "event", nil, events+": @INDEX or an event id (repeatable)")
	}
}

// ids are the events and firings that the flags name.
func (f *caseFlags) ids(ctx context.Context, conn *grpc.ClientConn) (events, firings [][]byte, err error) {
	for _, name := range f.events {
		id, err := eventID(ctx, conn, f.tenant, name)
		if err != nil {
			return nil, nil, err
		}
		events = append(events, id[:])
	}
	for _, name := range f.firings {
		id, err := hex.DecodeString(strings.ReplaceAll(name, "-", ""))
		if err != nil || len(id) != event.IDSize {
			return nil, nil, usageError("--firing: %q is not the id of a firing", name)
		}
		firings = append(firings, id)
	}
	return events, firings, nil
}

const caseHelp = "Every act is a record of the tenant's log, with who and why, and is never taken back: a later one counts instead."

func (a *app) caseOpen() *cobra.Command {
	var f caseFlags
	cmd := &cobra.Command{
		Use:   "open TARGET",
		Short: "Open a case about a target, and hold its records",
		Long: "Open a case about a target. Its records are held from then on: no content of it is erased, and nothing of the tenant expires,\n" +
			"until an auditor lifts the hold. Containments of the target, now and later, belong to the case. Name what triggered it with\n" +
			"--event as far as you know: a fix must come after the last of them. If a case about the target is open, that is shown.\n" +
			caseHelp + "\n\n" + targetHelp,
		Example: "  custody case open instance/acme/support-1 --event @33 --reason 'mails strangers'\n" +
			"  custody case open support-1 --reason 'mails strangers'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			target, err := resolve(ctx, conn, args[0])
			if err != nil {
				return err
			}
			f.tenant = string(target.Tenant)
			events, firings, err := f.ids(ctx, conn)
			if err != nil {
				return err
			}
			resp, err := apiv1.NewCaseServiceClient(conn).OpenCase(ctx, &apiv1.OpenCaseRequest{
				Tenant: f.tenant, Target: target.String(), Reason: f.reason, Events: events, Firings: firings,
			})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { a.renderCase(w, resp.GetCase(), flagged(" already", resp.GetAlready())) })
		})),
	}
	cmd.Flags().StringVar(&f.reason, "reason", "", "what happened, for the record (required)")
	cmd.Flags().StringArrayVar(&f.events, "event", nil, "event that triggered it: @INDEX or an event id (repeatable)")
	cmd.Flags().StringArrayVar(&f.firings, "firing", nil, "firing that belongs to it (repeatable)")
	require(cmd, "reason")
	return cmd
}

func (a *app) caseList() *cobra.Command {
	req := new(apiv1.ListCasesRequest)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the open cases, with what hinders closing",
		Example: "  custody case list --tenant acme",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewCaseServiceClient(conn).ListCases(ctx, req)
			if err != nil {
				return err
			}
			if len(resp.GetCases()) == 0 {
				a.note("no case is open")
			}
			return a.result(resp, func(w io.Writer) { renderCases(w, resp.GetCases()) })
		}),
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "only this tenant; all that you may see if absent")
	cmd.Flags().BoolVar(&req.All, "all", false, "closed ones too")
	return cmd
}

func renderCases(w io.Writer, list []*apiv1.CaseInfo) {
	t := newGrid("case", "tenant", "target", "state", "opened (UTC)", "by", "to do", "reason")
	for _, c := range list {
		t.row(c.GetCase(), c.GetTenant(), word(c.GetTarget()), c.GetState(), stamp(c.GetOpenedAt()), word(c.GetOpenedBy()), len(c.GetMissing()), word(c.GetReason()))
	}
	t.print(w)
}

func (a *app) caseShow() *cobra.Command {
	req := new(apiv1.GetCaseRequest)
	cmd := &cobra.Command{
		Use:   "show CASE",
		Short: "Show a case: verdicts, items, fixes, events, and what a stop would have prevented",
		Long: "Show a case with all that belongs to it, and the counterfactual cut: the acts of moderate, high or unknown consequence that the\n" +
			"run of the trigger began after it. A stop there would have prevented them, if the agent had done nothing else instead.\n" +
			"The read is recorded.",
		Example:           "  custody case show case-0123456789ab --tenant acme",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			req.Case = args[0]
			resp, err := apiv1.NewCaseServiceClient(conn).GetCase(ctx, req)
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) {
				a.renderCase(w, resp.GetCase(), "")
				renderCited(w, resp.GetEvents())
				a.renderCaseSteps(ctx, conn, w, resp.GetCase())
				renderCut(w, resp.GetCut())
			})
		})),
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	require(cmd, "tenant")
	return cmd
}

func (a *app) caseAdd() *cobra.Command {
	var f caseFlags
	cmd := a.caseAct(&f, eventv1.CaseAction_CASE_ACTION_ADDED, &cobra.Command{
		Use:     "add CASE",
		Short:   "Add events, firings and containments to a case",
		Long:    "Add to a case what belongs to it. Containments of its target belong to it by themselves. " + "\n" + caseHelp,
		Example: "  custody case add case-0123456789ab --tenant acme --event @41 --reason 'the same mail, an hour later'",
		Args:    cobra.ExactArgs(1),
	}, nil)
	f.register(cmd, "event that belongs to it")
	cmd.Flags().StringArrayVar(&f.firings, "firing", nil, "firing that belongs to it (repeatable)")
	cmd.Flags().StringArrayVar(&f.containments, "containment", nil, "containment that belongs to it (repeatable)")
	return cmd
}

func (a *app) caseClassify() *cobra.Command {
	var f caseFlags
	var cause, failed string
	act := &cobra.Command{
		Use:   "classify CASE",
		Short: "Say by what it was triggered, or what failed, with the events that bear it out",
		Long: "Say by what the incident was triggered (user, retrieval, memory, connector), or what failed (permissions, policy, prompt,\n" +
			"monitoring), with the events that bear it out. Both are needed before the case closes. Find the trigger with custody why.\n" + caseHelp,
		Example: "  custody case classify case-0123456789ab --tenant acme --trigger retrieval --event @29 --reason 'the page gave the order'\n" +
			"  custody case classify case-0123456789ab --tenant acme --failure permissions --event @33 --reason 'mail to anybody was allowed'",
		Args: cobra.ExactArgs(1),
	}
	cmd := a.caseAct(&f, 0, act, func(x *eventv1.Case, _ []string) error {
		x.Action, x.Class = eventv1.CaseAction_CASE_ACTION_TRIGGER, cause
		if failed != "" {
			x.Action, x.Class = eventv1.CaseAction_CASE_ACTION_FAILURE, failed
		}
		return nil
	})
	f.register(cmd, "event that bears it out")
	cmd.Flags().StringVar(&cause, "trigger", "", strings.Join(event.CaseTriggers, ", "))
	cmd.Flags().StringVar(&failed, "failure", "", strings.Join(event.CaseFailures, ", "))
	cmd.MarkFlagsMutuallyExclusive("trigger", "failure")
	cmd.MarkFlagsOneRequired("trigger", "failure")
	require(cmd, "event")
	a.offer(cmd, "trigger", event.CaseTriggers)
	a.offer(cmd, "failure", event.CaseFailures)
	return cmd
}

func (a *app) caseSettle() *cobra.Command {
	var f caseFlags
	var notNeeded bool
	act := &cobra.Command{
		Use:   "settle CASE ITEM",
		Short: "Say that an item is done, with the events that show it, or why it is not needed",
		Long: "Settle what must be settled before a case closes: scopes (presumed too broad until a manifest or a review of the scope),\n" +
			"secrets (rotated), rollback, quarantine, review. What the log shows settles an item by itself.\n" + caseHelp,
		Example: "  custody case settle case-0123456789ab rollback --tenant acme --event @52 --reason 'mail recalled'\n" +
			"  custody case settle case-0123456789ab secrets --tenant acme --not-needed --reason 'it had no credential'",
		Args: cobra.ExactArgs(2),
	}
	cmd := a.caseAct(&f, eventv1.CaseAction_CASE_ACTION_SETTLED, act, func(x *eventv1.Case, args []string) error {
		x.Class, x.NotNeeded = args[1], notNeeded
		return nil
	})
	f.register(cmd, "event that shows it")
	cmd.Flags().BoolVar(&notNeeded, "not-needed", false, "nothing had to be done; --reason says why")
	cmd.MarkFlagsMutuallyExclusive("event", "not-needed")
	cmd.MarkFlagsOneRequired("event", "not-needed")
	return cmd
}

func (a *app) caseFix() *cobra.Command {
	var f caseFlags
	act := &cobra.Command{
		Use:   "fix CASE",
		Short: "Cite the change of the system that mends it",
		Long: "Cite the change of the system that mends it, by the event that records it: a rule that went live, a manifest, a key that was\n" +
			"revoked or rotated, a connector that has shown a credential dead. It must come after the trigger. A changed prompt is refused:\n" +
			"the next one may change it back.\n" + caseHelp,
		Example: "  custody case fix case-0123456789ab --tenant acme --event @57 --reason 'mail only to customers from now on'",
		Args:    cobra.ExactArgs(1),
	}
	cmd := a.caseAct(&f, eventv1.CaseAction_CASE_ACTION_FIXED, act, nil)
	f.register(cmd, "event that records the change")
	require(cmd, "event")
	return cmd
}

func (a *app) caseClose() *cobra.Command {
	var f caseFlags
	cmd := a.caseAct(&f, eventv1.CaseAction_CASE_ACTION_CLOSED, &cobra.Command{
		Use:   "close CASE",
		Short: "Close a case that is classified, settled and mended",
		Long: "Close a case. It is refused while trigger or failure are not classified, an item is open, or no change of the system is cited.\n" +
			"The hold on its records stays: an auditor lifts it.\n" + caseHelp,
		Example: "  custody case close case-0123456789ab --tenant acme --reason 'scopes narrowed, key rotated, customers told'",
		Args:    cobra.ExactArgs(1),
	}, nil)
	f.register(cmd, "")
	return cmd
}

// caseAct makes a command that records one act; complete fills in what is special about it.
func (a *app) caseAct(f *caseFlags, action eventv1.CaseAction, cmd *cobra.Command, complete func(*eventv1.Case, []string) error) *cobra.Command {
	cmd.ValidArgsFunction = noFiles
	cmd.RunE = a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
		act := &eventv1.Case{Case: args[0], Action: action, Containments: f.containments}
		var err error
		if act.Events, act.Firings, err = f.ids(ctx, conn); err != nil {
			return err
		}
		if complete != nil {
			err = complete(act, args)
		}
		if err != nil {
			return err
		}
		return a.recordCase(ctx, conn, &apiv1.RecordCaseRequest{Tenant: f.tenant, Act: act, Reason: f.reason})
	}))
	return cmd
}

func (a *app) recordCase(ctx context.Context, conn *grpc.ClientConn, req *apiv1.RecordCaseRequest) error {
	resp, err := apiv1.NewCaseServiceClient(conn).RecordCase(ctx, req)
	if isCode(err, exitConflict) {
		return fail(exitConflict, bare(err), nothingChanged, fmt.Sprintf("custody case show %s --tenant %s", shellWord(req.GetAct().GetCase()), shellWord(req.GetTenant())))
	}
	if err != nil {
		return err
	}
	return a.result(resp, func(w io.Writer) { a.renderCase(w, resp.GetCase(), flagged(" already", resp.GetAlready())) })
}

// renderCase is a case as a person reads it, with what is still to be done.
func (a *app) renderCase(w io.Writer, c *apiv1.CaseInfo, note string) {
	fmt.Fprintf(w, "%s%s %s: %s, opened by %s at %s: %s\n", c.GetState(), note, c.GetCase(), word(c.GetTarget()), word(c.GetOpenedBy()), stamp(c.GetOpenedAt()), word(c.GetReason()))
	held := "held"
	if !c.GetHeld() {
		held = "NOT HELD"
	}
	fmt.Fprintf(w, "  records: %s\n  trigger: %s\n  failure: %s\n", held, verdictWords(c.GetTrigger()), verdictWords(c.GetFailure()))
	fmt.Fprintf(w, "  containments: %s; firings: %d\n", list(c.GetContainments()), len(c.GetFirings()))
	for _, f := range c.GetFirings() {
		fmt.Fprintf(w, "  fired: %s\n", idText(f))
	}
	for _, i := range c.GetItems() {
		fmt.Fprintf(w, "  %s: %s%s\n", i.GetItem(), i.GetState(), byWhom(i.GetBy(), i.GetReason(), i.GetState() != "open"))
	}
	for _, f := range c.GetFixes() {
		fmt.Fprintf(w, "  mended by %s %s%s\n", f.GetKind(), idText(f.GetEvent()), byWhom(f.GetBy(), f.GetReason(), true))
	}
	if c.GetClosedAt() != 0 {
		fmt.Fprintf(w, "  closed by %s at %s\n", word(c.GetClosedBy()), stamp(c.GetClosedAt()))
	}
	for _, m := range c.GetMissing() {
		fmt.Fprintf(w, "to do: %s\n", plain(a.here(m), 0))
	}
}

// renderCaseSteps shows the containments of a case, each with how far it is proven.
func (a *app) renderCaseSteps(ctx context.Context, conn *grpc.ClientConn, w io.Writer, c *apiv1.CaseInfo) {
	if len(c.GetContainments()) == 0 {
		return
	}
	resp, err := apiv1.NewContainmentServiceClient(conn).ListContained(ctx, &apiv1.ListContainedRequest{Tenant: c.GetTenant(), All: true})
	if err != nil {
		a.note("the steps of its containments are not shown: %s", plain(bare(err).Error(), 0))
		return
	}
	var mine []*apiv1.ContainmentInfo
	for _, x := range resp.GetContainments() {
		if slices.Contains(c.GetContainments(), x.GetId()) {
			mine = append(mine, x)
		}
	}
	renderContained(w, mine)
}

func verdictWords(v *apiv1.Verdict) string {
	if v.GetClass() == "" {
		return "not classified"
	}
	return fmt.Sprintf("%s, by %d events%s", v.GetClass(), len(v.GetEvents()), byWhom(v.GetBy(), v.GetReason(), true))
}

// byWhom is who says something, and why; what nobody says is shown by the log.
func byWhom(who, why string, said bool) string {
	switch {
	case !said:
		return ""
	case who == "":
		return " (the log shows it)"
	}
	return fmt.Sprintf(" (%s: %s)", word(who), word(why))
}

func idText(b []byte) string {
	if len(b) != event.IDSize {
		return "-"
	}
	return event.ID(b).String()
}

func renderCited(w io.Writer, events []*apiv1.CitedEvent) {
	if len(events) == 0 {
		return
	}
	t := newGrid("at", "time (UTC)", "event", "instance", "run", "cited as")
	for _, e := range events {
		t.row(fmt.Sprintf("@%d", e.GetIndex()), stamp(e.GetReceivedAt()), e.GetAction(), dash(e.GetInstance()), dash(e.GetRun()), e.GetCitedAs())
	}
	t.print(w)
}

// renderCut says what a stop would have prevented.
func renderCut(w io.Writer, cut *apiv1.CaseCut) {
	if cut == nil {
		return
	}
	fmt.Fprintf(w, "a stop at @%d would have prevented %d acts%s, %d of high or unknown consequence\n", cut.GetIndex(), cut.GetActs(),
		flagged(" or more", cut.GetPartial()), cut.GetHigh())
	for _, p := range cut.GetPrevented() {
		fmt.Fprintf(w, "  @%d %s %s %s %s\n", p.GetIndex(), dash(p.GetRun()), word(p.GetTool()), dash(p.GetDestination()), p.GetConsequence())
	}
}
