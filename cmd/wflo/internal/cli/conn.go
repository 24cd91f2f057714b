package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/connect"
)

// DefaultAddress is where `wflo dev` listens.
const DefaultAddress = "127.0.0.1:7233"

const dialTimeout = 5 * time.Second

// connFlags say where Temporal is. Empty fields leave it to the environment and
// the profile, which envconfig reads as the temporal CLI does.
type connFlags struct {
	address, namespace, profile string
	// api is where the worker's API is; see app.api.
	api string
}

func (c *connFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&c.address, "address", "", "Temporal's host:port (also TEMPORAL_ADDRESS; default "+DefaultAddress+")")
	flags.StringVar(&c.namespace, "namespace", "", "Temporal namespace (also TEMPORAL_NAMESPACE; default \"default\")")
	flags.StringVar(&c.profile, "profile", "", "connection profile (also TEMPORAL_PROFILE)")
	flags.StringVar(&c.api, "api", "", "the API of the worker or the console (also WFLO_API; default "+DefaultAPI+")")
}

// connection is a client together with what it was dialled with.
type connection struct {
	client.Client
	address, namespace string
}

func (a *app) dial(ctx context.Context) (*connection, error) {
	opts, err := temporalOptions(a.conn)
	if err != nil {
		return nil, &exitError{ExitUsage, err}
	}
	opts.Logger = slog.New(slog.DiscardHandler)
	opts.Identity = "wflo:" + userName()
	if a.deps.Configure != nil {
		a.deps.Configure(&opts)
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := a.deps.Dial(dialCtx, opts)
	if err == nil {
		return &connection{c, opts.HostPort, opts.Namespace}, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if wflo.CodeOf(err) != "" {
		return nil, err
	}
	if unreachable(err) {
		return nil, &exitError{ExitError, wflo.Errorf("", "start one with `wflo dev`, or name yours with --address or TEMPORAL_ADDRESS",
			"no Temporal server answers at %s", opts.HostPort)}
	}
	return nil, fmt.Errorf("connect to Temporal at %s: %w", opts.HostPort, err)
}

// dialTemporal says what is wrong with a certificate, where that is it.
func dialTemporal(ctx context.Context, o client.Options) (client.Client, error) {
	c, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, connect.Explain(ctx, err, o)
	}
	return c, nil
}

func unreachable(err error) bool {
	var unavailable *serviceerror.Unavailable
	var deadline *serviceerror.DeadlineExceeded
	return errors.As(err, &unavailable) || errors.As(err, &deadline) || errors.Is(err, context.DeadlineExceeded)
}

func isUnauthenticated(err error) bool { return status.Code(err) == codes.Unauthenticated }

// explain turns what Temporal says about a run into words with a hint. Codes of
// wflo's own errors survive, so that the exit code fits.
func (c *connection) explain(err error, run string) error {
	var app *temporal.ApplicationError
	var missing *serviceerror.NotFound
	var namespace *serviceerror.NamespaceNotFound
	var argument *serviceerror.InvalidArgument
	var busy *serviceerror.ResourceExhausted
	switch {
	case err == nil, wflo.CodeOf(err) != "":
		return err
	case errors.As(err, &app):
		return fromWire(app)
	case errors.As(err, &namespace):
		return wflo.Errorf("", "name another with --namespace, or TEMPORAL_NAMESPACE", "namespace %q does not exist at %s", c.namespace, c.address)
	case errors.As(err, &missing) && run != "" && strings.Contains(missing.Message, "already completed"):
		return wflo.Errorf("", "see: wflo status "+run, "run %s has ended", run)
	case errors.As(err, &missing) && run != "":
		return wflo.Errorf("", "see: wflo list", "no run %s in namespace %s", run, c.namespace)
	case errors.As(err, &argument) && strings.Contains(argument.Message, "Wflo"):
		return wflo.Errorf("", "`wflo dev` registers them; elsewhere: temporal operator search-attribute create",
			"namespace %s lacks wflo's search attributes: %w", c.namespace, err)
	case errors.As(err, &busy):
		return wflo.Errorf("", connect.HintBusy, "Temporal refuses because it has too much to do: %w", err)
	case isUnauthenticated(err):
		return wflo.Errorf(wflo.CodeMissingKey, "set TEMPORAL_API_KEY or a TLS certificate", "Temporal wants to know who you are: %w", err)
	case unreachable(err):
		return &exitError{ExitTimeout, wflo.Errorf("", "is a worker running? see: wflo status "+run, "no answer in time: %w", err)}
	}
	return err
}

// fromWire rebuilds wflo's error from Temporal's: the type is the code, the
// first detail the hint, and of a budget's the second one the refusal. Code that failed further down wins over a wrapping
// that has no code of ours; the wrapping's words stay.
func fromWire(top *temporal.ApplicationError) error {
	e := &wflo.Error{Message: top.Message()}
	found := top
	for app := top; app != nil; {
		if code := wflo.Code(app.Type()); code.Sentinel() != nil {
			found, e.Code = app, code
			// What Error adds to the message is for programmers.
			e.Message = strings.Replace(e.Message, app.Error(), app.Message(), 1)
			break
		}
		cause := app.Unwrap()
		app = nil
		errors.As(cause, &app)
	}
	var act *temporal.ActivityError
	var inner *temporal.ApplicationError
	if errors.As(top, &act) && errors.As(act, &inner) {
		// Event numbers and worker names are for Temporal's own tools.
		e.Message = strings.Replace(e.Message, act.Error(), inner.Message(), 1)
	}
	if found.HasDetails() && found.Details(&e.Hint) != nil {
		e.Hint = "" // the details are something else
	}
	if r := refusalDetail(found); r != nil {
		e.Err = r
	}
	if e.Hint != "" {
		e.Message = strings.Replace(e.Message, " ("+e.Hint+")", "", 1)
	}
	return e
}

// userName is who gives the command.
func userName() string {
	if name := os.Getenv("WFLO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
