package plugin

import (
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// Story tells what happened to the runs of a client that has the plugin, from Temporal's
// history and the plugin's own stores. It is called once the client is connected.
func (p *Plugin) Story(c client.Client) *story.Teller {
	cfg := story.Config{Client: c, Ledger: p.parts.ledger, Recovery: p.recovery(), Logger: p.cfg.Logger}
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.options; o != nil {
		cfg.Namespace, cfg.Converter, cfg.Storage = o.Namespace, o.DataConverter, o.ExternalStorage.Drivers
	}
	return story.New(cfg)
}
