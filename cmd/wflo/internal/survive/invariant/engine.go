package invariant

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// engine lists what the installation has on the container engine.
func (c *check) engine(ctx context.Context) error {
	if c.Owner == "" {
		return nil
	}
	for _, kind := range []string{"container", "volume", "network"} {
		list := []string{kind, "ls", "-q", "--filter", "label=wflo.owner=" + c.Owner}
		if kind == "container" {
			list = append(list, "-a")
		}
		ids, err := c.docker(ctx, list...)
		if err != nil {
			return err
		}
		c.saw(1)
		for _, id := range ids {
			c.saw(1)
			if err := c.left(ctx, kind, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// left judges one thing that is on the engine.
func (c *check) left(ctx context.Context, kind, id string) error {
	format := map[string]string{
		"container": "{{.Created}} {{.State.Status}}", "volume": "{{.CreatedAt}} made", "network": `{{.Created.Format "2006-01-02T15:04:05Z07:00"}} made`,
	}[kind]
	about, err := c.docker(ctx, kind, "inspect", "--format", format, id)
	if err != nil {
		if strings.Contains(strings.ToLower(err.Error()), "no such") {
			return nil // it went while we looked
		}
		return err
	}
	text, state, _ := strings.Cut(strings.Join(about, " "), " ")
	made, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("the age of %s %s: %w", kind, id, err)
	}
	if c.Quiet && (state == "running" || time.Since(made) >= c.Grace) {
		c.find("the engine still has %s %s, %s", kind, id, state)
	}
	return nil
}

// docker gives the lines that the engine's command writes.
func (c *check) docker(ctx context.Context, args ...string) ([]string, error) {
	if c.Engine != "" {
		args = append([]string{"-H", c.Engine}, args...)
	}
	out, err := exec.CommandContext(ctx, "docker", args...).Output() //nolint:gosec // the words are ours
	if err != nil {
		return nil, said(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")[:strings.Count(string(out), "\n")], nil
}

// said puts what a command wrote into its error.
func said(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// counts compares what must be back where it was.
func (c *check) counts(context.Context) error {
	for _, n := range c.Counts {
		c.saw(1)
		if n.Now > n.Before+n.MayBeHigher {
			c.find("%s: %d before, %d now", n.What, n.Before, n.Now)
		}
	}
	return nil
}
