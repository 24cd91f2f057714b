package client_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/api/client"
)

// haltAll stops every run of a user that waits for somebody.
func haltAll(ctx context.Context, c *client.Client, user, why string) (halted []string, err error) {
	for run, err := range c.EachRun(ctx, client.ListRunsParams{User: user, State: wflo.StateWaiting}) {
		if err != nil {
			return halted, fmt.Errorf("list the runs of %s: %w", user, err)
		}
		_, err := c.HaltRun(ctx, run.ID, client.ControlRequest{Reason: why})
		if client.StatusOf(err) == 409 {
			continue // it has ended meanwhile
		}
		if err != nil {
			return halted, fmt.Errorf("halt %s: %w", run.ID, err)
		}
		halted = append(halted, run.ID)
	}
	return halted, nil
}

// Stop every run of a user that waits for an approval.
func Example() {
	c, err := client.New(client.Config{URL: os.Getenv("WFLO_API"), Key: os.Getenv("WFLO_TOKEN")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	halted, err := haltAll(context.Background(), c, "eve", "the account was stolen")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println("halted", halted)
}

// Follow a run until it is over.
func ExampleClient_Follow() {
	c, err := client.New(client.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for event, err := range c.Follow(context.Background(), "refund-k3f9", client.FollowParams{}) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		if event.Head != nil {
			fmt.Println(event.Head.State, event.Head.Spend.Spent)
		}
	}
}

// What the example does is tried against a console.
func TestExample(t *testing.T) {
	o := newOffice(t)
	halted, err := haltAll(t.Context(), o.as(t, wflo.RoleOperator), "eve", "the account was stolen")
	if err != nil || len(halted) == 0 || len(halted) != len(o.runs.Stops()) {
		t.Errorf("halted %v, told %+v, %v", halted, o.runs.Stops(), err)
	}
}
