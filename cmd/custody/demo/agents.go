// Package demo is the scenario that `make demo` runs: three clients, twelve agents, and one poisoned ticket.
//
// Each agent is a process of its own that works through the SDK. Its model is a script that believes what it reads: whatever
// a ticket asks for, it does. That is the whole difference between an attacked agent and its benign twin, which run the
// same program on two tickets.
package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/agentcustody/custody/edge"
)

// Agent is one instance of the scenario.
type Agent struct {
	Tenant, Instance, Owner string
	Allow                   []string // manifest: VERB:TOOL:CONSEQUENCE
	work                    func(context.Context, *edge.Emitter) error
}

// Name is TENANT/INSTANCE.
func (a Agent) Name() string { return a.Tenant + "/" + a.Instance }

// Tenants are the clients, with their display names.
var Tenants = [][2]string{{"acme", "Acme Retail"}, {"globex", "Globex Finance"}, {"initech", "Initech Operations"}}

var support = []string{"trigger:helpdesk:low", "read:read_ticket:low", "read:list_customers:moderate", "write:reply_ticket:moderate", "send:send_email:high"}

// Agents are the twelve instances.
var Agents = []Agent{
	{"acme", "support-1", "support", support, ticketAgent(poisoned, allowAll)},
	{"acme", "support-2", "support", support, ticketAgent(clean, allowAll)},
	{"acme", "support-3", "support", support, ticketAgent(poisoned, askForHigh)},
	{"acme", "catalog", "shop", []string{"read:read_stock:low", "write:update_page:moderate"}, routine("refresh catalog", readStep("read_stock"), writeStep("update_page"))},
	{"globex", "invoices", "finance", []string{"read:read_invoice:low", "write:book_invoice:moderate"}, routine("book invoices", readStep("read_invoice"), writeStep("book_invoice"))},
	{"globex", "payments", "finance", []string{"read:read_invoice:low", "send:pay_invoice:high"}, routine("pay invoices", readStep("read_invoice"), sendStep("pay_invoice", "bank.globex.example"))},
	{"globex", "reports", "finance", []string{"read:read_ledger:low", "write:write_report:moderate"}, routine("monthly report", readStep("read_ledger"), writeStep("write_report"))},
	{"globex", "travel", "office", []string{"read:search_flights:low", "send:book_flight:high"}, routine("book travel", readStep("search_flights"), sendStep("book_flight", "air.example"))},
	{"initech", "deploy", "platform", []string{"read:read_build:low", "write:deploy:high"}, routine("deploy", readStep("read_build"), sendStep("deploy", "prod.initech.example"))},
	{"initech", "review", "platform", []string{"read:read_diff:low", "write:comment:moderate"}, routine("review", readStep("read_diff"), writeStep("comment"))},
	{"initech", "triage", "platform", []string{"read:read_alert:low", "write:label_alert:moderate"}, routine("triage", readStep("read_alert"), failing("label_alert"))},
	{"initech", "inventory", "platform", []string{"read:list_hosts:low"}, routine("inventory", readStep("list_hosts"))},
}

// Attack names what the demonstration follows.
const (
	AttackTenant   = "acme"
	AttackInstance = "support-1"
	AttackRun      = "ticket-4711"
	AttackTool     = "send_email"
)

// Run is the main function of one agent's process.
func Run(ctx context.Context, name string) (err error) {
	all := append(slices.Clone(Agents), Live)
	i := slices.IndexFunc(all, func(a Agent) bool { return a.Name() == name })
	if i < 0 {
		return fmt.Errorf("no agent %q in the scenario", name)
	}
	e, err := edge.FromEnv(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(context.WithoutCancel(ctx))) }()
	return all[i].work(ctx, e)
}

// runsEach is how many tasks a routine agent does.
const runsEach = 5

// step is one thing that a routine agent does in each task.
type step func(ctx context.Context, n int) error

// routine is an agent that does the same harmless task a few times.
func routine(workflow string, steps ...step) func(context.Context, *edge.Emitter) error {
	return func(ctx context.Context, e *edge.Emitter) error {
		for n := range runsEach {
			if err := task(ctx, e, workflow, n, steps); err != nil {
				return err
			}
		}
		return nil
	}
}

func task(ctx context.Context, e *edge.Emitter, workflow string, n int, steps []step) error {
	ctx, run := e.Run(ctx, edge.RunOptions{Principal: "scheduler", Workflow: workflow, Goal: workflow, Model: "script-1", AgentVersion: "1.0.0", Gate: allowAll})
	ctx = edge.Input(ctx, "scheduler", fmt.Sprintf("%s, turn %d", workflow, n+1), edge.Trusted)
	outcome := edge.OK
	for _, s := range steps {
		if err := s(ctx, n); err != nil {
			outcome = edge.Failed
		}
	}
	return run.End(outcome)
}

func readStep(tool string) step {
	return func(ctx context.Context, n int) error {
		_, err := edge.Call(ctx, tool, map[string]any{"page": n}, func(context.Context) (string, error) {
			return fmt.Sprintf("%s: nothing unusual on page %d", tool, n), nil
		}, edge.CallOptions{Consequence: edge.Low, Result: edge.Trusted, DataClass: "internal"})
		return err
	}
}

func writeStep(tool string) step {
	return func(ctx context.Context, n int) error {
		_, err := edge.Call(ctx, tool, map[string]any{"item": n}, done, edge.CallOptions{Consequence: edge.Moderate})
		return err
	}
}

func sendStep(tool, destination string) step {
	return func(ctx context.Context, n int) error {
		_, err := edge.Call(ctx, tool, map[string]any{"item": n, "amount": 100 * (n + 1)}, done, edge.CallOptions{Consequence: edge.High, Destination: destination})
		return err
	}
}

// failing is a tool that is down every other time.
func failing(tool string) step {
	return func(ctx context.Context, n int) error {
		_, err := edge.Call(ctx, tool, map[string]any{"item": n}, func(context.Context) (string, error) {
			if n%2 == 1 {
				return "", errors.New("the labelling service does not answer")
			}
			return "labelled", nil
		}, edge.CallOptions{Consequence: edge.Moderate})
		return err
	}
}

func done(context.Context) (string, error) { return "done", nil }

func allowAll(context.Context, *edge.Proposal) (edge.Ruling, error) {
	return edge.Ruling{Decision: edge.Allow, Policy: "allow-all/1"}, nil
}

// askForHigh lets nothing of high consequence run without a person.
func askForHigh(_ context.Context, p *edge.Proposal) (edge.Ruling, error) {
	if p.Options.Consequence == edge.High {
		return edge.Ruling{Decision: edge.NeedsApproval, Policy: "step-up/1", Reason: "high consequence"}, nil
	}
	return edge.Ruling{Decision: edge.Allow, Policy: "step-up/1"}, nil
}
