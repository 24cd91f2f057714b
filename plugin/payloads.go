package plugin

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/objectstore/sealed"
)

// Payloads says how what Temporal keeps of runs is sealed, and large payloads beside it.
// Workers of a namespace, and the clients that start its runs and read them, should agree.
type Payloads struct {
	// Keys are ID:BASE64 of 32 bytes each, with commas: the first one seals, all open. Empty
	// means those of the environment, and without any that nothing is sealed.
	Keys string
	// RefusePlain refuses payloads that are not sealed. False reads them, for as long as there
	// are runs from before there were keys.
	RefusePlain bool
	// Store is where large payloads are, and what agents said: a directory, or
	// s3://BUCKET/PREFIX as of Snapshots.Store. Empty means "blobs" in Config.DataDir.
	// Workers on several machines share it, and so does who reads what they wrote. It is not
	// the place of the snapshots, whose blobs are collected.
	Store string
}

// overlaid is p under what the environment sets.
func (p Payloads) overlaid() (Payloads, error) {
	env, err := envelope.ReadEnv()
	if err != nil {
		return p, err
	}
	p.Keys, p.Store = cmp.Or(env.Keys, p.Keys), cmp.Or(os.Getenv("WFLO_PAYLOAD_STORE"), p.Store)
	if os.Getenv("WFLO_PAYLOAD_REFUSE_PLAIN") != "" {
		p.RefusePlain = env.RefusePlain
	}
	return p, nil
}

// payloadsFromEnv reads the environment and, below it, the file of WFLO_CONFIG.
func payloadsFromEnv() (Payloads, error) {
	var p Payloads
	if path := os.Getenv("WFLO_CONFIG"); path != "" {
		f, err := config.Load(path)
		if err != nil {
			return p, err
		}
		if p, err = payloadsOf(f.Payloads); err != nil {
			return p, fmt.Errorf("%s: %w", path, err)
		}
	}
	return p.overlaid()
}

// payloadsOf reads secrets from where a file says that they are.
func payloadsOf(f config.Payloads) (Payloads, error) {
	p := Payloads{RefusePlain: f.RefusePlain, Store: f.Store}
	if !f.Keys.Set() {
		return p, nil
	}
	var err error
	p.Keys, err = f.Keys.Read("keys of payloads")
	return p, err
}

// place is where large payloads are.
func (p Payloads) place(dataDir string) string {
	return cmp.Or(p.Store, filepath.Join(dataDir, "blobs"))
}

func (p Payloads) codec(logger *slog.Logger) (*envelope.Codec, error) {
	return envelope.New(envelope.Config{Keys: p.Keys, RefusePlain: p.RefusePlain, Logger: logger})
}

// sealed gives a store whose blobs are sealed with the same keys, which are used for nothing
// twice: both sides derive their own from them. Equal ones are sealed alike, so that they
// are stored once.
func (p Payloads) sealed(blobs activities.BlobStore) (activities.Blobs, error) {
	if p.Keys == "" {
		return blobs, nil
	}
	keys, err := sealed.ParseKeys(p.Keys)
	if err != nil {
		return nil, err
	}
	store, err := sealed.Open(sealed.Config{Blobs: blobs, Keys: keys, AllowPlain: !p.RefusePlain})
	if err != nil {
		return nil, fmt.Errorf("seal blobs: %w", err)
	}
	return store, nil
}

// configureReplayer lets histories be replayed that were saved as the server has them.
func (p *Plugin) configureReplayer(o *worker.WorkflowReplayerOptions) error {
	o.ExternalStorage = p.external()
	o.DataConverter = p.envelope.Converter(o.DataConverter)
	if o.FailureConverter == nil {
		o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: o.DataConverter})
	}
	return nil
}

// PayloadCodec is what clients of this environment seal and open payloads with, from the
// environment and the file that WFLO_CONFIG names: for programs that open payloads
// themselves, such as a codec server. Without keys it seals nothing. logger may be nil.
func PayloadCodec(logger *slog.Logger) (*envelope.Codec, error) {
	p, err := payloadsFromEnv()
	if err != nil {
		return nil, err
	}
	return p.codec(logger)
}
