package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// The states of a containment, as the server names them.
const (
	stateProposed        = "proposed"
	stateReleaseProposed = "release proposed"
	stateReleased        = "released"
)

// settleTime is how long a command waits for what the gates and connectors say.
const settleTime = 5 * time.Second

// targetHelp says what a target is.
const targetHelp = "TARGET is tenant/T, instance/T/I, run/T/R, connector/T/I/C, credential/T/F or principal/T/P, or a bare name that means\n" +
	"one thing only; if it means several, they are listed and nothing is done."

// brakeFlags are the flags of pause, contain and release.
type brakeFlags struct {
	reason       string
	breakGlass   bool
	connector    string
	allInstances bool
	lasts        time.Duration
}

func (f *brakeFlags) register(cmd *cobra.Command, needsReason bool) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&f.breakGlass, "break-glass", false, "act without the second person who is needed; this stands in the log for ever")
	if needsReason {
		cmd.Flags().Lookup("reason").Usage += " (required)"
		_ = cmd.MarkFlagRequired("reason")
	}
}

// lasting is the flag of what may end by itself.
func (f *brakeFlags) lasting(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "how long it lasts, a person being told before it ends; until it is released if absent")
}

func (a *app) pauseCommand() *cobra.Command {
	var f brakeFlags
	cmd := &cobra.Command{
		Use:   "pause TARGET",
		Short: "Stop it now: no plan, no diagnosis; then say what stopped and what is not proven",
		Long: "Stop a target at once. What runs is cancelled, and nothing new begins, until it is released. The agents go on to record.\n\n" +
			targetHelp + "\n\nA whole tenant takes two people: the second one runs the same command.",
		Example: "  custody pause instance/acme/support-1 --reason 'mails strangers'\n  custody pause support-1 --reason 'mails strangers'\n" +
			"  custody pause acme --connector mail --all-instances --reason 'token leaked'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			return a.contain(ctx, conn, args[0], "pause", &f)
		}),
	}
	f.register(cmd, true)
	f.lasting(cmd)
	cmd.Flags().StringVar(&f.connector, "connector", "", "only this connector of TARGET, which is an instance or, with --all-instances, a tenant")
	cmd.Flags().BoolVar(&f.allInstances, "all-instances", false, "with --connector: of every instance of the tenant")
	return cmd
}

func (a *app) containCommand() *cobra.Command {
	var f brakeFlags
	var level, apply string
	var plan bool
	cmd := &cobra.Command{
		Use:   "contain [TARGET]",
		Short: "Stop it by a plan: see first what it reaches, then apply exactly that",
		Long: "Show what a containment would reach, or apply a plan. A plan is refused if it reaches more by now than when it was made.\n\n" +
			"Levels: restrict (high consequence needs an approval), pause (nothing runs), quarantine (pause, revoke credentials by the\n" +
			"connectors, hold the records). " + "Quarantine, and a whole tenant, take two people.\n\n" + targetHelp,
		Example: "  custody contain instance/acme/support-1 --level quarantine --plan\n  custody contain --apply p-abc234def567 --reason 'case 12'\n" +
			"  custody contain instance/acme/support-1 --level restrict --reason 'under review'",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: noFiles,
	}
	cmd.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case (len(args) == 0) == (apply == ""):
			return usageError("name a target, or a plan with --apply")
		case !plan && f.reason == "":
			return usageError("required flag(s) \"reason\" not set")
		case apply == "" && level == "":
			return usageError("required flag(s) \"level\" not set")
		}
		return a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			switch {
			case apply != "":
				return a.applyPlan(ctx, conn, apply, &f)
			case plan:
				return a.planContainment(ctx, conn, args[0], level)
			}
			return a.contain(ctx, conn, args[0], level, &f)
		})(c, args)
	}
	f.register(cmd, false)
	f.lasting(cmd)
	cmd.Flags().StringVar(&level, "level", "", "restrict, pause or quarantine")
	cmd.Flags().BoolVar(&plan, "plan", false, "only say what it would reach")
	cmd.Flags().StringVar(&apply, "apply", "", "apply the plan with this id")
	a.offer(cmd, "level", []string{"restrict", "pause", "quarantine"})
	return cmd
}

