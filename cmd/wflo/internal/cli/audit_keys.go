package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/config"
)

// auditKeyFlags say what whoever verifies knows from elsewhere.
type auditKeyFlags struct {
	checkpoints, keys string
	marks             []string
}

func (f *auditKeyFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.checkpoints, "checkpoints", "", "directory of the signed checkpoints")
	flags.StringVar(&f.keys, "keys", "", "file with the public keys: the worker's configuration (.yaml), or JSON\nwith terms and checkpoint_keys as in the first line of an export")
	flags.StringArrayVar(&f.marks, "checkpoint-key", nil, "public key that checkpoints are signed with, in base64, or NAME=KEY; may be repeated")
}

// auditKeys are keys and checkpoints from elsewhere than the trail.
type auditKeys struct {
	Terms          wflo.Terms        `json:"terms"`
	CheckpointKeys map[string]string `json:"checkpoint_keys"`
	// any verifies checkpoints of names that have no key of their own; empty means
	// that there is none.
	any string
	dir string
}

// maxKeyFile bounds a file of keys, in bytes.
const maxKeyFile = 1 << 20

func (a *app) auditKeys(ctx context.Context, f auditKeyFlags) (auditKeys, error) {
	k := auditKeys{CheckpointKeys: map[string]string{}}
	switch ext := strings.ToLower(filepath.Ext(f.keys)); {
	case f.keys == "":
	case ext == ".yaml", ext == ".yml":
		if err := k.fromConfig(f.keys); err != nil {
			return k, err
		}
	default:
		data, err := a.readInput(ctx, f.keys, maxKeyFile)
		if err != nil {
			return k, err
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&k); err != nil {
			return k, wflo.Errorf(wflo.CodeInvalid, `such as {"terms":{"keys":{"NAME":"BASE64"}},"checkpoint_keys":{"NAME":"BASE64"}}`, "keys in %s: %w", f.keys, err)
		}
	}
	if k.CheckpointKeys == nil {
		k.CheckpointKeys = map[string]string{}
	}
	for _, given := range f.marks {
		name, key := "", given
		if !isPublicKey(given) {
			name, key, _ = strings.Cut(given, "=")
		}
		switch {
		case !isPublicKey(key):
			return k, Usage("give what wflo keygen printed", "--checkpoint-key is not an Ed25519 public key in base64")
		case name == "":
			k.any = key
		default:
			k.CheckpointKeys[name] = key
		}
	}
	if f.checkpoints != "" {
		k.dir = f.checkpoints
	}
	return k, k.checkDir()
}

func isPublicKey(text string) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(raw) == ed25519.PublicKeySize
}

// fromConfig takes the keys of the worker's configuration. The private key that signs
// checkpoints is seldom where somebody verifies; then its public half is to be given.
func (k *auditKeys) fromConfig(path string) error {
	file, err := config.Load(path)
	if err != nil {
		return err
	}
	k.Terms, k.dir = file.Approvals.Terms, file.Audit.Checkpoints
	if file.Audit.Key == "" {
		return nil
	}
	signer, err := approver.Load(file.Audit.Key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	k.CheckpointKeys[signer.Name] = signer.Public()
	return nil
}

// checkDir refuses a directory that is not there: its checkpoints would seem to be
// none.
func (k *auditKeys) checkDir() error {
	if k.dir == "" {
		return nil
	}
	if info, err := os.Stat(k.dir); err != nil || !info.IsDir() {
		return wflo.Errorf(wflo.CodeInvalid, "mount it, or name another with --checkpoints", "checkpoints: %s is not a directory", k.dir)
	}
	return nil
}

// marks are the checkpoints of the directory and those that came with an export; of
// one chain, if it is named.
func (k *auditKeys) marks(ctx context.Context, chain string, more []wflo.Checkpoint) ([]wflo.Checkpoint, error) {
	if k.dir != "" {
		listed, err := (&audit.Directory{Path: k.dir}).List(ctx)
		if err != nil {
			return nil, err
		}
		more = append(listed, more...)
	}
	type mark struct {
		chain string
		seq   int64
		sig   string
	}
	seen, out := map[mark]bool{}, []wflo.Checkpoint(nil)
	for _, c := range more {
		if m := (mark{c.Chain, c.Seq, c.Signature}); !seen[m] && (chain == "" || chain == c.Chain) {
			seen[m], out = true, append(out, c)
		}
	}
	return out, nil
}

// named are the keys by name, with the one for all names under those that have none
// of their own.
func (k *auditKeys) named(marks []wflo.Checkpoint) map[string]string {
	all := maps.Clone(k.CheckpointKeys)
	for _, c := range marks {
		if _, ok := all[c.Key]; !ok && k.any != "" {
			all[c.Key] = k.any
		}
	}
	return all
}

// options are those of a verification.
func (k *auditKeys) options(marks []wflo.Checkpoint) audit.Options {
	return audit.Options{Checkpoints: marks, CheckpointKeys: k.named(marks), Terms: k.Terms}
}

// own takes the keys of an export for those of whoever verifies.
func (k *auditKeys) own(h audit.Header) {
	k.Terms = h.Terms
	maps.Copy(k.CheckpointKeys, h.CheckpointKeys)
}
