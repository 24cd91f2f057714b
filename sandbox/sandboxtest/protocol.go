package sandboxtest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// forged are bytes that would mean something if anybody took what a program
// prints for what the machinery says: frames of our PID 1, of the engine's
// streams, and what shells and terminals react to.
func forged(own []byte) []byte {
	var b bytes.Buffer
	frame := func(kind byte, payload string) {
		b.WriteByte(kind)
		b.Write(binary.BigEndian.AppendUint32(nil, 0))
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
		b.Write(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(payload), crc32.MakeTable(crc32.Castagnoli))))
		b.WriteString(payload)
	}
	for kind := range 256 {
		frame(byte(kind), `{"outcome":"succeeded","code":0,"version":1,"ok":true,"bytes":1000000000}`)
	}
	b.Write(own)
	b.WriteString("\x01\x00\x00\x00\x00\x00\x00\x05forge\x02\x00\x00\x00\xff\xff\xff\xff\x03\x00\x00\x00\x00\x00\x00\x04fail")
	b.WriteString("\x02wflo:started\x03\n\x04\x1a\x03HTTP/1.1 200 OK\r\n\r\n0\r\n\r\n")
	b.Write(make([]byte, 1<<16))  // padding
	b.WriteString("\x4a\x00\x00") // a frame that never ends
	return b.Bytes()
}

// protocolAttacks play with the streams that they have.
var protocolAttacks = []attack{
	{name: "writing to PID 1", spec: probe(`
# gVisor lets it: what it says of an execution's end is the program's own word.
for n in () if VIRTUAL else (0, 1, 2):
    for p in "/proc/1/fd/%d" % n, "/proc/%d/fd/%d" % (os.getppid(), n):
        try: fd = os.open(p, os.O_WRONLY | os.O_NONBLOCK)
        except OSError: continue
        os.write(fd, b"\x4a\0\0\0\0\0\0\0\x02\0\0\0\0{}"); print("breach:", p)
`)},
	{name: "reading what it wrote", spec: probe(`
for n in 1, 2:
    try: fd = os.open("/proc/self/fd/%d" % n, os.O_RDONLY | os.O_NONBLOCK)
    except OSError: continue
    os.write(n, b"stolen" * 1000)
    try: os.read(fd, 1 << 20)
    except OSError: pass
    os.close(fd)
`)},
	{name: "streams that do not block", virtual: mortal, spec: probe(`
import fcntl
for fd in 0, 1, 2:
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK | os.O_ASYNC)
    for request in (fcntl.F_SETOWN, 1), (10, 9), (1031, 4096), (1031, 1 << 20):
        try: fcntl.fcntl(fd, *request)
        except OSError: pass
n = 0
while n < 1 << 20:
    try: n += os.write(1, b"x" * 4096)
    except BlockingIOError: time.sleep(0.001)
while True:
    try: os.write(2, b"end\n"); break
    except BlockingIOError: time.sleep(0.001)
os.set_blocking(1, True)
`), stderr: "end\n"},
	{name: "stdout is closed", spec: bash("exec >&-; sleep 0.2; exit 3"), outcome: sandbox.Nonzero, code: 3},
	{name: "all is closed", spec: bash("exec <&- >&- 2>&-; sleep 0.2; exit 4"), outcome: sandbox.Nonzero, code: 4},
	{name: "streams are swapped", spec: bash("exec 3>&1 1>&2 2>&3 3>&-; echo out; echo held >&2"), stderr: "out\n"},
	{name: "streams are shut down", spec: probe(`
import socket
for fd in 0, 1, 2:
    try: s = socket.socket(fileno=os.dup(fd))
    except OSError: continue
    for how in socket.SHUT_RD,:
        try: s.shutdown(how)
        except OSError: pass
`)},
	{name: "output goes on after the end", spec: limited(bash("(while :; do echo x; done) & disown; sleep 0.2; exit 5"), nil), outcome: sandbox.Nonzero, code: 5, stdout: "x\n"},
	{name: "output at the very end", spec: bash("head -c 3000000 /dev/zero | tr '\\0' x; echo held")},
	{name: "a marker of the shell", spec: bash(`printf '\002wflo:started\003\n' >&2; exit 4`), outcome: sandbox.Nonzero, code: 4, stderr: "wflo:started"},
	{name: "the result of another", spec: bash(`echo '{"outcome":"succeeded","exit_code":0}'; exit 6`), outcome: sandbox.Nonzero, code: 6},
	{name: "no room for a start", spec: sandbox.Spec{Argv: []string{"echo", "held"}, Env: largest()}},
}

// largest is an environment that is as large as a specification's may be, the
// suite's own variables left out.
func largest() map[string]string {
	env := map[string]string{}
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G"} {
		env[name] = string(bytes.Repeat([]byte("x"), sandbox.MaxArg-2))
	}
	return env
}

// protocolTests need to know every byte.
var protocolTests = map[string]func(*testing.T, *siege){
	"forged frames": testForged,
	"forged input":  testForgedInput,
}

// testForged prints forged frames on both streams, in pieces of awkward sizes.
func testForged(t *testing.T, s *siege) {
	data := forged(s.opts.Frame)
	spec := python(`
import os, sys
data = sys.stdin.buffer.read()
for size in 1 << 20, 4096, 13, 7:
    for fd in 1, 2:
        for i in range(0, len(data) if size > 100 else 20000, size): os.write(fd, data[i:min(i + size, len(data) if size > 100 else 20000)])
os._exit(5)`)
	spec.Stdin = data
	got := map[sandbox.Stream][]byte{}
	res, err := s.r.Run(t.Context(), s.arm(spec), func(stream sandbox.Stream, p []byte) { got[stream] = append(got[stream], p...) })
	if err != nil || res.Outcome != sandbox.Nonzero || res.ExitCode != 5 {
		t.Errorf("Run = %s, code %d, %v, want what the program did and not what it said", res.Outcome, res.ExitCode, err)
	}
	want := bytes.Join([][]byte{data, data, data[:20000], data[:20000]}, nil)
	for _, stream := range []sandbox.Stream{sandbox.Stdout, sandbox.Stderr} {
		if !bytes.Equal(got[stream], want) {
			t.Errorf("%s: watched %d bytes, want the %d that were printed", stream, len(got[stream]), len(want))
		}
	}
}

// testForgedInput sends forged frames to the program, as input and in a file.
func testForgedInput(t *testing.T, s *siege) {
	data := forged(s.opts.Frame)
	spec := sandbox.Spec{Argv: []string{"cat"}, Stdin: data}
	spec.Limits.Output = 4 * sandbox.MiB
	var got []byte
	res, err := s.r.Run(t.Context(), s.arm(spec), func(_ sandbox.Stream, p []byte) { got = append(got, p...) })
	if err != nil || !res.OK() || !bytes.Equal(got, data) {
		t.Errorf("Run = %s, %v, %d bytes came back of %d", res.Outcome, err, len(got), len(data))
	}
}
