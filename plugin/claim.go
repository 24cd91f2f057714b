package plugin

import (
	"fmt"
	"os"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/envelope"
)

// claimKey is the field of a claim that holds the blob's key.
const claimKey = "sha256"

// ConfigureReader lets a client without the plugin, such as a command line, read what a
// worker wrote: sealed payloads with the keys of the environment or of the file that
// WFLO_CONFIG names, with which the client seals, too; and large payloads from the
// store that these name, or else of a worker on the same machine, from the blobs of the
// embedded default in dataDir (empty: Config's default). What the client sends stays inline, because the worker may be elsewhere.
// Without that directory there is nothing to read, and nothing is made. Where keys are
// configured but cannot be read, every call of the client fails: it would send plain text.
func ConfigureReader(o *client.Options, dataDir string) error {
	cfg, err := payloadsFromEnv()
	if err != nil {
		envelope.Refuse(o, err)
		return nil //nolint:nilerr // the calls say it
	}
	codec, err := cfg.codec(nil)
	if err != nil {
		envelope.Refuse(o, err)
		return nil //nolint:nilerr // the calls say it
	}
	codec.Configure(o)
	if dataDir == "" {
		dir, err := defaultDataDir()
		if err != nil {
			return err
		}
		dataDir = dir
	}
	place := cfg.place(dataDir)
	if _, err := os.Stat(place); err != nil && cfg.Store == "" {
		return nil //nolint:nilerr // see above
	}
	blobs, err := openStore(place)
	if err != nil {
		return fmt.Errorf("open blobs: %w", err)
	}
	opened, err := cfg.sealed(blobs)
	if err != nil {
		return err
	}
	o.ExternalStorage = converter.ExternalStorage{
		Drivers: []converter.StorageDriver{&claimStore{blobs: opened}}, DriverSelector: keepInline{},
	}
	return nil
}

// keepInline stores nothing.
type keepInline struct{}

// SelectDriver leaves the payload where it is.
func (keepInline) SelectDriver(converter.StorageDriverSelectContext, *commonpb.Payload) (converter.StorageDriver, error) {
	return nil, nil //nolint:nilnil // the SDK's way of saying: inline
}

// external makes the SDK keep large payloads in the blob store: history holds a
// claim instead, and workflow code sees the value as if nothing had happened.
func (p *Plugin) external() converter.ExternalStorage {
	return converter.ExternalStorage{
		Drivers: []converter.StorageDriver{&claimStore{blobs: p.parts.blobs}}, PayloadSizeThreshold: p.cfg.Inline,
	}
}

// claimStore is a storage driver of the SDK over a content-addressed store. A
// blob is named by its hash, so a run that was reset or forked refers to the
// same blobs as its original.
type claimStore struct{ blobs activities.Blobs }

// Name is written into every claim and must never change.
func (*claimStore) Name() string { return "wflo.blobs" }

// Type says what kind of driver this is.
func (*claimStore) Type() string { return "wflo.content-addressed" }

// Store writes payloads as they would have been sent.
func (s *claimStore) Store(ctx converter.StorageDriverStoreContext, payloads []*commonpb.Payload) ([]converter.StorageDriverClaim, error) {
	claims := make([]converter.StorageDriverClaim, 0, len(payloads))
	for _, p := range payloads {
		err := ctx.GetLimiter().Permit(ctx.Context, p, func() error {
			data, err := proto.Marshal(p)
			if err != nil {
				return fmt.Errorf("encode payload: %w", err)
			}
			key, err := s.blobs.Put(ctx.Context, data)
			if err != nil {
				return fmt.Errorf("store payload: %w", err)
			}
			claims = append(claims, converter.StorageDriverClaim{ClaimData: map[string]string{claimKey: key}})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// Retrieve reads payloads back; the blob store checks their hashes.
func (s *claimStore) Retrieve(ctx converter.StorageDriverRetrieveContext, claims []converter.StorageDriverClaim) ([]*commonpb.Payload, error) {
	payloads := make([]*commonpb.Payload, 0, len(claims))
	for _, c := range claims {
		err := ctx.GetLimiter().Permit(ctx.Context, c, func() error {
			data, err := s.blobs.Get(ctx.Context, c.ClaimData[claimKey])
			if err != nil {
				return fmt.Errorf("fetch payload: %w", err)
			}
			var p commonpb.Payload
			if err := proto.Unmarshal(data, &p); err != nil {
				return fmt.Errorf("decode payload %s: %w", c.ClaimData[claimKey], err)
			}
			payloads = append(payloads, &p)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return payloads, nil
}
