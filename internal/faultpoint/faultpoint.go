// Package faultpoint breaks wflo at moments that have a name, so that tests can kill a
// worker there, or tell it that what it has just done failed. Code calls [Hit] at such a
// moment and returns the error; a test says with [Arm] what happens.
//
// It is a pointer that is nil unless a test sets it, and not a build tag: what is tested
// is what ships, and being off costs one load. Nothing outside of the process can set it:
// it reads no environment, no file and no flag.
package faultpoint

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Killed is the exit code of a process that [Exit] ended: that of a process that a
// SIGKILL ended.
const Killed = 137

// Fault says what happens at a point: nil goes on, an error is what the caller gets. It
// may end the process. It is called from any goroutine.
type Fault func(point string) error

var armed atomic.Pointer[Fault]

// Hit gives what the armed fault says of a point; nil where none is armed.
func Hit(point string) error {
	f := armed.Load()
	if f == nil {
		return nil
	}
	return (*f)(point)
}

// Armed says that a fault is armed.
func Armed() bool { return armed.Load() != nil }

// Arm sets the fault of the process. disarm takes it away.
func Arm(f Fault) (disarm func()) {
	armed.Store(&f)
	return func() { armed.Store(nil) }
}

// ErrInjected is what points give that fail.
var ErrInjected = errors.New("a fault that a test asked for")

// Fail makes a point fail. Of a point that comes after some work it says that what was
// done failed.
func Fail(point string) error { return fmt.Errorf("%s: %w", point, ErrInjected) }

// Delay makes whoever comes by a point wait.
func Delay(d time.Duration) Fault {
	return func(string) error {
		<-time.After(d)
		return nil
	}
}

// Exit ends the process at once, as a SIGKILL would: nothing is closed or flushed.
func Exit(string) error {
	os.Exit(Killed)
	return nil
}

// At has something happen at the nth time that a point is hit, counted from 1, and
// nothing else. It happens once.
func At(point string, n int, then Fault) Fault {
	var hits atomic.Int64
	return func(p string) error {
		if p != point || hits.Add(1) != int64(n) {
			return nil
		}
		return then(p)
	}
}

// Log counts hits, and tells each of them to told: its point, and how often that was hit.
func Log(told func(point string, n int)) Fault {
	var mu sync.Mutex
	hits := map[string]int{}
	return func(p string) error {
		mu.Lock()
		defer mu.Unlock()
		hits[p]++
		told(p, hits[p])
		return nil
	}
}
