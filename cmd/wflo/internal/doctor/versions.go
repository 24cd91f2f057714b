package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go/internal/console"
)

// versions compares this program, the one behind the API with its database, and Temporal.
// What another check reports, such as an API that does not answer, is left out here.
func (p *patient) versions(ctx context.Context) []Finding {
	text := "wflo " + p.Version
	for _, name := range slices.Sorted(maps.Keys(p.Parts)) {
		text += ", " + name + " " + p.Parts[name]
	}
	var all []Finding
	v, err := p.Versions(ctx)
	switch {
	case errors.Is(err, ErrOldAPI):
		all = append(all, fault("run the worker and the console with wflo "+p.Version, "the API is older than wflo %s: %v", p.Version, ErrOldAPI)...)
	case err == nil:
		all = append(all, apiFound(v)...)
		text += apiText(v)
	}
	server, found := p.server(ctx)
	if all = append(all, found...); len(all) > 0 {
		return all
	}
	return fine("%s%s", text, server)
}

// apiFound says what does not fit between this program, the API's and its database.
func apiFound(v console.Version) []Finding {
	switch s := v.Schema; {
	case v.API != console.APIVersion:
		return fault("use the wflo that the API has: "+v.Program, "the API is of version %s, this wflo speaks %s", v.API, console.APIVersion)
	case s != nil && s.Have > s.Known:
		return fault("run the worker and the console with the newest wflo that you use", "the database has schema %d, and wflo %s behind the API knows %d", s.Have, v.Program, s.Known)
	case s != nil && s.Have < s.Known:
		return fault("wflo db migrate", "the database has schema %d, and wflo %s behind the API needs %d", s.Have, v.Program, s.Known)
	}
	return nil
}

func apiText(v console.Version) string {
	text := fmt.Sprintf(", API %s of wflo %s", v.API, v.Program)
	if v.Schema != nil {
		text += fmt.Sprintf(" with schema %d", v.Schema.Have)
	}
	return text
}

// server is the version of Temporal's server, after a comma; empty where it does not say.
func (p *patient) server(ctx context.Context) (string, []Finding) {
	c, err := p.temporal()
	if err != nil {
		return "", nil
	}
	info, err := c.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if err != nil {
		return "", nil
	}
	if !info.GetCapabilities().GetSdkMetadata() {
		return "", fault("temporal operator cluster system --address "+c.Address,
			"Temporal at %s is version %s, which is older than what wflo's SDK works with", c.Address, info.GetServerVersion())
	}
	return ", Temporal " + info.GetServerVersion(), nil
}
