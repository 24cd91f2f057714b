package pid1

import (
	"testing"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// BenchmarkFirstByte is from the job's frames to its first output, in a container
// that waits.
func BenchmarkFirstByte(b *testing.B) {
	box := open(b)
	m := script("echo x")
	for b.Loop() {
		box.start(m)
		for box.read().Type != frame.Stdout {
		}
		b.StopTimer()
		box.wait(nil)
		b.StartTimer()
	}
}

// BenchmarkJob is from a job's frames to its Exit, with everything that is done
// before and after.
func BenchmarkJob(b *testing.B) {
	box := open(b)
	m := script("echo x")
	for b.Loop() {
		box.run(m)
	}
}

// BenchmarkOutput is how fast output comes through PID 1, the engine and its
// client.
func BenchmarkOutput(b *testing.B) {
	const size = 1 << 30
	box := open(b)
	m := script("head -c 1073741824 /dev/zero")
	m.OutputTotal = 2 * size
	b.SetBytes(size)
	for b.Loop() {
		box.start(m)
		got := 0
		for got < size {
			if f := box.read(); f.Type == frame.Stdout {
				got += len(f.Data)
			}
		}
		if r := box.wait(nil); r.Outcome != sandbox.Succeeded {
			b.Fatalf("%+v", r.ExitMsg)
		}
	}
}
