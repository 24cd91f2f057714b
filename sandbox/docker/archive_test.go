package docker

import (
	"os"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

func TestArchiver(t *testing.T) {
	sandboxtest.TestArchiver(t, func(t *testing.T) sandboxtest.ArchivingRunner { return open(t, nil) }, sandboxtest.ArchiverOptions{Programs: true, Many: 100_000})
}

// TestArchiverGVisor is the same where PID 1 has a kernel of gVisor.
func TestArchiverGVisor(t *testing.T) {
	if os.Getenv("WFLO_TEST_GVISOR") == "off" {
		t.Log("gVisor is off on this machine, and TestGVisor holds that it is refused")
		return
	}
	sandboxtest.TestArchiver(t, func(t *testing.T) sandboxtest.ArchivingRunner {
		return open(t, func(c *Config) { c.Runtime = sandbox.Runsc })
	}, sandboxtest.ArchiverOptions{Programs: true, Virtual: true, Many: 2000})
}