func (a *app) releaseCommand() *cobra.Command {
	var f brakeFlags
	cmd := &cobra.Command{
		Use:   "release TARGET",
		Short: "Lift every containment of exactly this target",
		Long: "Lift every containment of exactly this target. What a connector has revoked stays dead, and is named; a hold on records\n" +
			"stays. Releasing a tenant or a quarantine takes two people: the second one runs the same command.\n\n" + targetHelp,
		Example:           "  custody release instance/acme/support-1 --reason 'prompt and scopes corrected'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			target, err := resolve(ctx, conn, args[0])
			if err != nil {
				return err
			}
			resp, err := apiv1.NewContainmentServiceClient(conn).Release(ctx, &apiv1.ReleaseRequest{
				Tenant: string(target.Tenant), Target: target.String(), Reason: f.reason, BreakGlass: f.breakGlass,
			})
			if err != nil {
				return err
			}
			if err := a.result(resp, func(w io.Writer) { a.renderReleased(w, resp) }); err != nil {
				return err
			}
			return waitsForSecond(resp.GetReleased(), "custody release "+shellWord(target.String())+" --reason 'WHY'")
		}),
	}
	f.register(cmd, true)
	return cmd
}

func (a *app) containedCommand() *cobra.Command {
	var tenant string
	var all bool
	cmd := &cobra.Command{
		Use:   "contained",
		Short: "List what is contained, each step with how far it is proven",
		Long: "List what is contained. A step is requested, delivered, acknowledged or verified. Only verified was seen from outside the\n" +
			"target: everything else reads NOT PROVEN, or lease-expired (cooperative), with what is known.",
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewContainmentServiceClient(conn).ListContained(ctx, &apiv1.ListContainedRequest{Tenant: tenant, All: all})
			if err != nil {
				return err
			}
			if len(resp.GetContainments()) == 0 {
				a.note("nothing is contained")
			}
			return a.result(resp, func(w io.Writer) { renderContained(w, resp.GetContainments()) })
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant; all that you may see if absent")
	cmd.Flags().BoolVar(&all, "all", false, "released ones too")
	return cmd
}

// contain stops a target and says what came of it.
func (a *app) contain(ctx context.Context, conn *grpc.ClientConn, name, level string, f *brakeFlags) error {
	target, err := f.target(ctx, conn, name)
	if err != nil {
		return err
	}
	resp, err := apiv1.NewContainmentServiceClient(conn).Contain(ctx, &apiv1.ContainRequest{
		Tenant: string(target.Tenant), Target: target.String(), Level: level, Reason: f.reason, BreakGlass: f.breakGlass, Wait: int64(settleTime),
		Lasts: int64(f.lasts),
	})
	if err := a.contained(resp, err); err != nil {
		return err
	}
	a.noteUnknown(ctx, conn, target)
	return nil
}

// noteUnknown says that nothing on record has the name of a run or a principal: a pause of a slip of the pen stops nothing. It comes after
// the pause, which waits for nothing; who may not search is told nothing.
func (a *app) noteUnknown(ctx context.Context, conn *grpc.ClientConn, t event.Target) {
	req := &apiv1.SearchRequest{Tenant: string(t.Tenant), Limit: 1}
	switch t.Kind {
	case event.TargetRun:
		req.Run = t.Name
	case event.TargetPrincipal:
		req.Principal = t.Name
	default:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	stream, err := apiv1.NewQueryServiceClient(conn).Search(ctx, req)
	if err != nil {
		return
	}
	page, err := stream.Recv()
	if errors.Is(err, io.EOF) || err == nil && len(page.GetRows()) == 0 {
		a.note("nothing on record is of %s %s yet: if that is not its name, NOTHING IS STOPPED by this; %s", t.Kind, word(t.Name),
			a.here("custody ps --tenant "+shellWord(string(t.Tenant))))
	}
}

// applyPlan applies a plan of any tenant that the caller may contain: the plan knows which.
func (a *app) applyPlan(ctx context.Context, conn *grpc.ClientConn, plan string, f *brakeFlags) error {
	tenants, err := apiv1.NewAdminServiceClient(conn).ListTenants(ctx, &apiv1.ListTenantsRequest{})
	if err != nil {
		return err
	}
	none := fail(exitNotFound, fmt.Errorf("no plan %s: a plan lives for an hour, and for as long as the server", plan), nothingChanged, "custody contain TARGET --level LEVEL --plan")
	for _, t := range tenants.GetTenants() {
		resp, err := apiv1.NewContainmentServiceClient(conn).Contain(ctx, &apiv1.ContainRequest{
			Tenant: t.GetTenant(), Plan: plan, Reason: f.reason, BreakGlass: f.breakGlass, Wait: int64(settleTime),
			Lasts: int64(f.lasts),
		})
		if isCode(err, exitNotFound) || isCode(err, exitDenied) {
			continue
		}
		if isCode(err, exitConflict) {
			return fail(exitConflict, bare(err), "nothing was stopped", "custody contain TARGET --level LEVEL --plan; or at once: custody pause TARGET --reason 'WHY'")
		}
		return a.contained(resp, err)
	}
	return none
}

func isCode(err error, code int) bool { return err != nil && explain(err).code == code }

// contained prints what became of a containment. Where nothing is stopped yet, the exit code says so.
func (a *app) contained(resp *apiv1.ContainResponse, err error) error {
	if err != nil {
		return err
	}
	c := resp.GetContainment()
	if err := a.result(resp, func(w io.Writer) { a.renderContainment(w, c, resp.GetAlready()) }); err != nil {
		return err
	}
	return waitsForSecond([]*apiv1.ContainmentInfo{c}, "custody pause "+shellWord(c.GetTarget())+" --reason 'WHY'")
}

// waitsForSecond is an error if something has not happened because a second person is needed.
func waitsForSecond(list []*apiv1.ContainmentInfo, again string) error {
	for _, c := range list {
		switch c.GetState() {
		case stateProposed:
			if c.GetLevel() != "pause" {
				again = fmt.Sprintf("custody contain %s --level %s --reason 'WHY'", shellWord(c.GetTarget()), c.GetLevel())
			}
			return fail(exitDenied, fmt.Errorf("%s of %s needs a second person: NOTHING IS STOPPED YET", c.GetLevel(), c.GetTarget()),
				"the proposal is recorded, and waits for an hour", "another person: "+again+"; or at once: the same with --break-glass")
		case stateReleaseProposed:
			return fail(exitDenied, fmt.Errorf("the release of %s needs a second person", c.GetTarget()),
				"it stays contained; the proposal is recorded", "another person: "+again+"; or at once: the same with --break-glass")
		}
	}
	return nil
}

func (a *app) planContainment(ctx context.Context, conn *grpc.ClientConn, name, level string) error {
	target, err := resolve(ctx, conn, name)
	if err != nil {
		return err
	}
	resp, err := apiv1.NewContainmentServiceClient(conn).PlanContainment(ctx, &apiv1.PlanContainmentRequest{
		Tenant: string(target.Tenant), Target: target.String(), Level: level,
	})
	if err != nil {
		return err
	}
	return a.result(resp, func(w io.Writer) { a.renderPlan(w, target, level, resp) })
}

// target is what a name and --connector mean.
func (f *brakeFlags) target(ctx context.Context, conn *grpc.ClientConn, name string) (event.Target, error) {
	if f.connector == "" && f.allInstances {
		return event.Target{}, usageError("--all-instances needs --connector")
	}
	target, err := resolve(ctx, conn, name)
	if err != nil || f.connector == "" {
		return target, err
	}
	switch {
	case target.Kind == event.TargetTenant && f.allInstances:
		target.Instance = event.AnyInstance
	case target.Kind != event.TargetInstance || f.allInstances:
		return event.Target{}, usageError("--connector needs an instance, or a tenant with --all-instances")
	}
	target.Kind, target.Name = event.TargetConnector, f.connector
	return target, nil
}

// resolve finds what a name means. A whole target needs no look-up: at the worst moment there is one call less to fail.
func resolve(ctx context.Context, conn *grpc.ClientConn, name string) (event.Target, error) {
	if t, err := event.ParseTarget(name); err == nil {
		return t, nil
	}
	resp, err := apiv1.NewContainmentServiceClient(conn).ResolveTarget(ctx, &apiv1.ResolveTargetRequest{Name: name})
	if err != nil {
		return event.Target{}, err
	}
	switch list := resp.GetTargets(); len(list) {
	case 0:
		return event.Target{}, fail(exitNotFound, fmt.Errorf("nothing that you may contain is called %q", name), nothingChanged,
			"custody ps; a run or principal is named in full: run/TENANT/RUN, principal/TENANT/NAME")
	case 1:
		return event.ParseTarget(list[0])
	default:
		return event.Target{}, inputError(fmt.Errorf("%q can mean %s", name, strings.Join(list, ", ")), "name one of them")
	}
}

func (a *app) renderPlan(w io.Writer, target event.Target, level string, p *apiv1.PlanContainmentResponse) {
	fmt.Fprintf(w, "plan %s: %s %s\n", p.GetPlan(), level, word(target.String()))
	for _, part := range []struct {
		name string
		list []string
	}{
		{"instances", p.GetInstances()},
		{"gates", p.GetGates()},
		{"credentials", p.GetCredentials()},
		{"not undone by a release", p.GetIrreversible()},
		{"clients affected", p.GetClients()},
		{"on the way now, high consequence", p.GetInFlight()},
		{"descendants, NOT stopped by this", p.GetDescendants()},
	} {
		fmt.Fprintf(w, "  %s: %d\n", part.name, len(part.list))
		for _, item := range part.list {
			fmt.Fprintf(w, "    %s\n", plain(item, 0))
		}
	}
	renderRevocations(w, p.GetRevocations())
	for _, doubt := range p.GetUnknown() {
		fmt.Fprintf(w, "  NOT KNOWN: %s\n", plain(doubt, 0))
	}
	if p.GetSecondPerson() {
		fmt.Fprintln(w, "  needs a second person")
	}
	fmt.Fprintf(w, "apply: %s\n", a.here("custody contain --apply "+p.GetPlan()+" --reason 'WHY'"))
}

// renderRevocations lists what each connector would do, and why it could not.
func renderRevocations(w io.Writer, list []*apiv1.PlannedRevocation) {
	for _, r := range list {
		for _, line := range r.GetWould() {
			fmt.Fprintf(w, "  %s would: %s\n", word(r.GetPath()), plain(line, 0))
		}
		if r.GetTrouble() != "" {
			fmt.Fprintf(w, "  %s WOULD FAIL NOW: %s\n", word(r.GetPath()), plain(r.GetTrouble(), 0))
		}
	}
}

// renderDead says which credential stays dead after a release, as far as it is known, and how the agent gets another.
func renderDead(w io.Writer, connector string, s *apiv1.StepInfo) {
	credential := "the credential of connector " + word(connector)
	if s.GetCredential() != "" {
		credential = "credential " + word(s.GetCredential()) + " (connector " + word(connector) + ")"
	}
	state := "stays dead"
	if !strings.HasPrefix(s.GetProof(), "verified: ") {
		state = "counts as dead, NOT PROVEN"
	}
	fmt.Fprintf(w, "  %s: %s\n", state, credential)
	fmt.Fprintf(w, "  rebind: issue a new one where the old one came from, put it in the place that the agent and connector %s read it from, and\n", word(connector))
	fmt.Fprintf(w, "          change credential: in the file of connectors to its fingerprint; then restart the agent and the server\n")
}

// glassBroken is said to whoever has acted alone where two were needed.
const glassBroken = "GLASS BROKEN: no second person was asked; this stands in the log"

// levelDone is what a level is called when it is in force.
var levelDone = map[string]string{"restrict": "restricted", "pause": "paused", "quarantine": "quarantined"}

func (a *app) renderContainment(w io.Writer, c *apiv1.ContainmentInfo, already bool) {
	note := ""
	if already {
		note = " already"
	}
	switch c.GetState() {
	case stateProposed:
		fmt.Fprintf(w, "proposed: %s of %s (%s)\n", c.GetLevel(), word(c.GetTarget()), c.GetId())
		return
	default:
		fmt.Fprintf(w, "%s%s: %s (%s) at %s\n", levelDone[c.GetLevel()], note, word(c.GetTarget()), c.GetId(), stamp(c.GetRequestedAt()))
	}
	if c.GetBreakGlass() {
		fmt.Fprintln(w, glassBroken)
	}
	renderSteps(w, c)
	if c.GetEndsAt() != 0 {
		fmt.Fprintf(w, "ends by itself: %s; a person is told before\n", stamp(c.GetEndsAt()))
	}
	fmt.Fprintf(w, "release: %s\n", a.here(releaseOf(c)))
}

// releaseOf is the command that lifts a containment.
func releaseOf(c *apiv1.ContainmentInfo) string {
	return "custody release " + shellWord(c.GetTarget()) + " --reason 'WHY'"
}

// renderSteps lists the steps and sums up: what is verified, and what is not.
func renderSteps(w io.Writer, c *apiv1.ContainmentInfo) {
	if len(c.GetSteps()) == 0 {
		fmt.Fprintln(w, "no gate and no connector: NOT PROVEN (nothing here can stop it)")
		return
	}
	t := newGrid("step", "path", "instance", "state", "since (UTC)", "proof")
	verified := 0
	for _, s := range c.GetSteps() {
		proof := plain(s.GetProof(), 0)
		if strings.HasPrefix(proof, "verified: ") {
			verified++
		}
		if s.GetEscalated() {
			proof += " [A PERSON MUST LOOK]"
		}
		t.row(s.GetNumber(), shortPath(s.GetPath()), dash(s.GetInstance()), event.ContainmentStates.Name(s.GetState()), stamp(s.GetReachedAt()), proof)
	}
	t.print(w)
	fmt.Fprintf(w, "verified: %d of %d; unproven: %d\n", verified, len(c.GetSteps()), len(c.GetSteps())-verified)
}

// shortPath is a path that fits a line: the beginning of a key's id tells gates apart.
func shortPath(path string) string {
	if id, ok := strings.CutPrefix(path, "gate/"); ok {
		return "gate/" + id[:min(12, len(id))]
	}
	return word(path)
}

func renderContained(w io.Writer, list []*apiv1.ContainmentInfo) {
	for i, c := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		proven := "NOT PROVEN"
		switch {
		case c.GetState() == stateProposed, c.GetState() == stateReleased:
			proven = "-"
		case c.GetProven():
			proven = "proven"
		}
		fmt.Fprintf(w, "%s  %s  %s  %s  %s\n", c.GetId(), word(c.GetTarget()), c.GetLevel(), c.GetState(), proven)
		fmt.Fprintf(w, "  by %s%s at %s: %s\n", actorOf(c), secondOf(c), stamp(c.GetRequestedAt()), word(c.GetReason()))
		if c.GetState() == stateReleased {
			fmt.Fprintf(w, "  released by %s%s at %s\n", releaserOf(c), broken(c.GetReleaseBreakGlass()), stamp(c.GetReleasedAt()))
			continue
		}
		if c.GetEndsAt() != 0 {
			fmt.Fprintf(w, "  ends by itself at %s\n", stamp(c.GetEndsAt()))
		}
		if c.GetState() != stateProposed {
			renderSteps(w, c)
		}
	}
}

// actorOf is who asked for a containment: what no person has asked for is Custody's own, by a rule.
func actorOf(c *apiv1.ContainmentInfo) string {
	if c.GetActor() == "" {
		return "Custody itself"
	}
	return word(c.GetActor())
}

// releaserOf is who released a containment: one that has come to its end was released by nobody.
func releaserOf(c *apiv1.ContainmentInfo) string {
	if c.GetReleasedBy() == "" {
		return "its own end"
	}
	return word(c.GetReleasedBy())
}

func secondOf(c *apiv1.ContainmentInfo) string {
	switch {
	case c.GetBreakGlass():
		return broken(true)
	case c.GetSecond() != "":
		return " and " + word(c.GetSecond())
	}
	return ""
}

// broken marks who has acted alone where two were needed.
func broken(glass bool) string {
	if glass {
		return " (GLASS BROKEN)"
	}
	return ""
}

func (a *app) renderReleased(w io.Writer, r *apiv1.ReleaseResponse) {
	for _, c := range r.GetReleased() {
		if c.GetState() != stateReleased {
			fmt.Fprintf(w, "proposed: release of %s (%s)\n", word(c.GetTarget()), c.GetId())
			continue
		}
		fmt.Fprintf(w, "released: %s (%s)\n", word(c.GetTarget()), c.GetId())
		if c.GetReleaseBreakGlass() {
			fmt.Fprintln(w, glassBroken)
		}
		for _, s := range c.GetSteps() {
			if name, ok := strings.CutPrefix(s.GetPath(), "connector/"); ok {
				renderDead(w, name, s)
			}
		}
	}
	for _, c := range r.GetRemaining() {
		fmt.Fprintf(w, "STILL CONTAINED by %s (%s): %s\n", word(c.GetTarget()), c.GetLevel(), a.here(releaseOf(c)))
	}
}
