// Package pid1 has the binaries that run as PID 1 of sandboxes, built from
// cmd/wflo-runner: [Binary] gives one, [ID] names it. The image that a sandbox
// runs needs nothing of it; the driver brings it along on a volume.
//
// The binaries are in the repository, so that whoever imports the library needs
// no second build. tools/pid1.sh makes them, and a test refuses old ones.
// Nothing is unpacked before it is asked for.
package pid1

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // for the binaries
	"encoding/hex"
	"fmt"
	"io"
	"sync"
)

//go:embed linux-amd64.gz
var amd64 []byte

//go:embed linux-arm64.gz
var arm64 []byte

type unpacked struct {
	content []byte
	id      string
	err     error
}

var (
	unpackAMD64 = sync.OnceValue(func() unpacked { return unpack(amd64) })
	unpackARM64 = sync.OnceValue(func() unpacked { return unpack(arm64) })
)

func unpack(packed []byte) unpacked {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return unpacked{err: fmt.Errorf("unpack PID 1: %w", err)}
	}
	content, err := io.ReadAll(z)
	if err != nil {
		return unpacked{err: fmt.Errorf("unpack PID 1: %w", err)}
	}
	sum := sha256.Sum256(content)
	return unpacked{content: content, id: hex.EncodeToString(sum[:8])}
}

func of(arch string) unpacked {
	switch arch {
	case "amd64", "x86_64":
		return unpackAMD64()
	case "arm64", "aarch64":
		return unpackARM64()
	}
	return unpacked{err: fmt.Errorf("there is no PID 1 for %.40q: use an engine on amd64 or arm64", arch)}
}

// Binary gives the static Linux binary for an architecture as Go or an engine
// names it: amd64, x86_64, arm64, aarch64. The caller must not change it.
func Binary(arch string) (content []byte, err error) {
	u := of(arch)
	return u.content, u.err
}

// ID names a binary's content in 16 hexadecimal digits, for the name of the
// volume that holds it. It is empty where Binary gives an error.
func ID(arch string) string { return of(arch).id }
