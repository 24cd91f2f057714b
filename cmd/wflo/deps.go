package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/codeccmd"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/consolecmd"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dbcmd"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/demo"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devworker"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/payloadcmd"
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/plugin"
)

// deps joins the commands with what they need.
func deps() cli.Deps {
	return cli.Deps{
		Configure: configure,
		Aliases: []cli.Alias{
			{Name: "agent", Workflow: wflo.WorkflowAgent, About: "the tool-calling agent"},
			{Name: "etl", Workflow: etl.Name, Input: nightlyLoad(), About: "a nightly load that can be taken back: examples/etl"},
			{Name: "refund", Workflow: refund.Name, Input: sampleOrders(), About: "the demo: find duplicate charges, ask, refund them"},
		},
		Commands: []*cobra.Command{
			dev.Command(dev.Config{StartWorker: startWorker, Next: "wflo run refund"}),
			demo.Command(),
			consolecmd.Command(consolecmd.Config{Configure: configure}),
			codeccmd.Command(),
			dbcmd.Command(),
			payloadcmd.Command(),
		},
		Parts: map[string]string{"temporal-server": devserver.Version()},
	}
}

// configure lets a client send along for whom a run acts and what it may spend,
// and read the large results of a worker on this machine.
func configure(o *client.Options) {
	o.Interceptors = append(o.Interceptors, plugin.NewClientInterceptor())
	if err := plugin.ConfigureReader(o, os.Getenv("WFLO_DATA_DIR")); err != nil {
		fmt.Fprintln(os.Stderr, "warning: large results cannot be shown:", err)
	}
}

func startWorker(ctx context.Context, info dev.Info) (func(), error) {
	w, err := devworker.Start(ctx, info)
	if err != nil {
		return nil, err
	}
	return w.Stop, nil
}

// nightlyLoad is the input of the nightly load when --input is not given.
func nightlyLoad() string {
	in, err := json.Marshal(etl.Input{Day: shop.Day})
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return string(in)
}

// sampleOrders is the refund workflow's input when --input is not given.
func sampleOrders() string {
	in, err := json.Marshal(refund.Input{CSV: data.Orders()})
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return string(in)
}
