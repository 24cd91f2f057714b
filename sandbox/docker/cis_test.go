package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/system"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/profile"
)

// benchmark is section 5 of the CIS Docker Benchmark 1.6, container runtime, as
// docker-bench-security numbers it. Not applicable are: 5.3 (SELinux) on a host
// without it; 5.6 of version 1.5, ssh, because nothing runs but PID 1 and the
// program; 5.23 and 5.24, options of docker exec, because no exec is ever made,
// see ExecIDs; 5.27, images by digest, which is that an image's id is asked for;
// 5.30, user-defined networks, because there is no network. Its 5.14, at most 5
// restarts, is held by none.
var benchmark = map[string]func(c container.InspectResponse, info system.Info) bool{
	"5.1 no swarm services": func(c container.InspectResponse, _ system.Info) bool {
		return c.Config.Labels["com.docker.swarm.service.id"] == ""
	},
	"5.2 AppArmor, where the host has it": func(c container.InspectResponse, info system.Info) bool {
		if !slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=apparmor") }) {
			return true
		}
		return c.AppArmorProfile == profile.AppArmorName || c.AppArmorProfile == "docker-default"
	},
	"5.4 no capabilities": func(c container.InspectResponse, _ system.Info) bool {
		return len(c.HostConfig.CapAdd) == 0 && slices.Equal(c.HostConfig.CapDrop, []string{"ALL"})
	},
	"5.5 not privileged":      func(c container.InspectResponse, _ system.Info) bool { return !c.HostConfig.Privileged },
	"5.6 nothing of the host": ownMounts,
	"5.8 no privileged ports": func(c container.InspectResponse, _ system.Info) bool {
		return len(c.HostConfig.PortBindings) == 0 && !c.HostConfig.PublishAllPorts
	},
	"5.9 no ports at all": func(c container.InspectResponse, _ system.Info) bool {
		return len(c.Config.ExposedPorts) == 0 && len(c.NetworkSettings.Ports) == 0
	},
	"5.10 not the host's network": func(c container.InspectResponse, _ system.Info) bool {
		n := c.HostConfig.NetworkMode
		return !n.IsHost() && !n.IsContainer()
	},
	"5.11 memory": func(c container.InspectResponse, _ system.Info) bool {
		return c.HostConfig.Memory > 0 && c.HostConfig.MemorySwap == c.HostConfig.Memory && (c.HostConfig.OomKillDisable == nil || !*c.HostConfig.OomKillDisable)
	},
	"5.12 CPU":            func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.NanoCPUs > 0 },
	"5.13 read-only root": func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.ReadonlyRootfs },
	"5.14 no traffic on an address of the host": func(c container.InspectResponse, _ system.Info) bool {
		return len(c.HostConfig.PortBindings) == 0
	},
	"5.15 no restarts":              func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.RestartPolicy.IsNone() },
	"5.16 not the host's processes": func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.PidMode == "" },
	"5.17 not the host's IPC": func(c container.InspectResponse, _ system.Info) bool {
		return c.HostConfig.IpcMode == container.IPCModeNone
	},
	"5.18 no devices": func(c container.InspectResponse, _ system.Info) bool {
		r := c.HostConfig.Resources
		return len(r.Devices)+len(r.DeviceRequests)+len(r.DeviceCgroupRules) == 0
	},
	"5.19 own ulimits": func(c container.InspectResponse, _ system.Info) bool {
		names := map[string]bool{}
		for _, u := range c.HostConfig.Ulimits {
			names[u.Name] = u.Soft == u.Hard && u.Hard >= 0
		}
		return names["nofile"] && names["fsize"] && names["core"] && names["msgqueue"]
	},
	"5.20 no shared propagation": func(c container.InspectResponse, _ system.Info) bool {
		return !slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Propagation != "" })
	},
	"5.21 not the host's UTS": func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.UTSMode == "" },
	"5.22 seccomp": func(c container.InspectResponse, _ system.Info) bool {
		return slices.Contains(c.HostConfig.SecurityOpt, "seccomp="+profile.Seccomp())
	},
	"5.23, 5.24 no exec": func(c container.InspectResponse, _ system.Info) bool { return len(c.ExecIDs) == 0 },
	"5.25 no other control group": func(c container.InspectResponse, _ system.Info) bool {
		return c.HostConfig.CgroupParent == "" && c.HostConfig.Cgroup == "" && c.HostConfig.CgroupnsMode.IsPrivate()
	},
	"5.26 no new privileges": func(c container.InspectResponse, _ system.Info) bool {
		return slices.Contains(c.HostConfig.SecurityOpt, "no-new-privileges:true")
	},
	// 5.27 wants a health check so that somebody notices a container that is
	// stuck; PID 1 is asked every few seconds instead, by frames.
	"5.27 no program of the image as a health check": func(c container.InspectResponse, _ system.Info) bool {
		return c.Config.Healthcheck != nil && slices.Equal(c.Config.Healthcheck.Test, []string{"NONE"})
	},
	"5.28 the image is named by its digest": func(c container.InspectResponse, _ system.Info) bool {
		return strings.HasPrefix(c.Config.Image, "sha256:") && c.Config.Image == c.Image
	},
	"5.29 processes": func(c container.InspectResponse, _ system.Info) bool {
		return c.HostConfig.PidsLimit != nil && *c.HostConfig.PidsLimit > 0
	},
	"5.31 not the host's users": func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.UsernsMode == "" },
	"5.32 no socket of the engine": func(c container.InspectResponse, _ system.Info) bool {
		return !strings.Contains(fmt.Sprintf("%+v %+v %+v", c.Mounts, c.HostConfig.Mounts, c.HostConfig.Binds), "docker.sock")
	},
	// What the benchmark has no number for.
	"4.1 not root": func(c container.InspectResponse, _ system.Info) bool {
		uid, gid, ok := strings.Cut(c.Config.User, ":")
		return ok && uid == gid && len(uid) == 10
	},
	"masked and read-only places are the engine's own": func(c container.InspectResponse, _ system.Info) bool {
		return slices.Contains(c.HostConfig.MaskedPaths, "/proc/kcore") && slices.Contains(c.HostConfig.ReadonlyPaths, "/proc/sys")
	},
	"nothing is logged on the host": func(c container.InspectResponse, _ system.Info) bool { return c.HostConfig.LogConfig.Type == "none" },
	"no variables but PID 1's and the image's": func(c container.InspectResponse, _ system.Info) bool {
		return slices.Contains(c.Config.Env, "GOTRACEBACK=none")
	},
}

