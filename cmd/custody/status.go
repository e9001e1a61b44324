package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// statusCommand shows where the parts stand.
func (a *app) statusCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the stream, the committed head and the backlog",
		Long: "Show the stream, the committed head and the backlog. With --wait, return when everything that the stream holds now is\n" +
			"committed, or fail as unavailable.",
		Example: "  custody status\n  custody status --wait 1m -o json",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			s, err := a.status(ctx, conn, wait)
			if err != nil {
				return err
			}
			if err := a.result(s, func(w io.Writer) { renderStatus(w, s) }); err != nil {
				return err
			}
			return haltedError(s)
		}),
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait at most this long for everything to be committed")
	return cmd
}

func (a *app) status(ctx context.Context, conn *grpc.ClientConn, wait time.Duration) (*apiv1.StatusResponse, error) {
	s, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
	if err != nil || wait <= 0 {
		return s, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s, err = a.awaitCommit(waiting, conn, s.GetStreamLast())
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, fail(exitUnavailable, fmt.Errorf("after %s, %d events are not committed", wait, s.GetBacklog()), acknowledged, "custody doctor")
	}
	return s, err
}

func renderStatus(w io.Writer, s *apiv1.StatusResponse) {
	fmt.Fprintf(w, "version    %s\naddress    %s\nstore      %s\n", s.GetVersion(), s.GetAddress(), plain(s.GetStore(), 0))
	fmt.Fprintf(w, "stream     %s, %d messages\n", plain(s.GetStream(), 0), s.GetStreamLast())
	fmt.Fprintf(w, "committed  %d messages, backlog %d events\n", s.GetCommitted(), s.GetBacklog())
	if s.GetLedgerError() != "" {
		fmt.Fprintf(w, "ledger     %s\n", plain(s.GetLedgerError(), 0))
	}
	if s.GetPushback() != "" {
		fmt.Fprintf(w, "pushback   emitters wait: %s\n", plain(s.GetPushback(), 0))
	}
	fmt.Fprintf(w, "rules      %s\n", plain(rulesWord(s.GetRules()), 0))
	for _, name := range slices.Sorted(maps.Keys(s.GetCounters())) {
		fmt.Fprintf(w, "%-28s %d\n", name, s.GetCounters()[name])
	}
}

// States of the rules, as the server names them.
const (
	rulesOff     = "off"
	rulesStopped = "stopped"
)

// rulesAreOff is said wherever somebody looks at a server without its rules.
const rulesAreOff = "THE RULES ARE OFF: nothing fires, and no rule stops anything; custody serve without --rules=off puts them on again"

// behindLong is how old the last message may be that the rules have seen before somebody should look: many times what they need.
const behindLong = 10 * time.Second

// rulesWord is where the rules stand.
func rulesWord(r *apiv1.RulesStatus) string {
	at := fmt.Sprintf("have seen %d of %d messages", r.GetJudged(), r.GetJudged()+r.GetBehind())
	if behind := time.Duration(r.GetBehindFor()); behind >= time.Second {
		at += ", behind by " + behind.Round(time.Second).String()
	}
	switch r.GetState() {
	case rulesOff:
		return rulesAreOff
	case rulesStopped:
		return "STOPPED, no rule stops anything: " + r.GetError() + "; " + at
	}
	return at
}

// waits begins the error of a ledger that tries again by itself.
const waits = "waits: "

// haltedError makes a halted ledger a failure: it needs a person.
func haltedError(s *apiv1.StatusResponse) error {
	if s.GetLedgerError() == "" || strings.HasPrefix(s.GetLedgerError(), waits) {
		return nil
	}
	return fail(exitProblems, errors.New("the ledger has halted: "+s.GetLedgerError()),
		"acknowledged events are safe in the stream; more are taken until its bound", "custody doctor")
}
