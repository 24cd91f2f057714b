// Package envelope seals what Temporal keeps of a run: inputs and results, signals,
// updates and queries, memos, headers, summaries, and the messages and stack traces of
// failures. Whoever reads the server, its database or its backups sees names, times and
// sizes. Call [FromEnv] with the options of a client, and everything that the client
// sends is sealed with the first key of WFLO_PAYLOAD_KEYS; everything it gets is opened
// with any of them. A [Codec] is also Temporal's converter.PayloadCodec, for programs
// that open payloads themselves, such as a codec server.
//
// Sealing happens on the connection, below the SDK, because that is the one place which
// everything passes: interceptors, propagators and readers of histories need not know.
//
// A payload that cannot be opened never reaches workflow code: its task fails, stays
// with the server and is tried again. What is not sealed by this package is left as it
// is, unless Config.RefusePlain says that there is no such thing.
package envelope

import (
	"cmp"
	"fmt"
	"log/slog"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
)

// The metadata of a sealed payload. Encoding is a name of our own: other codecs call
// theirs binary/encrypted, and must not be taken for this one.
const (
	// Encoding says that a payload is sealed by this package.
	Encoding = "binary/wflo-sealed"
	// MetadataKeyID names the key that opens it.
	MetadataKeyID = "wflo-key"

	// metadataRefused marks what stands in for a payload that was refused.
	metadataRefused = "wflo-refused"
)

// domain is what keys are derived for and what every payload is bound to; its end is the
// version of the format.
const domain = "wflo.payload.v1"

// Config says what is sealed with what. The zero value seals nothing, and refuses what is
// sealed.
type Config struct {
	// Keys are what ParseKeys reads. Empty means that there are none.
	Keys string
	// RefusePlain refuses payloads that are not sealed. False reads them: runs from before
	// there were keys go on.
	RefusePlain bool
	// Logger is told of tasks that cannot be read, without their content; nil means
	// slog.Default.
	Logger *slog.Logger
}

// Codec seals and opens payloads. It is a converter.PayloadCodec. Its methods may be
// called at the same time.
type Codec struct {
	keys        Keys
	refusePlain bool
	log         *slog.Logger
}

var _ converter.PayloadCodec = (*Codec)(nil)

// New reads the keys. Errors are *wflo.Error and quote no key.
func New(cfg Config) (*Codec, error) {
	c := &Codec{refusePlain: cfg.RefusePlain, log: cmp.Or(cfg.Logger, slog.Default())}
	if cfg.Keys == "" {
		if cfg.RefusePlain {
			return nil, wflo.Errorf(wflo.CodeMissingKey, "set WFLO_PAYLOAD_KEYS; a fresh key is printed by: wflo codec keys new",
				"plain payloads are refused, but there is no payload key")
		}
		return c, nil
	}
	var err error
	c.keys, err = ParseKeys(cfg.Keys)
	return c, err
}

// Keys are what the codec seals and opens with.
func (c *Codec) Keys() Keys { return c.keys }

// Encode seals payloads with the first key; without keys it gives them back. What is sealed
// already stays as it is.
func (c *Codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	if c.keys.Writes() == "" {
		return payloads, nil
	}
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if Sealed(p) {
			out[i] = p
			continue
		}
		var err error
		if out[i], err = c.keys.seal(p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Decode opens payloads. One that cannot be opened is an *wflo.Error that names its key;
// one that is not sealed is given back, or refused.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		var err error
		if out[i], err = c.open(p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Sealed says whether a payload is sealed by this package.
func Sealed(p *commonpb.Payload) bool {
	return string(p.GetMetadata()[converter.MetadataEncoding]) == Encoding
}

func (c *Codec) open(p *commonpb.Payload) (*commonpb.Payload, error) {
	if !Sealed(p) {
		if c.refusePlain {
			return nil, errPlain()
		}
		return p, nil
	}
	if _, refused := p.GetMetadata()[metadataRefused]; refused {
		return nil, errPlain()
	}
	return c.keys.open(p)
}

func errPlain() error {
	return wflo.Errorf(wflo.CodeMissingKey, "give the sender the keys, or read what is plain with WFLO_PAYLOAD_REFUSE_PLAIN=false",
		"a payload is not sealed, and plain ones are refused")
}

// refused stands in for a plain payload, so that no reader takes it for one that was
// opened.
func refused() *commonpb.Payload {
	return &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(Encoding), metadataRefused: []byte("plain")}}
}

// seal makes the sealed payload of one that is not: its data are a nonce of 24 bytes and
// the encrypted message, metadata and all, with its tag of 16 bytes.
func (k Keys) seal(p *commonpb.Payload) (*commonpb.Payload, error) {
	message, err := proto.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return &commonpb.Payload{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(Encoding), MetadataKeyID: []byte(k.first)},
		Data:     k.all[k.first].seal(message, bound(k.first)),
	}, nil
}

func (k Keys) open(p *commonpb.Payload) (*commonpb.Payload, error) {
	id := string(p.GetMetadata()[MetadataKeyID])
	if !validID(id) { // it goes into errors and logs
		return nil, wflo.Errorf(wflo.CodeInvalid, "it was changed on its way; look at who writes to Temporal", "a sealed payload names no key")
	}
	with, ok := k.all[id]
	if !ok {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "add the key "+id+" to WFLO_PAYLOAD_KEYS, behind the one that seals", "a payload is sealed with the key %q, which is not here", id)
	}
	message, err := with.open(p.GetData(), bound(id))
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "compare the key with that of the sender; keys that differ need IDs that differ",
			"a payload that is sealed with the key %q was changed, or the key is another one", id)
	}
	inner := &commonpb.Payload{}
	if err := proto.Unmarshal(message, inner); err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "use one version of wflo on all sides", "what the key %q sealed is no payload", id)
	}
	return inner, nil
}

// bound is what a payload is sealed to besides its content, so that one cannot be
// relabelled as another key's or another format's.
func bound(id string) []byte { return []byte(domain + "\x00" + id) }