// ownMounts says that a sandbox has PID 1, read-only, and its workspace.
func ownMounts(c container.InspectResponse, _ system.Info) bool {
	if len(c.HostConfig.Binds)+len(c.HostConfig.VolumesFrom) > 0 || len(c.Mounts) == 0 {
		return false
	}
	for _, m := range c.Mounts {
		pid1 := m.Destination == pid1Dir && !m.RW && strings.HasPrefix(m.Name, "wflo-pid1-")
		workspace := m.Destination == sandbox.Workspace && strings.HasPrefix(m.Name, "wflo-")
		if m.Type != mount.TypeVolume || m.Driver != "local" || !pid1 && !workspace {
			return false
		}
	}
	return true
}

// TestBenchmark looks at sandboxes that were really made, in each way that there
// is.
func TestBenchmark(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size, c.AllowOpenNetwork = 1, true })
	cli := dial(t)
	info, err := cli.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	box := closing(t, r, "bench")
	boxed := shell("true")
	boxed.Box = box
	ids := map[string]string{"box": must(t, r, boxed).Sandbox}
	allowed, opened := shell("true"), shell("true")
	allowed.Network, opened.Network = sandbox.Allow("api.example.com:443"), sandbox.Open()
	for how, spec := range map[string]sandbox.Spec{"one-shot": shell("true"), "allowed network": allowed, "open network": opened} {
		spec.Argv[2], spec.Key = "echo begun; sleep 1000", how
		ctx, cancel := context.WithCancel(t.Context())
		watch, begun := listen("begun")
		ended := start(ctx, r, spec, watch)
		select {
		case <-begun:
		case out := <-ended:
			t.Fatalf("%s ended at once: %+v", how, out)
		}
		ids[how] = byKey(t, r, how).ID
		t.Cleanup(func() {
			cancel()
			<-ended
		})
	}
	until(t, "a sandbox that waits", r.pool.stocked)
	ids["pool"] = waiting(r)[0].id
	for how, id := range ids {
		t.Run(how, func(t *testing.T) {
			c, err := cli.ContainerInspect(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for check, ok := range benchmark {
				if !ok(c, info) {
					t.Errorf("%s: it is not so: %+v %+v", check, c.HostConfig, c.Config)
				}
			}
			bridged := how == "open network"
			if connected := c.HostConfig.NetworkMode != "none"; connected != bridged {
				t.Errorf("5.30 network %q", c.HostConfig.NetworkMode)
			}
		})
	}
}

// waiting lists the sandboxes of the pool.
func waiting(r *Runner) []*session {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	var all []*session
	for _, sh := range r.pool.shelf {
		all = append(all, sh.idle...)
	}
	return all
}
