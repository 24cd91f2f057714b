package main

import (
	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
)

// deps joins the commands with what they need.
func deps() cli.Deps {
	return cli.Deps{
		Aliases: []cli.Alias{
			{Name: "agent", Workflow: wflo.WorkflowAgent, About: "the tool-calling agent"},
		},
		Commands: []*cobra.Command{
			dev.Command(dev.Config{Next: "wflo list"}),
		},
		Parts: map[string]string{"temporal-server": devserver.Version()},
	}
}
