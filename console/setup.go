package console

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/policy"
)

// setup is what the settings page shows of the file: names and rules, no secrets.
func (c *Console) setup() (s console.Setup, err error) {
	for _, name := range slices.Sorted(maps.Keys(c.file.Channels)) {
		kind, _, _ := strings.Cut(name, "://")
		s.Channels = append(s.Channels, console.Channel{Name: name, Kind: kind})
	}
	if c.file.Policies.File == "" {
		return s, nil
	}
	source, err := os.ReadFile(c.file.Policies.File)
	if err != nil {
		return s, wflo.Errorf(wflo.CodeInvalid, "name a file that the console may read, or leave policies out of its file", "read the policies: %w", err)
	}
	set, err := policy.Load(c.file.Policies.File, source)
	if err != nil {
		return s, fmt.Errorf("load policies: %w", err)
	}
	s.Policies = set.Hash()
	for _, r := range set.Rules().Policies {
		s.Rules = append(s.Rules, console.Rule{Name: r.Name, When: r.When, Then: does(r)})
	}
	s.Rules = append(s.Rules, console.Rule{Name: "default", When: "nothing matches", Then: string(set.Rules().Default)})
	return s, nil
}

// does says what a policy does, in words.
func does(r policy.Rule) string {
	var all []string
	say := func(does bool, format string, args ...any) {
		if does {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	if r.Approval != nil {
		say(true, "asks for approval by %s", cmp.Or(strings.Join(r.Approval.Approvers, ", "), "anybody who may approve"))
	}
	say(r.Halt != nil, "halts the run")
	say(r.RouteModel != "", "takes the model %s", r.RouteModel)
	say(r.SetLimit != 0, "lowers the budget to %s", r.SetLimit)
	say(r.Audit != "", "writes it down as %s", r.Audit)
	say(len(r.Notify) > 0, "tells %s", strings.Join(r.Notify, ", "))
	say(r.Mode != "" && r.Mode != policy.ModeEnforce, "only %s", r.Mode)
	return strings.Join(all, "; ")
}
