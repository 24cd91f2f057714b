package mcpserver

import (
	"context"
	"net/url"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// scheme begins the addresses of resources: run://ID, where the parts of an id are
// escaped as in any address.
const scheme = "run://"

// views are what there is of a run as a resource, by the end of its address.
var views = []struct {
	end, name, about string
	ask              func(run string) (request, error)
}{
	{"", "run", "One run: its state, who it is for, its own account and its budget.", func(run string) (request, error) { return ofRun(run, "") }},
	{"/trace", "trace", "What happened to a run in the end, row by row.", func(run string) (request, error) {
		return storyPath(storyInput{Run: run, Latest: true, Limit: mostItems})
	}},
	{"/spend", "spend", "What a run was charged, call by call.", func(run string) (request, error) { return ofRun(run, "/ledger") }},
}

// addResources adds what clients attach to a conversation by its address.
func addResources(s *mcp.Server, cfg Config) {
	for _, view := range views {
		s.AddResourceTemplate(&mcp.ResourceTemplate{
			URITemplate: scheme + "{id}" + view.end, Name: view.name, Title: "wflo " + view.name, Description: view.about, MIMEType: "text/plain",
		}, func(ctx context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			run, ok := runOf(r.Params.URI, view.end)
			if !ok {
				return nil, mcp.ResourceNotFoundError(r.Params.URI)
			}
			req, err := view.ask(run)
			if err != nil {
				return nil, worded(err)
			}
			text, err := cfg.read(ctx, req)
			if err != nil {
				return nil, worded(err)
			}
			// It is plain text, and not JSON: the markers are part of it.
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, MIMEType: "text/plain", Text: text}}}, nil
		})
	}
}

// runOf is the workflow id in the address of a resource.
func runOf(uri, end string) (string, bool) {
	id, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return "", false
	}
	if id, ok = strings.CutSuffix(id, end); !ok || strings.Contains(id, "/") {
		return "", false
	}
	id, err := url.PathUnescape(id)
	return id, err == nil && id != ""
}
