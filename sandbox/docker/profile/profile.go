// Package profile holds the two profiles that a sandbox runs under: a seccomp
// filter, which says what programs may ask the kernel for, and an AppArmor
// profile, which says what they may do with files, mounts and other processes
// where the host has AppArmor.
//
// Call [Seccomp] and pass the text to the engine as the security option
// "seccomp=" + text. The same text is the file seccomp.json, for
// "docker run --security-opt seccomp=seccomp.json". Load [AppArmor] into the
// host's kernel with apparmor_parser, once, and name it to the engine as
// "apparmor=" + [AppArmorName].
//
// The filter is a list of what is allowed, for the machine's own system calls
// only: rules.go has it group by group, with a reason for each. It refuses
// what has let programs out of containers before, whether or not the process
// holds capabilities: other namespaces, mounts, io_uring, BPF, keyrings, other
// programs' memory, address families beside Unix and the Internet's, and the
// 32-bit system calls of a 64-bit machine. Debuggers, packet sniffers and
// containers inside the sandbox therefore do not work in it.
package profile

import (
	"bytes"
	_ "embed" // the two files
	"encoding/json"
	"sync"
)

// AppArmorName is what [AppArmor] calls its profile.
const AppArmorName = "wflo-sandbox"

var (
	//go:embed seccomp.json
	seccomp []byte
	//go:embed apparmor
	apparmor string
)

var compact = sync.OnceValue(func() string {
	var b bytes.Buffer
	if err := json.Compact(&b, seccomp); err != nil {
		panic("seccomp.json is not JSON: " + err.Error()) // the tests read it
	}
	return b.String()
})

// Seccomp is the seccomp filter in Docker's format, as JSON in one line. It
// holds no version-dependent fields: engines from 20.10 on take it.
func Seccomp() string { return compact() }

// AppArmor is the AppArmor profile as apparmor_parser reads it, version 3 or
// later.
func AppArmor() string { return apparmor }
