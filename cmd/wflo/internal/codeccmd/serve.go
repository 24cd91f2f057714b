package codeccmd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/codecserver"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/plugin"
)

type flags struct {
	listen, config, cert, key string
	origins, namespaces       []string
	encode, noAuth            bool
	rate                      int
}

func serveCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Open sealed payloads for Temporal's Web UI and command line",
		Long: `Serve the protocol of Temporal's codec servers: POST /decode, and /encode with
--encode. Temporal's Web UI asks it from the browser, once its address is in the
settings of the Web UI, and temporal with --codec-endpoint and --codec-auth.

Who asks proves who they are as at the console: by an API key, or by a token of an
OIDC provider that lists audiences, which the Web UI passes on. They need the role
viewer, for all tenants. The configuration says how (--config, WFLO_CONFIG), and
names the payload keys unless WFLO_PAYLOAD_KEYS does;
WFLO_DATABASE and WFLO_DATA_DIR say where the keys of the API are.

It listens on this machine. Elsewhere it needs a certificate and authentication. Each
request is logged with who asked for how many payloads of which namespace.`,
		Example: `  wflo codec serve --config wflo.yaml --origin https://temporal.example.com --listen :7245 --tls-cert c.pem --tls-key c.key
  wflo codec serve --no-auth --origin http://127.0.0.1:8233
  temporal workflow show -w ID --codec-endpoint http://127.0.0.1:7245`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	set := cmd.Flags()
	set.StringVar(&f.listen, "listen", codecserver.DefaultListen, "HOST:PORT to listen on")
	set.StringVar(&f.config, "config", "", "the file with the payload keys and who may ask (default: WFLO_CONFIG)")
	set.StringVar(&f.cert, "tls-cert", "", "file of the certificate, in PEM; read again when it changes")
	set.StringVar(&f.key, "tls-key", "", "file of its key, in PEM")
	set.StringSliceVar(&f.origins, "origin", nil, "a Web UI that browsers may ask from, such as https://temporal.example.com; may be repeated")
	set.StringSliceVar(&f.namespaces, "serve-namespace", nil, "serve this namespace only; may be repeated")
	set.BoolVar(&f.encode, "encode", false, "seal, too, for what people send from the Web UI")
	set.BoolVar(&f.noAuth, "no-auth", false, "let everybody on this machine ask")
	set.IntVar(&f.rate, "rate", codecserver.DefaultRate, "requests a second that one address may make")
	return cmd
}

func serve(cmd *cobra.Command, f flags) error {
	logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	path, err := cli.UseConfig(f.config)
	if err != nil {
		return err
	}
	codec, err := configured(logger)
	if err != nil {
		return err
	}
	cfg := codecserver.Config{
		Listen: f.listen, TLSCert: f.cert, TLSKey: f.key, Codec: codec, Namespaces: f.namespaces, Origins: f.origins, Encode: f.encode, Rate: f.rate, Logger: logger,
	}
	if !f.noAuth {
		way, done, err := authenticator(cmd.Context(), path, logger)
		if err != nil {
			return err
		}
		defer done()
		cfg.Auth = way
	}
	s, err := codecserver.Start(cfg)
	if err != nil {
		return err
	}
	defer s.Stop()
	if cli.AsJSON(cmd) {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"codec": s.URL(), "seals": codec.Keys().Writes()})
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "Codec server %s (key %s)\n", s.URL(), codec.Keys().Writes())
	}
	if err != nil {
		return err
	}
	<-cmd.Context().Done()
	return nil
}

// authenticator gives the ways that programs prove who they are at the console.
func authenticator(ctx context.Context, path string, logger *slog.Logger) (auth.Authenticator, func(), error) {
	if path == "" {
		return nil, nil, cli.Usage("name the console's configuration with --config, or let everybody on this machine ask with --no-auth",
			"nothing says who may ask the codec server")
	}
	file, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	var ways []auth.Authenticator
	done := func() {}
	if !file.Console.NoAPIKeys {
		ledger, records, err := plugin.OpenDatabase(ctx, plugin.Config{DataDir: os.Getenv("WFLO_DATA_DIR"), Database: os.Getenv("WFLO_DATABASE"), Logger: logger})
		if err != nil {
			return nil, nil, err
		}
		done = func() { _ = ledger.Close() }
		keys, err := apikey.New(apikey.Config{Store: records, Logger: logger})
		if err != nil {
			done()
			return nil, nil, err
		}
		ways = append(ways, keys)
	}
	for _, o := range file.Console.OIDC {
		if len(o.Audiences) == 0 {
			continue
		}
		login, err := o.Open(logger)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("console.oidc %s: %w", o.Name, err)
		}
		bearer, err := login.Bearer(o.Audiences...)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("console.oidc %s: %w", o.Name, err)
		}
		ways = append(ways, bearer)
	}
	if len(ways) == 0 {
		return nil, nil, wflo.Invalid(path, "lets no program prove who it is", "leave api_keys on, or list the audiences of an OIDC provider")
	}
	return auth.Chain(ways...), done, nil
}
