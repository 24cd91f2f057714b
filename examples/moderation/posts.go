package moderation

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/wflo-ai/wflo-go/policy"
)

// Posts publishes. Its methods are activities, and may run at the same time.
type Posts struct {
	// Show makes a post visible, once per ID. Required.
	Show func(ctx context.Context, p Post) error
}

// Publish makes a post visible. Again it changes nothing.
func (p *Posts) Publish(ctx context.Context, post Post) error {
	if err := p.Show(ctx, post); err != nil {
		return fmt.Errorf("publish post %s: %w", post.ID, err)
	}
	return nil
}

//go:embed policies.yaml
var policies []byte

// Policies are those of policies.yaml. A worker in production names the file in its
// configuration, so that it can be changed without a new program.
func Policies() (*policy.Set, error) { return policy.Load("policies.yaml", policies) }
