package console

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// axe-core looks for what keeps people from using a page. It is no part of the program: the
// tests get it from npm, once, and check that it is what it was when it was chosen.
const (
	axeVersion = "4.14.1"
	axeSHA512  = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

var axeOnce = sync.OnceValues(func() (string, error) {
	caches, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	registry := strings.TrimSuffix(cmp.Or(os.Getenv("npm_config_registry"), "https://registry.npmjs.org"), "/")
	dir := filepath.Join(caches, "wflo", "npm")
	file := filepath.Join(dir, "axe-core-"+axeVersion+".tgz")
	packed, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		if err := download(registry+"/axe-core/-/axe-core-"+axeVersion+".tgz", file); err != nil {
			return "", fmt.Errorf("get axe-core (npm_config_registry names another registry): %w", err)
		}
		packed, err = os.ReadFile(file)
	}
	if err != nil {
		return "", err
	}
	if sum := sha512.Sum512(packed); base64.StdEncoding.EncodeToString(sum[:]) != axeSHA512 {
		return "", errors.New(file + " is not the axe-core that was chosen; remove it")
	}
	return unpack(packed, "package/axe.min.js")
})

// download writes what an address serves to a file, whole or not at all.
func download(address, file string) error {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true} // no connection is left behind
	resp, err := (&http.Client{Transport: transport}).Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, resp.Status)
	}
	part := file + ".part"
	if err := os.WriteFile(part, data, 0o644); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// unpack reads one file of a package.
func unpack(packed []byte, name string) (string, error) {
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", err
	}
	for files := tar.NewReader(plain); ; {
		head, err := files.Next()
		if err != nil {
			return "", err
		}
		if head.Name == name {
			data, err := io.ReadAll(files)
			return string(data), err
		}
	}
}

// fault is something that axe found.
type fault struct {
	ID, Impact, Help string
	Nodes            []string
}

const axeRun = `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => (
	{ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + (n.any[0]?.message ?? ""))})))`

// sound fails the test where axe finds something on the page that is moderate or worse.
func (b *chromiumUser) sound(what string) {
	b.t.Helper()
	source, err := axeOnce()
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.Evaluate[chromedp.Void](source))
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]fault](axeRun, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	for _, f := range found {
		if f.Impact != "minor" {
			b.t.Errorf("%s: %s (%s): %s\n\t%s", what, f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n\t"))
		}
	}
}

// A page that is not sound is found out.
func TestAxeFindsFaults(t *testing.T) {
	b := chromiumWith(t, phone, "imagesEnabled=false")
	b.do(chromedp.Navigate(`data:text/html,<html><title>x</title><main><h1>x</h1><input><p style="color:%23999;background:%23fff">pale</p></main>`))
	source, err := axeOnce()
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Evaluate[chromedp.Void](source))
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]fault](axeRun, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	ids := ""
	for _, f := range found {
		ids += f.ID + " "
	}
	for _, want := range []string{"label", "color-contrast", "html-has-lang"} {
		if !strings.Contains(ids, want) {
			t.Errorf("axe finds %q, and not %s", ids, want)
		}
	}
}
