package cli

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/internal/connect"
)

// What follows is for commands that other packages add to the root command, so that
// they keep its habits.

// NoArgs refuses arguments.
func NoArgs(cmd *cobra.Command, given []string) error {
	if len(given) > 0 {
		return Usage("see: "+cmd.CommandPath()+" --help", "%s takes no argument, got %q", cmd.CommandPath(), given[0])
	}
	return nil
}

// AsJSON says that a program reads the output.
func AsJSON(cmd *cobra.Command) bool {
	flag := cmd.Flag("output")
	return flag != nil && flag.Value.String() != "text"
}

// UseConfig makes the file that --config names the one of WFLO_CONFIG, for all that
// reads that: payload keys, too. It gives the path, which is "" where neither is set.
func UseConfig(flag string) (path string, err error) {
	if flag != "" {
		if err := os.Setenv("WFLO_CONFIG", flag); err != nil {
			return "", fmt.Errorf("name the configuration file: %w", err)
		}
	}
	return os.Getenv("WFLO_CONFIG"), nil
}

// TemporalOptions says how to reach Temporal: by the root command's flags, else by the
// environment and the profile, else at DefaultAddress.
func TemporalOptions(cmd *cobra.Command) (client.Options, error) {
	given := func(name string) string {
		if flag := cmd.Flag(name); flag != nil {
			return flag.Value.String()
		}
		return ""
	}
	return temporalOptions(connFlags{address: given("address"), namespace: given("namespace"), profile: given("profile")})
}

func temporalOptions(f connFlags) (client.Options, error) {
	opts, err := connect.Load(f.profile)
	if err != nil {
		return opts, err
	}
	opts.HostPort = cmp.Or(f.address, opts.HostPort, DefaultAddress)
	opts.Namespace = cmp.Or(f.namespace, opts.Namespace, client.DefaultNamespace)
	return opts, nil
}
