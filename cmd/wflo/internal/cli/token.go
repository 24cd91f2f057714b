package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// A key of the API comes from WFLO_TOKEN, from the file that WFLO_TOKEN_FILE names,
// or from `wflo login`, which keeps one for each address. There is no flag for it,
// because everybody on a machine can read command lines.

// maxToken bounds a key, in bytes.
const maxToken = 4 << 10

// kept is what a login leaves.
type kept struct {
	API   string `json:"api"`
	Token string `json:"token"`
}

// findToken gives the key for an address, or "" where there is none.
func findToken(base string) (string, error) {
	if token := os.Getenv("WFLO_TOKEN"); token != "" {
		return checkToken("WFLO_TOKEN", token)
	}
	if file := os.Getenv("WFLO_TOKEN_FILE"); file != "" {
		data, err := readSecret(file)
		if err != nil {
			return "", err
		}
		return checkToken(file, string(data))
	}
	file, err := loginFile(base)
	if err != nil {
		return "", nil //nolint:nilerr // without a home nobody has logged in
	}
	data, err := readSecret(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var k kept
	if json.Unmarshal(data, &k) != nil || k.API != base {
		return "", &exitError{ExitAuth, wflo.Errorf(wflo.CodeMissingKey, "log in again with: wflo login", "%s is not what wflo login wrote", file)}
	}
	return checkToken(file, k.Token)
}

// checkToken refuses what cannot be a key, without repeating it.
func checkToken(from, text string) (string, error) {
	token := strings.TrimSpace(text)
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if token == "" || len(token) > maxToken || strings.ContainsFunc(token, odd) {
		return "", &exitError{ExitAuth, wflo.Errorf(wflo.CodeMissingKey, "give the key as wflo keys create printed it", "%s holds no key", from)}
	}
	return token, nil
}

// readSecret reads a file that only its owner may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &exitError{ExitAuth, wflo.Errorf(wflo.CodeMissingKey, "make one with: wflo keys create", "read the API key: %w", err)}
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the API key: %w", err)
	}
	// Windows has no such bits.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, &exitError{ExitAuth, wflo.Errorf(wflo.CodeMissingKey, "chmod 600 "+shellWord(path)+", and make a new key if others could have read it",
			"%s can be read by others (mode %#o)", path, info.Mode().Perm())}
	}
	data, err := io.ReadAll(io.LimitReader(f, 2*maxToken))
	if err != nil {
		return nil, fmt.Errorf("read the API key: %w", err)
	}
	return data, nil
}

// loginFile is where the key of an address is kept. The name is a hash, because
// addresses are not file names.
func loginFile(base string) (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // the XDG specification wants relative paths ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", wflo.Errorf("", "set XDG_CONFIG_HOME, or use WFLO_TOKEN", "find a place for the key: %w", err)
		}
		dir = filepath.Join(home, ".config")
	}
	sum := sha256.Sum256([]byte(base))
	return filepath.Join(dir, "wflo", "login", hex.EncodeToString(sum[:12])+".json"), nil
}

// keepToken writes the key of an address down, in place of the one before.
func keepToken(base, token string) error {
	file, err := loginFile(base)
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	data, err := json.Marshal(kept{API: base, Token: token})
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	// What CreateTemp makes only its owner may read.
	f, err := os.CreateTemp(dir, ".login-*")
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the key: %w", err)
	}
	return nil
}

// askToken reads a key from the terminal without showing it, or from standard input.
func (a *app) askToken(ctx context.Context, base string) (string, error) {
	if a.interactive() {
		f, ok := a.deps.Stdin.(*os.File)
		if ok {
			fmt.Fprintf(a.deps.Stderr, "API key for %s (it is not shown): ", base)
			text, err := readHidden(ctx, f)
			fmt.Fprintln(a.deps.Stderr)
			if err != nil {
				return "", err
			}
			return checkToken("what was typed", text)
		}
	}
	data, err := io.ReadAll(io.LimitReader(a.deps.Stdin, 2*maxToken))
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return checkToken("standard input", string(data))
}
