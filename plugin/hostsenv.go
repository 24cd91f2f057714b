package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// hostsFromEnv reads the engines that sandboxes run on.
func hostsFromEnv(e *environment, d *docker.Config) {
	read(e, "WFLO_SANDBOX_HOSTS", &d.Hosts, parseHosts, "NAME=ADDRESS with commas, such as a=tcp://10.0.0.1:2376,b=tcp://10.0.0.2:2376")
	certificates(d, os.Getenv("WFLO_SANDBOX_CERTS"))
	e.duration("WFLO_SANDBOX_HOST_GONE", &d.HostGone)
	read(e, "WFLO_SANDBOX_KEEP", &d.KeepLess, parseKeep, "steps or snapshots")
}

// SandboxEngines gives the engine or the engines that the environment names for
// sandboxes, as a worker reads it: Host, CertPath and Hosts, and nothing else.
func SandboxEngines() (d docker.Config, err error) {
	e := &environment{}
	d.Host = os.Getenv("WFLO_SANDBOX_HOST")
	hostsFromEnv(e, &d)
	if e.err == nil && d.Host != "" && len(d.Hosts) > 0 {
		e.err = wflo.Invalid("WFLO_SANDBOX_HOSTS", "is set, and WFLO_SANDBOX_HOST as well", "give one of them")
	}
	return docker.Config{Host: d.Host, CertPath: d.CertPath, Hosts: d.Hosts}, e.err
}

func parseHosts(text string) ([]docker.Host, error) {
	var out []docker.Host
	for item := range strings.SplitSeq(text, ",") {
		name, address, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" || address == "" {
			return nil, fmt.Errorf("%q is not NAME=ADDRESS", item)
		}
		out = append(out, docker.Host{Name: name, Address: address})
	}
	return out, nil
}

// certificates gives each host at a tcp address its directory: the one of its name in
// dir, where there is one, and otherwise dir itself.
func certificates(d *docker.Config, dir string) {
	if dir != "" && len(d.Hosts) == 0 {
		d.CertPath = dir
	}
	for i, host := range d.Hosts {
		if dir == "" || !strings.HasPrefix(host.Address, "tcp://") {
			continue
		}
		d.Hosts[i].CertPath = dir
		own := filepath.Join(dir, host.Name)
		if info, err := os.Stat(own); err == nil && info.IsDir() {
			d.Hosts[i].CertPath = own
		}
	}
}

// parseKeep says whether only snapshots keep workspaces.
func parseKeep(text string) (bool, error) {
	switch text {
	case "steps":
		return false, nil
	case "snapshots":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither", text)
}
