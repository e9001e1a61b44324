// This agent answers a customer's message. The model says which tool to use until it is done.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/examples/agent/support"
)

func main() {
	if err := answer(context.Background(), support.Inbox()); err != nil {
		log.Fatal(err)
	}
}

func answer(ctx context.Context, message support.Message) (err error) {
	recorder, err := edge.FromEnv(ctx)
	if err != nil {
		return err
	}
	ctx, run := recorder.Run(ctx, edge.RunOptions{Principal: message.CustomerID, Workflow: "support", Model: support.ModelName, Tools: []edge.Tool{
		{Name: "search_help", Consequence: edge.Low, Result: edge.Trusted},
		{Name: "lookup_order", Connector: "crm", Consequence: edge.Low, Result: edge.Trusted},
		{Name: "send_email", Connector: "mail", Consequence: edge.High, Result: edge.Trusted},
	}})
	defer func() { err = errors.Join(err, run.End(edge.OutcomeOf(err)), recorder.Close(ctx)) }()
	ctx = edge.Input(ctx, "e-mail", message.Text, edge.Untrusted)
	model := support.NewModel(message)
	for step, ok := model.Next(); ok; step, ok = model.Next() {
		result, err := edge.Call(ctx, step.Tool, step.Arguments, func(ctx context.Context) (string, error) { return support.Do(ctx, step) })
		if err != nil {
			return err
		}
		fmt.Println(step.Tool+":", result)
		model.Saw(result)
	}
	return nil
}
