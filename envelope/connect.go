package envelope

import (
	"context"
	"os"
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
)

// FromEnv has a client seal what it sends and open what it gets, with the keys of the
// environment; see ReadEnv. Call it when everything else is in the options. Programs with
// wflo's plugin need not: the plugin does it.
func FromEnv(o *client.Options) error {
	cfg, err := ReadEnv()
	if err != nil {
		return err
	}
	c, err := New(cfg)
	if err != nil {
		return err
	}
	c.Configure(o)
	return nil
}

// Configure has a client seal what it sends and open what it gets. Clients that are made
// from it with client.NewClientFromExisting share the connection, and with it this. Options
// that have a codec already are left alone.
func (c *Codec) Configure(o *client.Options) {
	if _, done := o.DataConverter.(*reading); done {
		return
	}
	o.DataConverter = c.Converter(o.DataConverter)
	// Last, so that nothing of the user's sits between us and the server.
	o.ConnectionOptions.DialOptions = append(slices.Clip(o.ConnectionOptions.DialOptions), grpc.WithChainUnaryInterceptor(c.intercept))
}

// Refuse has every call of a client fail with err: where the keys cannot be read, nothing
// is to be sent in their stead.
func Refuse(o *client.Options, err error) {
	message := "payload keys: " + err.Error()
	o.ConnectionOptions.DialOptions = append(slices.Clip(o.ConnectionOptions.DialOptions), grpc.WithChainUnaryInterceptor(
		func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
			return status.Error(codes.FailedPrecondition, message)
		}))
}

// unsealed marks calls that say why something cannot be read: whoever has to act on it
// has no key.
type unsealed struct{}

func (c *Codec) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if message, ok := req.(proto.Message); ok && c.keys.Writes() != "" && ctx.Value(unsealed{}) == nil {
		sealed, err := c.sealAll(ctx, message)
		if err != nil {
			return status.Errorf(codes.FailedPrecondition, "seal payloads: %v", err)
		}
		req = sealed
	}
	if err := invoke(ctx, method, req, reply, cc, opts...); err != nil {
		return c.openDetails(ctx, err)
	}
	if message, ok := reply.(proto.Message); ok {
		return c.openReply(ctx, message, req, cc)
	}
	return nil
}

// sealAll is a copy of the message with all payloads sealed: the caller may keep the
// message, or send it again. Search attributes are the server's to read.
func (c *Codec) sealAll(ctx context.Context, message proto.Message) (proto.Message, error) {
	own := proto.Clone(message)
	err := proxy.VisitFailures(ctx, own, proxy.VisitFailuresOptions{Visitor: func(_ *proxy.VisitFailuresContext, f *failurepb.Failure) error {
		return hideWords(f)
	}})
	if err != nil {
		return nil, err
	}
	return own, proxy.VisitPayloads(ctx, own, proxy.VisitPayloadsOptions{
		SkipSearchAttributes: true,
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			return c.Encode(payloads)
		},
	})
}

// encodedMessage is what the SDK writes over a message that it has put into a payload.
const encodedMessage = "Encoded failure"

// hideWords moves a failure's message and stack trace into a payload.
func hideWords(f *failurepb.Failure) error {
	if f.GetEncodedAttributes() != nil && f.GetMessage() == encodedMessage {
		return nil // by a failure converter of the user's
	}
	return converter.EncodeCommonFailureAttributes(converter.GetDefaultDataConverter(), f)
}

// showWords is the opposite. The payload goes: who passes the failure on would send both.
func showWords(f *failurepb.Failure) {
	if f.GetEncodedAttributes() == nil || f.GetMessage() != encodedMessage {
		return
	}
	converter.DecodeCommonFailureAttributes(converter.GetDefaultDataConverter(), f)
	if f.GetMessage() != encodedMessage {
		f.EncodedAttributes = nil
	}
}

// openAll opens the payloads of a message that is ours. It goes on at one that it cannot
// open, so that a list with one strange entry is still a list, and gives the first error.
func (c *Codec) openAll(ctx context.Context, message proto.Message) error {
	var first error
	err := proxy.VisitPayloads(ctx, message, proxy.VisitPayloadsOptions{
		SkipSearchAttributes: true,
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			out := make([]*commonpb.Payload, len(payloads))
			for i, p := range payloads {
				opened, err := c.open(p)
				if err != nil && first == nil {
					first = err
				}
				switch {
				case err == nil:
					out[i] = opened
				case Sealed(p):
					out[i] = p
				default:
					out[i] = refused()
				}
			}
			return out, nil
		},
	})
	if err != nil {
		return err
	}
	err = proxy.VisitFailures(ctx, message, proxy.VisitFailuresOptions{Visitor: func(_ *proxy.VisitFailuresContext, f *failurepb.Failure) error {
		showWords(f)
		return nil
	}})
	if first == nil {
		first = err
	}
	return first
}

// openDetails opens what comes with an error of the server, such as that of a query.
func (c *Codec) openDetails(ctx context.Context, err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	p := s.Proto()
	for _, detail := range p.GetDetails() {
		inner, bad := detail.UnmarshalNew()
		if bad != nil {
			continue // of a kind that only the caller knows
		}
		// What cannot be opened stays sealed; the error itself counts more.
		_ = c.openAll(ctx, inner)
		if bad := detail.MarshalFrom(inner); bad != nil {
			return err
		}
	}
	return status.ErrorProto(p)
}

// ReadEnv reads the configuration from the environment:
//
//	WFLO_PAYLOAD_KEYS          the keys, as ParseKeys reads them
//	WFLO_PAYLOAD_KEYS_FILE     a file that holds them, where the other is not set
//	WFLO_PAYLOAD_REFUSE_PLAIN  true: what is not sealed is refused
//
// A file that is not there is an error: to go on without it would send plain text.
func ReadEnv() (Config, error) {
	cfg := Config{Keys: os.Getenv("WFLO_PAYLOAD_KEYS")}
	if path := os.Getenv("WFLO_PAYLOAD_KEYS_FILE"); cfg.Keys == "" && path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return cfg, wflo.Errorf(wflo.CodeMissingKey, "name a readable file with WFLO_PAYLOAD_KEYS_FILE", "read payload keys: %w", err)
		}
		if cfg.Keys = string(data); cfg.Keys == "" {
			return cfg, wflo.Errorf(wflo.CodeMissingKey, "put a key there: wflo codec keys new", "the file of WFLO_PAYLOAD_KEYS_FILE is empty")
		}
	}
	switch v := os.Getenv("WFLO_PAYLOAD_REFUSE_PLAIN"); v {
	case "", "false":
	case "true":
		cfg.RefusePlain = true
	default:
		return cfg, wflo.Invalid("WFLO_PAYLOAD_REFUSE_PLAIN", "is neither true nor false", "use true or false")
	}
	return cfg, nil
}
