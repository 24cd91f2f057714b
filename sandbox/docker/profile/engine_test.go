package profile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const image = "wflo/sandbox:1"

// hardened are the flags that a sandbox has in docker's words, the profile apart.
var hardened = []string{
	"--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--network", "none",
	"--user", "1234567890:1234567890", "--tmpfs", "/tmp:mode=1777,exec", "--env", "HOME=/tmp",
}

// docker runs a program in a container of the real engine and returns what it
// printed on both streams.
func docker(t *testing.T, stdin string, flags []string, argv ...string) (string, error) {
	t.Helper()
	args := append([]string{"run", "--rm", "--interactive"}, flags...)
	c := exec.CommandContext(t.Context(), "docker", append(append(args, image), argv...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// filtered is the option that names the profile to the engine, by its file.
func filtered(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(file, []byte(Seccomp()), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--security-opt", "seccomp=" + file}
}

// built compiles a program of testdata without C and returns the option that
// mounts it as /bin/NAME.
func built(t *testing.T, name string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	c := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/"+name)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return []string{"--volume", file + ":/bin/" + name + ":ro"}
}

// TestPrograms runs what agents write, unchanged, under the profile.
func TestPrograms(t *testing.T) {
	python := func(source string) []string { return []string{"python3", "-c", source} }
	bash := func(source string) []string { return []string{"bash", "-euo", "pipefail", "-c", source} }
	node := func(source string) []string { return []string{"node", "-e", source} }
	for name, test := range map[string]struct {
		argv []string
		want string
	}{
		"python processes": {python(pythonProcesses), "pipe thread [1, 4, 9] slept 256\n"},
		"python network":   {python(pythonNetwork), "lo hello 1\n"},
		"python files":     {python(pythonFiles), "3 fifo /dev/pts True\n"},
		"bash":             {bash(bashPipelines), "3\nlocked\n3\n124\n"},
		"node":             {node(nodeServer), "child fork 0 hello lo unix worker 42\n"},
		"go":               {[]string{"/bin/program"}, "all good\n"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := append(filtered(t), hardened...)
			if name == "go" {
				flags = append(flags, built(t, "program")...)
			}
			got, err := docker(t, "", flags, test.argv...)
			if err != nil || got != test.want {
				t.Errorf("printed %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// TestEngineStarts holds the profile to what the engine itself does under it
// where it does not set no-new-privileges: the filter is then in place before
// the user is set and capabilities are dropped.
func TestEngineStarts(t *testing.T) {
	flags := append(filtered(t), "--user", "1234567890:1234567890", "--init", "--network", "none")
	if got, err := docker(t, "", flags, "bash", "-c", "id -u"); err != nil || got != "1234567890\n" {
		t.Errorf("printed %q (%v)", got, err)
	}
}

// TestAppArmor has the parser read the profile. Its features are those of the
// profile's own version, since the kernel here may have none of AppArmor.
func TestAppArmor(t *testing.T) {
	parse := func(text string, flags ...string) (string, error) {
		c := exec.CommandContext(t.Context(), "apparmor_parser", append(flags, "--features-file", "/etc/apparmor.d/abi/3.0", "--skip-cache")...)
		c.Stdin = strings.NewReader(text)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		err := c.Run()
		return out.String(), err
	}
	if out, err := parse(AppArmor(), "--skip-kernel-load"); err != nil {
		t.Fatalf("apparmor_parser, which deploy/setup.sh tests installs: %v\n%s", err, out)
	}
	if out, err := parse(AppArmor(), "--names"); err != nil || !strings.Contains("\n"+out, "\n"+AppArmorName+"\n") {
		t.Errorf("the profile is called %q (%v), want %s", out, err, AppArmorName)
	}
	if _, err := parse(strings.Replace(AppArmor(), "deny mount,", "deny muont,", 1), "--skip-kernel-load"); err == nil {
		t.Error("the parser took a word that it does not know, so it shows nothing")
	}
}
