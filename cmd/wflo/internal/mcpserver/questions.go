package mcpserver

import (
	"net/url"

	"github.com/wflo-ai/wflo-go"
)

type runInput struct {
	Run string `json:"run" jsonschema:"the workflow id of the run"`
}

type runsInput struct {
	State    string `json:"state,omitempty" jsonschema:"running, waiting_approval, compensating, restoring, halted, completed or failed"`
	Workflow string `json:"workflow,omitempty" jsonschema:"only runs of this workflow type"`
	User     string `json:"user,omitempty" jsonschema:"only runs of this user"`
	Team     string `json:"team,omitempty" jsonschema:"only runs of this team"`
	Limit    int    `json:"limit,omitempty" jsonschema:"how many; 50 without it, at most 200"`
}

type storyInput struct {
	Run   string `json:"run" jsonschema:"the workflow id of the run"`
	Kinds string `json:"kinds,omitempty" jsonschema:"only rows of these kinds, separated by commas: step, model, tool, sandbox, approval, policy, snapshot, restore, compensation, activity, timer, signal, child, run"`
	After string `json:"after,omitempty" jsonschema:"next of the page before"`
	Row   string `json:"row,omitempty" jsonschema:"the id of one row, to read it with its content; the others are ignored then"`
	// Latest is the usual wish: how it ended.
	Latest bool `json:"latest,omitempty" jsonschema:"the end of the story instead of its start"`
	Limit  int  `json:"limit,omitempty" jsonschema:"how many; 50 without it, at most 200"`
}

type logsInput struct {
	Run   string `json:"run" jsonschema:"the workflow id of the run"`
	Level string `json:"level,omitempty" jsonschema:"the least level: debug, info, warn or error"`
	Step  string `json:"step,omitempty" jsonschema:"only lines of this step and of what it calls"`
	Limit int    `json:"limit,omitempty" jsonschema:"how many; 50 without it, at most 200"`
}

type spendInput struct {
	By    string `json:"by,omitempty" jsonschema:"run, step, agent, workflow, user, team, org, model, provider, tag, hour, day, week or month; without it one sum"`
	From  string `json:"from,omitempty" jsonschema:"from this time on, as 2026-12-01 or RFC 3339"`
	To    string `json:"to,omitempty" jsonschema:"before this time"`
	Scope string `json:"scope,omitempty" jsonschema:"only what is attributed to this SCOPE:NAME, such as user:ann"`
	Limit int    `json:"limit,omitempty" jsonschema:"how many rows; 50 without it, at most 200"`
}

type approvalsInput struct {
	Mine  bool `json:"mine,omitempty" jsonschema:"only what the caller may decide, elsewhere"`
	Limit int  `json:"limit,omitempty" jsonschema:"how many; 50 without it, at most 200"`
}

type approvalInput struct {
	Nonce string `json:"nonce" jsonschema:"the gate's nonce, as list_approvals gives it"`
}

type snapshotsInput struct {
	Run   string `json:"run,omitempty" jsonschema:"the workflow id of a run"`
	Limit int    `json:"limit,omitempty" jsonschema:"how many; 50 without it, at most 200"`
}

// ofRun is a question about one run.
func ofRun(id, rest string) (request, error) {
	s, err := segment("run", id)
	return request{path: "/runs/" + s + rest}, err
}

// segment is an id as one part of a path. Dots would lead to another path.
func segment(field, id string) (string, error) {
	if id == "" || id == "." || id == ".." {
		return "", wflo.Invalid(field, "is no id", "list them first")
	}
	return url.PathEscape(id), nil
}

func runsPath(in runsInput) (request, error) {
	limit, err := limited(in.Limit)
	return request{"/runs", queryOf("state", in.State, "workflow", in.Workflow, "user", in.User, "team", in.Team, "limit", limit)}, err
}

func storyPath(in storyInput) (request, error) {
	if in.Row != "" {
		row, err := segment("row", in.Row)
		if err != nil {
			return request{}, err
		}
		return ofRun(in.Run, "/rows/"+row)
	}
	req, err := ofRun(in.Run, "/rows")
	if err != nil {
		return req, err
	}
	limit, err := limited(in.Limit)
	req.query = queryOf("kind", in.Kinds, "after", in.After, "latest", yes(in.Latest), "limit", limit)
	return req, err
}

func logsPath(in logsInput) (request, error) {
	req, err := ofRun(in.Run, "/logs")
	if err != nil {
		return req, err
	}
	limit, err := limited(in.Limit)
	req.query = queryOf("level", in.Level, "step", in.Step, "latest", "true", "limit", limit)
	return req, err
}

func spendPath(in spendInput) (request, error) {
	limit, err := limited(in.Limit)
	return request{"/costs", queryOf("by", in.By, "from", in.From, "to", in.To, "scope", in.Scope, "limit", limit)}, err
}

func approvalsPath(in approvalsInput) (request, error) {
	limit, err := limited(in.Limit)
	return request{"/approvals", queryOf("mine", yes(in.Mine), "limit", limit)}, err
}

func approvalPath(in approvalInput) (request, error) {
	s, err := segment("nonce", in.Nonce)
	return request{path: "/approvals/" + s}, err
}

func snapshotsPath(in snapshotsInput) (request, error) {
	limit, err := limited(in.Limit)
	return request{"/snapshots", queryOf("run", in.Run, "limit", limit)}, err
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}
