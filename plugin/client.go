package plugin

import (
	"context"
	"fmt"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// NewClientInterceptor returns what a client needs that only starts runs: it
// sends the context's run (wflo.WithRun) along. Clients with the plugin have it.
func NewClientInterceptor() interceptor.ClientInterceptor { return newClientInterceptor(true) }

func newClientInterceptor(attributes bool) interceptor.ClientInterceptor {
	return &clientInterceptor{attributes: attributes}
}

type clientInterceptor struct {
	interceptor.ClientInterceptorBase
	attributes bool
}

// InterceptClient wraps a client's calls.
func (c *clientInterceptor) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	out := &clientOutbound{attributes: c.attributes}
	out.Next = next
	return out
}

type clientOutbound struct {
	interceptor.ClientOutboundInterceptorBase
	attributes bool
}

func (c *clientOutbound) ExecuteWorkflow(ctx context.Context, in *interceptor.ClientExecuteWorkflowInput) (client.WorkflowRun, error) {
	if err := c.send(ctx, in.Options); err != nil {
		return nil, err
	}
	return c.Next.ExecuteWorkflow(ctx, in)
}

func (c *clientOutbound) SignalWithStartWorkflow(ctx context.Context, in *interceptor.ClientSignalWithStartWorkflowInput) (client.WorkflowRun, error) {
	if err := c.send(ctx, in.Options); err != nil {
		return nil, err
	}
	return c.Next.SignalWithStartWorkflow(ctx, in)
}

// send puts the caller's part of the run into the header.
func (c *clientOutbound) send(ctx context.Context, opts *client.StartWorkflowOptions) error {
	r, ok, err := outgoing(ctx)
	if !ok || err != nil {
		return err
	}
	p, err := converter.GetDefaultDataConverter().ToPayload(r)
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	interceptor.Header(ctx)[wflo.HeaderRun] = p
	if c.attributes && opts != nil && opts.SearchAttributes == nil { //nolint:staticcheck // the deprecated form excludes the typed one
		opts.TypedSearchAttributes = withIdentity(opts.TypedSearchAttributes, r)
	}
	return nil
}

// outgoing is what a caller may say about a run. What the runtime fills in is
// left out: a client must not choose another run's budget.
func outgoing(ctx context.Context) (r wflo.Run, ok bool, err error) {
	r, ok = wflo.RunFrom(ctx)
	if !ok {
		return wflo.Run{}, false, nil
	}
	if err := r.Validate(); err != nil {
		return wflo.Run{}, false, err
	}
	return wflo.Run{
		User: r.User, Team: r.Team, Org: r.Org, Agent: r.Agent, Tags: r.Tags, Principals: r.Principals, Correlation: r.Correlation,
		Budget: r.Budget,
	}, true, nil
}

func withIdentity(sa temporal.SearchAttributes, r wflo.Run) temporal.SearchAttributes {
	updates := []temporal.SearchAttributeUpdate{
		temporal.NewSearchAttributeKeyKeyword(wflo.AttrState).ValueSet(string(wflo.StateRunning)),
	}
	if r.User != "" {
		updates = append(updates, temporal.NewSearchAttributeKeyKeyword(wflo.AttrUser).ValueSet(r.User))
	}
	if r.Team != "" {
		updates = append(updates, temporal.NewSearchAttributeKeyKeyword(wflo.AttrTeam).ValueSet(r.Team))
	}
	return temporal.NewSearchAttributes(append(updates, sa.Copy())...)
}
