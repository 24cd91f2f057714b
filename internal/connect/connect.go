// Package connect says how the programs reach Temporal, by the settings that all of
// Temporal's tools have: the variables TEMPORAL_... and the profiles of the file that
// TEMPORAL_CONFIG_FILE names. Call [Load] for a client's options, and [Explain] with the
// error of a client that could not connect.
//
// What it adds to the SDK's reader is that secrets may change: an API key in a file and a
// client certificate are read again when they do. An API key is refused where it would
// travel without TLS. Errors name files and settings, and never what is in them.
package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
)

// Load reads the settings; an empty profile means that of TEMPORAL_PROFILE, or "default".
// Besides the standard ones there is TEMPORAL_API_KEY_FILE, a file with the API key, which
// is read again when it changes. Errors are *wflo.Error.
func Load(profile string) (client.Options, error) {
	conf, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{ConfigFileProfile: profile})
	if err != nil {
		return client.Options{}, settings(err)
	}
	path := os.Getenv("TEMPORAL_API_KEY_FILE")
	if path != "" {
		key := &secretFile{path: path}
		if conf.APIKey, err = key.get(context.Background()); err != nil { // also turns on TLS
			return client.Options{}, err
		}
	}
	o, err := conf.ToClientOptions(envconfig.ToClientOptionsRequest{})
	if err != nil {
		return client.Options{}, settings(err)
	}
	_, header := conf.GRPCMeta["authorization"]
	if (conf.APIKey != "" || header) && (o.ConnectionOptions.TLS == nil || o.ConnectionOptions.TLSDisabled) {
		return client.Options{}, wflo.Errorf(wflo.CodeInvalid, "leave TEMPORAL_TLS and the profile's tls.disabled out, or do without the API key", "the API key, or what stands for one, would be sent without TLS")
	}
	if path != "" {
		o.Credentials = client.NewAPIKeyDynamicCredentials((&secretFile{path: path}).get)
	}
	if t := o.ConnectionOptions.TLS; t != nil {
		t.MinVersion = tls.VersionTLS12
		if conf.TLS != nil && conf.TLS.ClientCertPath != "" {
			pair := &pair{cert: conf.TLS.ClientCertPath, key: conf.TLS.ClientKeyPath}
			t.Certificates, t.GetClientCertificate = nil, pair.get
		}
	}
	return o, nil
}

func settings(err error) error {
	return wflo.Errorf(wflo.CodeInvalid, "check the TEMPORAL_ variables and the profile", "connection settings: %w", err)
}

// secretFile is a file with one secret, which is read again when it changes.
type secretFile struct {
	path string

	mu      sync.Mutex
	changed time.Time
	value   string
}

// get is for client.NewAPIKeyDynamicCredentials, which asks before each call. A file that
// is just being replaced leaves the value of before.
func (f *secretFile) get(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := modified(f.path)
	if f.value != "" && now.Equal(f.changed) {
		return f.value, nil
	}
	data, err := os.ReadFile(f.path)
	value := strings.TrimSpace(string(data))
	if err == nil && value != "" {
		f.value, f.changed = value, now
	}
	if f.value != "" {
		return f.value, nil
	}
	if err == nil {
		err = fmt.Errorf("%s is empty", f.path)
	}
	return "", wflo.Errorf(wflo.CodeMissingKey, "put the API key into the file that TEMPORAL_API_KEY_FILE names", "read Temporal's API key: %w", err)
}

// pair is a client certificate with its key in files, which are read again when they
// change. The next connection has the new one; connections that are open stay.
type pair struct {
	cert, key string

	mu      sync.Mutex
	changed [2]time.Time
	loaded  *tls.Certificate
}

// get is a tls.Config's GetClientCertificate. Files that do not fit each other, because one
// is not replaced yet, leave the pair of before.
func (p *pair) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := [2]time.Time{modified(p.cert), modified(p.key)}
	if p.loaded != nil && now == p.changed {
		return p.loaded, nil
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil && p.loaded == nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	if err == nil {
		p.loaded, p.changed = &c, now
	}
	return p.loaded, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
