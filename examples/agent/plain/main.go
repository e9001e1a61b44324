// This agent answers a customer's message. The model says which tool to use until it is done.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/agentcustody/custody/examples/agent/support"
)

func main() {
	if err := answer(context.Background(), support.Inbox()); err != nil {
		log.Fatal(err)
	}
}

func answer(ctx context.Context, message support.Message) (err error) {
	model := support.NewModel(message)
	for step, ok := model.Next(); ok; step, ok = model.Next() {
		result, err := support.Do(ctx, step)
		if err != nil {
			return err
		}
		fmt.Println(step.Tool+":", result)
		model.Saw(result)
	}
	return nil
}
