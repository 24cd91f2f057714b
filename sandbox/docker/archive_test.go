package docker

import (
	"flag"
	"os"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// many is how many small files are saved and brought back at once. The default is past
// what is under way at a time; make soak takes 100,000.
var many = flag.Int("many", 16_000, "small files that are saved and brought back at once")

func TestArchiver(t *testing.T) {
	t.Parallel()
	sandboxtest.TestArchiver(t, func(t *testing.T) sandboxtest.ArchivingRunner { return open(t, nil) }, sandboxtest.ArchiverOptions{Programs: true, Many: *many})
}

// TestArchiverGVisor is the same where PID 1 has a kernel of gVisor.
func TestArchiverGVisor(t *testing.T) {
	if os.Getenv("WFLO_TEST_GVISOR") == "off" {
		t.Log("gVisor is off on this machine, and TestGVisor holds that it is refused")
		return
	}
	t.Parallel()
	sandboxtest.TestArchiver(t, func(t *testing.T) sandboxtest.ArchivingRunner {
		return open(t, func(c *Config) { c.Runtime = sandbox.Runsc })
	}, sandboxtest.ArchiverOptions{Programs: true, Virtual: true, Many: 2000})
}
