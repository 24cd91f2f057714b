package plugin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/wflo-ai/wflo-go/activities"
)

// conversations keeps what agents said among the large payloads, and sealed as these are.
type conversations struct{ blobs activities.Blobs }

var _ activities.Conversations = (*conversations)(nil)

// Keep implements activities.Conversations.
func (c *conversations) Keep(ctx context.Context, part activities.ConversationPart) (string, error) {
	data, err := json.Marshal(part)
	if err != nil {
		return "", fmt.Errorf("encode conversation: %w", err)
	}
	key, err := c.blobs.Put(ctx, data)
	if err != nil {
		return "", fmt.Errorf("store conversation: %w", err)
	}
	return key, nil
}

// Part implements activities.Conversations.
func (c *conversations) Part(ctx context.Context, key string) (part activities.ConversationPart, err error) {
	data, err := c.blobs.Get(ctx, key)
	if err != nil {
		return part, fmt.Errorf("fetch conversation: %w", err)
	}
	if err := json.Unmarshal(data, &part); err != nil {
		return part, fmt.Errorf("decode conversation %s: %w", key, err)
	}
	return part, nil
}
