package main

import (
	"strings"

	"github.com/wflo-ai/wflo-go/internal/console"
)

func meaning(typ, about string) object { return object{"type": typ, "about": about} }

// params are the query parameters: their schema, with what they mean as about. A key
// that is "NAME=meaning" is that name where it means something of its own; a star in an
// operation's list says that the parameter may be given several times.
var params = map[string]object{
	"after":        meaning("string", "Where the page before ended."),
	"after=seq":    {"type": "integer", "format": "int64", "minimum": 0, "about": "The last seq that was seen; needs chain."},
	"approver":     meaning("string", "Only gates that this person or group may decide."),
	"before":       {"type": "string", "format": "date-time", "about": "Only what is older than this."},
	"budget":       meaning("string", "The id of a budget, as SCOPE:NAME."),
	"by":           {"type": "string", "enum": console.Bys, "about": "What there is a row for; without it, one row for all."},
	"chain":        meaning("string", "Only the trail of this org."),
	"closed":       meaning("boolean", "Also gates that are closed."),
	"first_run":    meaning("string", "The first run id; without it, the latest run of the workflow id."),
	"from":         meaning("string", "From this time on: RFC 3339, or a day."),
	"from=instant": {"type": "string", "format": "date-time", "about": "From this time on."},
	"id":           meaning("string", "How the workflow id begins."),
	"internal":     meaning("boolean", "Also the runs by which wflo itself works."),
	"kind":         meaning("string", "Only rows of these kinds, separated by commas."),
	"kind=snapshot": {
		"type": "string", "enum": []string{"auto", "manual", "pre_restore"}, goType: "wflo.SnapshotKind", "about": "Only snapshots of this kind.",
	},
	"latest":               meaning("boolean", "The end instead of the start, still in order."),
	"level":                meaning("string", "The least level: debug, info, warn or error."),
	"limit":                {"type": "integer", "format": "int32", "minimum": 1, "about": "The most to give."},
	"live":                 meaning("string", "Anything: also what sandboxed programs write at this moment."),
	"mine":                 meaning("boolean", "Only gates that the caller may decide."),
	"n":                    {"type": "integer", "format": "int32", "minimum": 1, "about": "The most to give."},
	"name":                 meaning("string", "Only snapshots of this name."),
	"run":                  meaning("string", "A run id of the chain; without it, the latest."),
	"run=workflow id":      meaning("string", "Only those of the run with this workflow id."),
	"scope":                {"type": "array", "items": object{"type": "string"}, "about": "Only what is attributed to this SCOPE:NAME; all of them, where there are several."},
	"since":                {"type": "string", "format": "date-time", "about": "Only lines of this time and after."},
	"state":                {"type": "string", "enum": console.States, goType: "wflo.RunState", "about": "Only runs in this state."},
	"state=compensation":   meaning("string", "Only those in these states, separated by commas."),
	"state=hold":           {"type": "string", "enum": []string{"open", "unknown"}, "about": "Which holds; open without it."},
	"state=notice":         {"type": "string", "enum": []string{"pending", "delivered", "dead_letter"}, "about": "Only notices in this state."},
	"step":                 meaning("string", "Only lines of this step and of what it calls."),
	"team":                 meaning("string", "Only runs of this team."),
	"to":                   meaning("string", "Before this time: RFC 3339, or a day."),
	"to=instant":           {"type": "string", "format": "date-time", "about": "Before this time."},
	"to=snapshot":          meaning("string", "The id of the other snapshot. Required."),
	"type":                 meaning("string", "Only events of this type."),
	"user":                 meaning("string", "Only runs of this user."),
	"workflow":             meaning("string", "Only those of this workflow."),
	"workflow=workflow id": meaning("string", "Only events of the run with this workflow id."),
	"zone":                 meaning("string", "The time zone of days and months; UTC without it."),
}

// parameter is one of the query, as the list of an operation names it.
func parameter(key string) (object, bool) {
	known, ok := params[strings.TrimSuffix(key, "*")]
	if !ok {
		return nil, false
	}
	schema := object{}
	for k, v := range known {
		if k != "about" {
			schema[k] = v
		}
	}
	if strings.HasSuffix(key, "*") {
		schema = object{"type": "array", "items": schema}
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(key, "*"), "=")
	out := object{"name": name, "in": "query", "description": known["about"], "schema": schema}
	if key == "to=snapshot" {
		out["required"] = true
	}
	return out, true
}
