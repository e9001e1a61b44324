package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// blastCommand compares what an instance could reach with what it did touch.
func (a *app) blastCommand() *cobra.Command {
	req := new(apiv1.BlastRequest)
	var since string
	cmd := &cobra.Command{
		Use:   "blast INSTANCE",
		Short: "Show what it could reach against what it did touch, irreversible effects first",
		Long: "Show how far an incident can have gone: what the manifests in force, the credentials, delegates and memory of an instance\n" +
			"would have let it do since a time, beside what its events say that it did, and which other runs and instances its events\n" +
			"have led to. Effects that cannot be undone come first: those of high consequence, and those that nobody has classified.\n" +
			"An effect that the manifest of its time does not allow is marked. What an agent did not record is not here: see the\n" +
			"open tails and gaps in custody ps. INSTANCE is an instance, TENANT/INSTANCE or instance/TENANT/INSTANCE. The read is recorded.",
		Example: "  custody blast acme/support-1 --since 24h\n" +
			"  custody blast instance/acme/support-1 --since 2026-01-31T02:00:00Z --run ticket-4711 -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
	}
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if err := parse("since", since, parseTime, &req.From); err != nil {
			return usageError("%w", err)
		}
		return a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			return a.blast(ctx, conn, req, args[0])
		}))(c, args)
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "from this time on: 2026-01-31, RFC 3339, or a duration back from now, 24h (required)")
	f.StringVar(&req.Run, "run", "", "only what one run of it touched")
	f.Uint32Var(&req.Limit, "limit", 0, "most effects (200 if absent, at most 1000)")
	f.Uint32Var(&req.After, "after", 0, "pass over so many effects: those of the answers before")
	require(cmd, "since")
	return cmd
}

func (a *app) blast(ctx context.Context, conn *grpc.ClientConn, req *apiv1.BlastRequest, name string) error {
	target, err := instanceNamed(ctx, conn, name)
	if err != nil {
		return err
	}
	req.Tenant, req.Instance = string(target.Tenant), string(target.Instance)
	resp, err := apiv1.NewBlastServiceClient(conn).Blast(ctx, req)
	if err != nil {
		return err
	}
	return a.result(resp, func(w io.Writer) { a.renderBlast(w, req, resp) })
}

// instanceNamed finds what TENANT/INSTANCE, a whole target or a bare name means.
func instanceNamed(ctx context.Context, conn *grpc.ClientConn, name string) (event.Target, error) {
	if t, err := event.ParseTarget("instance/" + name); err == nil {
		return t, nil
	}
	if t, err := event.ParseTarget(name); err == nil && t.Kind != event.TargetInstance {
		return t, inputError(fmt.Errorf("%s is no instance", word(name)), "custody ps")
	}
	t, err := resolve(ctx, conn, name)
	if err == nil && t.Kind != event.TargetInstance {
		err = inputError(fmt.Errorf("%s is no instance", word(name)), "custody ps")
	}
	return t, err
}

func (a *app) renderBlast(w io.Writer, req *apiv1.BlastRequest, r *apiv1.BlastResponse) {
	fmt.Fprintf(w, "%s/%s since %s: %d events, %d effects, %d of them cannot be undone\n", req.GetTenant(), req.GetInstance(),
		stamp(req.GetFrom()), r.GetEvents(), r.GetEffectsTotal(), r.GetIrreversibleTotal())
	if r.GetCut() {
		fmt.Fprintln(w, "CUT: there is more than was looked at; ask for a shorter time, or one --run")
	}
	renderReach(w, r)
	renderTouch(w, r)
	if next := req.GetAfter() + uint32(len(r.GetEffects())); r.GetMore() {
		a.note("there are more effects: add --after %d", next)
	}
}

