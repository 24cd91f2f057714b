package mcpserver

import (
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type stopInput struct {
	Run    string `json:"run" jsonschema:"the workflow id of the run"`
	Reason string `json:"reason" jsonschema:"why, in the words of the person who asked for it; it is kept in the audit trail"`
}

// addStops adds the tools that stop runs. Clients are told that they destroy, so that
// they ask the person before each call.
func addStops(s *mcp.Server, cfg Config) {
	addStop(s, cfg, "halt_run", "Stop a run now and undo what it did. Only when the person has asked for it.", "/halt")
	addStop(s, cfg, "cancel_run", "Ask a run to end; its own code decides how. Only when the person has asked for it.", "/cancel")
}

func addStop(s *mcp.Server, cfg Config, name, about, action string) {
	yes, closed := true, false
	mcp.AddTool(s, &mcp.Tool{
		Name: name, Description: about,
		Annotations: &mcp.ToolAnnotations{DestructiveHint: &yes, IdempotentHint: true, OpenWorldHint: &closed},
	}, func(ctx context.Context, _ *mcp.CallToolRequest, in stopInput) (*mcp.CallToolResult, any, error) {
		req, err := ofRun(in.Run, action)
		if err != nil {
			return nil, nil, worded(err)
		}
		var answer json.RawMessage
		if err := cfg.Write(ctx, req.path, map[string]string{"reason": in.Reason}, &answer); err != nil {
			return nil, nil, worded(err)
		}
		return said(marked(answer)), nil, nil
	})
}
