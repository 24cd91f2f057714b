//go:build integration

package hosts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// image is what sandboxes run, on every engine.
const image = "wflo/sandbox:1"

// engine is a container engine beside the machine's own, which can be cut off like a
// host that lost its power. It listens with TLS.
type engine struct {
	t              *testing.T
	dir            string // short, because sockets are in it
	address, certs string
	bridge         string
	*clitest.Program
}

// startEngine starts one with the image for sandboxes in it.
func startEngine(t *testing.T) *engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "wflo-d") //nolint:usetesting // t.TempDir is too long for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir, bridge: clitest.Bridge(t), certs: filepath.Join(dir, "certs"), address: "tcp://127.0.0.1:" + strconv.Itoa(free(t))}
	t.Cleanup(e.remove)
	certificates(t, e.certs)
	e.start()
	local := exec.Command("docker", "save", image)
	remote := e.docker("load")
	pipe, err := local.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	remote.Stdin = pipe
	if err := local.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := remote.CombinedOutput(); err != nil {
		t.Fatalf("load %s: %v\n%s", image, err, out)
	}
	if err := local.Wait(); err != nil {
		t.Fatal(err)
	}
	return e
}

// start starts the engine over the files that it has.
func (e *engine) start() {
	e.t.Helper()
	// A pid file of before the cut would name some other program by now.
	if err := os.Remove(filepath.Join(e.dir, "pid")); err != nil && !os.IsNotExist(err) {
		e.t.Fatal(err)
	}
	e.Program = clitest.Start(e.t, os.Environ(), "dockerd",
		"--data-root", filepath.Join(e.dir, "root"), "--exec-root", filepath.Join(e.dir, "exec"), "--pidfile", filepath.Join(e.dir, "pid"),
		"--bridge", e.bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--containerd=",
		"-H", "unix://"+filepath.Join(e.dir, "sock"), "-H", e.address, "--tlsverify", "--tlscacert", filepath.Join(e.certs, "ca.pem"),
		"--tlscert", filepath.Join(e.certs, "server-cert.pem"), "--tlskey", filepath.Join(e.certs, "server-key.pem"))
	clitest.Await(e.t, "a second engine", func() bool {
		select {
		case <-e.Ended():
			e.t.Fatalf("dockerd ended:\n%s", e.Said())
		default:
		}
		return e.docker("version").Run() == nil
	})
}

// docker is a command of the engine.
func (e *engine) docker(argv ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"-H", "unix://" + filepath.Join(e.dir, "sock")}, argv...)...)
}

// lines is what a command of the engine says.
func (e *engine) lines(argv ...string) []string {
	e.t.Helper()
	out, err := e.docker(argv...).Output()
	if err != nil {
		e.t.Fatalf("docker %v: %v", argv, err)
	}
	return strings.Fields(string(out))
}

// cut ends the engine and everything on it at once, as if its host lost its power. The
// files stay.
func (e *engine) cut() {
	all := e.processes()
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-e.Ended()
	clitest.Await(e.t, "the end of an engine's processes", func() bool {
		for _, pid := range all {
			if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !bytes.Contains(state, []byte(") Z ")) {
				return false
			}
		}
		return true
	})
}

// processes are the engine's, containerd's, and all that run below those and their
// shims.
func (e *engine) processes() (all []int) {
	below := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var queue []int
	for _, name := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		line, err := os.ReadFile(name)
		command, cerr := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		if err != nil || cerr != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		below[parent] = append(below[parent], pid)
		if pid != os.Getpid() && bytes.Contains(command, []byte(e.dir+"/")) {
			queue = append(queue, pid)
		}
	}
	seen := map[int]bool{}
	for len(queue) > 0 {
		pid := queue[0]
		if queue = queue[1:]; !seen[pid] {
			seen[pid] = true
			all, queue = append(all, pid), append(queue, below[pid]...)
		}
	}
	return all
}

// remove ends the engine and removes its files.
func (e *engine) remove() {
	if e.Program != nil {
		e.cut()
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		e.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, e.dir+"/") {
			if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) { // it went with another
				e.t.Errorf("unmount %s: %v", at, err)
			}
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		e.t.Error(err)
	}
}

// certificates makes a directory with ca.pem, cert.pem and key.pem, and with
// server-cert.pem and server-key.pem for 127.0.0.1.
func certificates(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "engines"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caKey := certificate(t, dir, "ca.pem", "ca-key.pem", ca, nil, nil)
	server := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	certificate(t, dir, "server-cert.pem", "server-key.pem", server, ca, caKey)
	client := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	certificate(t, dir, "cert.pem", "key.pem", client, ca, caKey)
}

func certificate(t *testing.T, dir, certName, keyName string, model, ca *x509.Certificate, caKey *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if ca == nil {
		ca, caKey = model, key
	}
	model.SerialNumber = big.NewInt(time.Now().UnixNano())
	model.NotBefore, model.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, model, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certName: {Type: "CERTIFICATE", Bytes: der}, keyName: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}
