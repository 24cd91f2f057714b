// Command program does what ordinary Go programs do, and fails if any of it
// does not work: goroutines on many threads, files, child processes, timers,
// signals, and servers on the loopback interface.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Print("child")
		return
	}
	for _, part := range []struct {
		name string
		do   func() error
	}{{"threads", threads}, {"files", files}, {"child", child}, {"signals", signals}, {"http", serve}, {"unix", unix}, {"interfaces", interfaces}} {
		if err := part.do(); err != nil {
			fmt.Println(part.name, err)
			os.Exit(1)
		}
	}
	fmt.Println("all good")
}

func threads() error {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			runtime.LockOSThread()
			<-time.After(time.Millisecond)
		})
	}
	wg.Wait()
	runtime.GC()
	return nil
}

func files() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte(rand.Text()), 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(name, 0o640), os.Chtimes(name, time.Now(), time.Now()), os.Rename(name, name+"2"), os.Symlink("f2", name)); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	in, err := root.Open("f")
	if err != nil {
		return err
	}
	out, err := root.Create("copy")
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil { // copy_file_range
		return err
	}
	return errors.Join(in.Close(), out.Close(), root.Close(), os.RemoveAll(dir))
}

func child() error {
	c := exec.Command("/proc/self/exe", "child")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if err == nil && string(out) != "child" {
		err = fmt.Errorf("printed %q", out)
	}
	return err
}

func signals() error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		return err
	}
	<-c
	return nil
}

func serve() error {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})}
	go s.Serve(l) //nolint:errcheck // Close ends it
	res, err := http.Post("http://"+l.Addr().String(), "text/plain", bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && n != 1<<20 {
		err = fmt.Errorf("got %d bytes", n)
	}
	return errors.Join(err, res.Body.Close(), s.Close())
}

func unix() error {
	c, err := net.ListenPacket("unixgram", filepath.Join(os.TempDir(), "s"))
	if err != nil {
		return err
	}
	return c.Close()
}

func interfaces() error {
	all, err := net.Interfaces()
	if err == nil && len(all) == 0 {
		err = errors.New("none")
	}
	return err
}
