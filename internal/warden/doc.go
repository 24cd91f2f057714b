// Package warden is PID 1 of a sandbox: it runs one program after another for
// the worker at the other end of its standard input and output, in the language
// of internal/frame, and holds the limits that a container cannot.
//
// [Main] is all of cmd/wflo-runner; [Run] is the same with other folders, for
// tests. Everything below them trusts the worker and nobody else: programs have
// its user, its file systems and may send it signals. It therefore never follows
// a link of theirs, never waits for them without a way out, and never does
// anything because of a signal.
//
// It refuses a second job while one runs, names that leave the workspace, and a
// stream that it no longer understands: then it ends everything, itself too.
package warden

import "time"

// Options are where PID 1 works. The zero value is right in a container.
type Options struct {
	Workspace string   // the programs' folder; zero means /workspace
	Scratch   string   // for the worker's files outside of it; zero means /run/wflo
	Temp      []string // other folders that are emptied after a job; zero means /tmp and /dev/shm
	Cgroup    string   // zero means /sys/fs/cgroup
	Proxy     string   // host:port to listen on for programs; zero means 127.0.0.1:3128
	// Silence is how long the worker may say nothing; zero means 60 s.
	Silence time.Duration
	// Keep is how long the result of a job waits for a worker that adopts it;
	// zero means 10 min.
	Keep time.Duration
}

// source is the hash of the files that this was built from; the linker sets it.
var source = "unknown"
