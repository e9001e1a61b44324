package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/agentcustody/custody/cmd/custody/demo"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// detectPatience is how long the demonstration waits for a rule to stop the agent before a person does.
	detectPatience = 30 * time.Second
	// endPatience is how long the agent may take to end.
	endPatience = 15 * time.Second
	// stillFor is how long the tool server's counter is watched afterwards.
	stillFor = 3 * time.Second
)

// openWorld starts what the live agent acts on, and tells the server how its token is revoked.
func (d *demonstration) openWorld() (err error) {
	if d.world, err = demo.NewWorld(d.dir); err != nil {
		return err
	}
	return os.WriteFile(d.path("connectors.yaml"), []byte(d.world.Connectors()), 0o600)
}

// incident stops a live agent: a rule detects it and pauses the instance, a person quarantines it, its token is shown dead by the
// server that issued it, and the tool server's counter stands still while the agent goes on trying.
func (d *demonstration) incident(ctx context.Context) error {
	d.heading("a live agent goes wrong: it mails everybody, through a real tool server, with a real token")
	if err := d.enrol(ctx, demo.Live); err != nil {
		return err
	}
	if err := d.promote(ctx); err != nil {
		return err
	}
	end, err := d.startLive(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := d.detect(ctx); err != nil {
		return err
	}
	name := demo.Live.Name()
	for _, args := range [][]string{
		{"contain", name, "--level", "quarantine", "--plan"},
		{"contain", name, "--level", "quarantine", "--reason", "mails customers' data to everybody", "--break-glass"},
		{"contained", "--tenant", demo.AttackTenant},
		{"ps", "--tenant", demo.AttackTenant},
	} {
		if err := d.show(ctx, args...); err != nil {
			return err
		}
	}
	if err := d.stillness(ctx); err != nil {
		return err
	}
	return d.workCase(ctx)
}

// workCase opens a case about the agent and classifies it as a responder would: what triggered it, what failed, and what a stop at
// the trigger would have prevented. It stays open: the system is not changed yet.
func (d *demonstration) workCase(ctx context.Context) error {
	d.heading("what was behind it, and what would a stop have prevented?")
	if err := d.settle(ctx); err != nil {
		return err
	}
	of := []string{"search", "--tenant", demo.AttackTenant, "--instance", demo.Live.Instance}
	ticket, err := d.firstFound(ctx, append(of, "--action", "document_retrieved"))
	if err != nil {
		return err
	}
	sent, err := d.firstFound(ctx, append(of, "--action", "started", "--tool", demo.AttackTool))
	if err != nil {
		return err
	}
	if err := d.show(ctx, "case", "open", demo.Live.Name(), "--event", ticket, "--reason", "mails customers' data to everybody"); err != nil {
		return err
	}
	name, err := d.openCase(ctx)
	if err != nil {
		return err
	}
	classify := []string{"case", "classify", name, "--tenant", demo.AttackTenant}
	return errors.Join(
		d.quiet(ctx, append(classify, "--trigger", "retrieval", "--event", ticket, "--reason", "the ticket gave the order")...),
		d.quiet(ctx, append(classify, "--failure", "permissions", "--event", sent, "--reason", "mail to anybody was allowed")...),
		d.show(ctx, "case", "show", name, "--tenant", demo.AttackTenant),
	)
}

// openCase is the id of the case that is open.
func (d *demonstration) openCase(ctx context.Context) (string, error) {
	conn, stop, err := d.app.dial(ctx, "")
	if err != nil {
		return "", err
	}
	defer stop()
	list, err := apiv1.NewCaseServiceClient(conn).ListCases(ctx, &apiv1.ListCasesRequest{Tenant: demo.AttackTenant})
	if err == nil && len(list.GetCases()) == 0 {
		err = errors.New("no case is open")
	}
	if err != nil {
		return "", err
	}
	return list.GetCases()[0].GetCase(), nil
}

// promote lets the rule act, which is in shadow as every new one.
func (d *demonstration) promote(ctx context.Context) error {
	conn, stop, err := d.app.dial(ctx, "")
	if err != nil {
		return err
	}
	defer stop()
	_, err = apiv1.NewFiringServiceClient(conn).SetRuleMode(ctx, &apiv1.SetRuleModeRequest{
		Tenant: demo.AttackTenant, Rule: demo.LiveRule, Mode: "live", Reason: "demonstration",
	})
	if err == nil {
		fmt.Fprintf(d.app.out, "rule %s may act in %s: twenty different destinations within five minutes pause the instance\n", demo.LiveRule, demo.AttackTenant)
	}
	return err
}

// startLive starts the agent as a process of its own; end ends it.
func (d *demonstration) startLive(ctx context.Context) (end func(), err error) {
	cmd := d.command(ctx, "demo", "agent", demo.Live.Name())
	cmd.Env = append(append(os.Environ(), "CUSTODY_EMITTER="+d.emitter(demo.Live)), d.world.Environment()...)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the live agent: %w", err)
	}
	fmt.Fprintf(d.app.out, "the agent is at work (process %d)\n", cmd.Process.Pid)
	return func() { endProcess(cmd) }, nil
}

// endProcess tells a process to end, so that it says goodbye to the log, and kills it if it does not.
func endProcess(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(endPatience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait() // how it ended is no news
}

// detect waits until a rule has stopped the agent. If none has, a person does.
func (d *demonstration) detect(ctx context.Context) error {
	began := time.Now()
	c, err := d.awaitContained(ctx)
	if err != nil {
		return err
	}
	if c == nil {
		fmt.Fprintf(d.app.out, "no rule has stopped it within %s (%d mails): a person does\n", detectPatience, d.world.Served.Load())
		return d.show(ctx, "pause", demo.Live.Name(), "--reason", "mails everybody")
	}
	fmt.Fprintf(d.app.out, "detected and stopped after %s and %d mails: %s of %s, by %s\n",
		time.Since(began).Round(time.Millisecond), d.world.Served.Load(), c.GetLevel(), c.GetTarget(), word(c.GetReason()))
	return nil
}

// awaitContained waits for a containment of the live agent, nil if none comes.
func (d *demonstration) awaitContained(ctx context.Context) (*apiv1.ContainmentInfo, error) {
	conn, stop, err := d.app.dial(ctx, "")
	if err != nil {
		return nil, err
	}
	defer stop()
	for end := time.Now().Add(detectPatience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		list, err := apiv1.NewContainmentServiceClient(conn).ListContained(ctx, &apiv1.ListContainedRequest{Tenant: demo.AttackTenant})
		if err != nil {
			return nil, err
		}
		if len(list.GetContainments()) > 0 {
			return list.GetContainments()[0], nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// stillness watches the tool server's own counter, and asks the token's own server.
func (d *demonstration) stillness(ctx context.Context) error {
	d.heading("is it true? the oracles are the tool server and the token's server, which know nothing of Custody")
	before := d.world.Served.Load()
	time.Sleep(stillFor)
	after := d.world.Served.Load()
	fmt.Fprintf(d.app.out, "mails delivered, by the tool server's own counter: %d; %s later, while the agent goes on trying: %d\n", before, stillFor, after)
	answer, err := d.world.Introspect(ctx)
	if err != nil {
		return fmt.Errorf("ask the token's server: %w", err)
	}
	fmt.Fprintf(d.app.out, "the token, by the server that issued it: %s\n", answer)
	if before != after || answer != `{"active":false}` {
		return errors.New("the agent was NOT stopped")
	}
	return nil
}