// renderReach lists what it could have done.
func renderReach(w io.Writer, r *apiv1.BlastResponse) {
	fmt.Fprintln(w, "\nCOULD REACH")
	if len(r.GetManifests()) == 0 {
		fmt.Fprintln(w, "  NO MANIFEST: nothing bounds it")
	}
	renderPermissions(w, r.GetPermissions())
	for _, c := range r.GetCredentials() {
		fmt.Fprintf(w, "  credential %s for %s, scopes %s, used %d times%s%s\n", short(c.GetFingerprint()), dash(c.GetConnector()), list(c.GetScopes()),
			c.GetUsed(), flagged(", released since", c.GetReleased()), alsoIn(", ALSO IN ", c.GetOthers()))
	}
	fmt.Fprintf(w, "  connectors: %s\n  delegates: %s\n", list(r.GetConnectors()), list(r.GetDelegates()))
	for _, m := range r.GetMemories() {
		fmt.Fprintf(w, "  memory %s: written %d times, read %d times%s\n", word(m.GetMemoryKey()), m.GetWritten(), m.GetRead(),
			alsoIn(fmt.Sprintf("; read %d times since its first write by ", m.GetReadsAfter()), m.GetReaders()))
	}
}

func renderPermissions(w io.Writer, permissions []*apiv1.ReachPermission) {
	if len(permissions) == 0 {
		return
	}
	t := newGrid("  verb", "tool", "resource", "connector", "consequence", "manifest", "used")
	for _, p := range permissions {
		x := p.GetPermission()
		t.row("  "+event.PermissionVerbs.Name(x.GetVerb()), word(x.GetTool()), dash(x.GetResource()), dash(x.GetConnector()),
			dash(event.Consequences.Name(x.GetConsequence())), versions(p), p.GetUsed())
	}
	t.print(w)
}

// versions are the manifest versions that have a permission.
func versions(p *apiv1.ReachPermission) string {
	if p.GetFirst() == p.GetLast() {
		return fmt.Sprint(p.GetFirst())
	}
	return fmt.Sprintf("%d-%d", p.GetFirst(), p.GetLast())
}

// renderTouch lists what it did.
func renderTouch(w io.Writer, r *apiv1.BlastResponse) {
	fmt.Fprintln(w, "\nDID TOUCH")
	t := newGrid("  at", "time (UTC)", "run", "tool", "destination", "consequence", "ended", "")
	for _, e := range r.GetEffects() {
		t.row(fmt.Sprintf("  @%d", e.GetIndex()), stamp(e.GetReceivedAt()), dash(e.GetRun()), word(e.GetTool()), dash(e.GetDestination()),
			classWord(e), endWord(e), strings.Join(given(same, flagged("[CANNOT BE UNDONE]", e.GetIrreversible()), flagged("[OUTSIDE THE MANIFEST]", !e.GetAllowed())), " "))
	}
	t.print(w)
	for _, d := range r.GetData() {
		fmt.Fprintf(w, "  %s %s%s %s: %d events, %d bytes, @%d to @%d\n", d.GetAction(), dash(d.GetResource()), alsoIn(" at ", given(same, d.GetDomain())),
			dash(d.GetDataClass()), d.GetCount(), d.GetBytes(), d.GetFirst(), d.GetLast())
	}
	fmt.Fprintf(w, "\nLED TO: %d other runs\n", len(r.GetDescendants()))
	for _, d := range r.GetDescendants() {
		fmt.Fprintf(w, "  %s %s by %s: %d events, %d acts, from @%d on\n", word(d.GetInstance()), dash(d.GetRun()), d.GetBy(), d.GetCount(), d.GetActs(), d.GetFirst())
	}
}

// classWord is a consequence with whose word it is, where that is not the manifest's.
func classWord(e *apiv1.Effect) string {
	if e.GetClassBasis() == "none" {
		return "not classified"
	}
	return event.Consequences.Name(e.GetConsequence()) + flagged(" (its own word)", e.GetClassBasis() == "event")
}

func endWord(e *apiv1.Effect) string {
	if outcome := event.Outcomes.Name(e.GetOutcome()); outcome != "" {
		return e.GetEnded() + ", " + outcome
	}
	return e.GetEnded()
}

func same(s string) string { return s }

// list is words, or a dash for none.
func list(all []string) string {
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(given(word, all...), ", ")
}

// alsoIn introduces a list, if there is one.
func alsoIn(before string, all []string) string {
	if len(all) == 0 {
		return ""
	}
	return before + list(all)
}
