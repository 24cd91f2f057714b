package docker

import (
	"log/slog"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// TestHostsAreARunner: several hosts pass what the suite has for a runner that hands on;
// TestHostsHandOn holds that this one changes nothing on the way. They are one engine
// under two owners, which do not see each other.
func TestHostsAreARunner(t *testing.T) {
	t.Parallel()
	secrets := sandboxtest.NewSecrets()
	sandboxtest.Test(t, func(t *testing.T) sandbox.Runner {
		c := HostsConfig{Places: &fakePlaces{all: map[string]sandbox.Place{}}, Runners: map[string]HostRunner{}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
		for _, name := range []string{"a", "b"} {
			c.Runners[name] = open(t, func(c *Config) { c.Secrets = secrets })
		}
		h, err := NewHosts(c)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}, sandboxtest.Options{Secrets: secrets, Hands: true})
}
