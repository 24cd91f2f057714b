// Package deploy carries the recipe of the sandbox image inside programs, so
// that `wflo sandbox image build` works where there is no checkout. Call
// [SandboxImage].
//
// The package refuses to do anything with the recipe: whoever runs it decides
// where, and with which rights.
package deploy

import (
	"embed"
	"io/fs"
)

// SandboxImageScript is the name of the script in SandboxImage that builds the
// image; run it with bash, as root, beside the other files.
const SandboxImageScript = "build.sh"

//go:embed sandbox-image
var files embed.FS

// SandboxImage is the folder deploy/sandbox-image. Its files have no executable
// bit.
func SandboxImage() fs.FS {
	image, err := fs.Sub(files, "sandbox-image")
	if err != nil {
		panic(err) // the name is a constant, and clean
	}
	return image
}
