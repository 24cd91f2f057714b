// Command dashboards writes deploy/grafana/*.json from the tables in boards.go: a row of
// Go per panel reads better than fifty of JSON, and every panel gets the same dress. Run
// it there with `go run . ../../deploy/grafana`. It takes no other argument and reads
// nothing.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: dashboards DIRECTORY")
	}
	for _, b := range boards {
		text, err := json.MarshalIndent(b.json(), "", "  ")
		if err != nil {
			return fmt.Errorf("encode %s: %w", b.id, err)
		}
		if err := os.WriteFile(filepath.Join(args[0], b.id+".json"), append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", b.id, err)
		}
	}
	return nil
}

// board is a dashboard.
type board struct {
	id, title, about string
	link, path       string // to the console: what it is called, and where
	panels           []panel
}

// panel is a row of a table of panels.
type panel struct {
	title, about string
	kind         string // stat, timeseries, barchart, table
	width        int    // of 24
	unit         string
	warn, bad    float64 // thresholds; zero means none
	queries      []query
}

type query struct{ expr, legend string }

type object = map[string]any

var source = object{"type": "prometheus", "uid": "${datasource}"}

func (b board) json() object {
	var panels []object
	x, y := 0, 0
	for i, p := range b.panels {
		height := 8
		if p.kind == "stat" {
			height = 4
		}
		if x+p.width > 24 {
			x, y = 0, y+heightOf(b.panels[i-1])
		}
		panels = append(panels, p.json(i+1, object{"x": x, "y": y, "w": p.width, "h": height}))
		x += p.width
	}
	return object{
		"uid": "wflo-" + b.id, "title": "wflo: " + b.title, "description": b.about, "tags": []string{"wflo"},
		"schemaVersion": 39, "version": 1, "editable": true, "refresh": "30s", "timezone": "browser", "graphTooltip": 1,
		"time":       object{"from": "now-6h", "to": "now"},
		"templating": object{"list": []object{datasource, console, job}},
		"links": []object{
			{"type": "dashboards", "tags": []string{"wflo"}, "title": "wflo", "asDropdown": true, "includeVars": true, "keepTime": true},
			{"type": "link", "title": b.link, "url": "${console}" + b.path, "targetBlank": true, "icon": "external link"},
		},
		"annotations": object{"list": []object{}}, "panels": panels,
	}
}

func heightOf(p panel) int {
	if p.kind == "stat" {
		return 4
	}
	return 8
}

// The variables: where the metrics are, where the console is, and which workers.
var (
	datasource = object{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1}
	console    = object{"name": "console", "label": "Console", "type": "textbox", "query": "http://127.0.0.1:7244",
		"current": object{"text": "http://127.0.0.1:7244", "value": "http://127.0.0.1:7244"}, "hide": 0}
	job = object{"name": "job", "label": "Job", "type": "query", "datasource": source, "hide": 0, "refresh": 2, "sort": 1,
		"definition": "label_values(wflo_build_info, job)", "query": object{"query": "label_values(wflo_build_info, job)", "refId": "job"},
		"includeAll": true, "allValue": ".*", "multi": true, "current": object{"text": "All", "value": "$__all"}}
)

func (p panel) json(id int, at object) object {
	var targets []object
	for i, q := range p.queries {
		t := object{"refId": string(rune('A' + i)), "datasource": source, "expr": q.expr, "legendFormat": q.legend, "exemplar": p.kind == "timeseries"}
		if p.kind == "stat" || p.kind == "table" {
			t["instant"] = true
		}
		if p.kind == "table" {
			t["format"] = "table"
		}
		targets = append(targets, t)
	}
	steps := []object{{"color": "green", "value": nil}}
	if p.warn > 0 {
		steps = append(steps, object{"color": "orange", "value": p.warn})
	}
	if p.bad > 0 {
		steps = append(steps, object{"color": "red", "value": p.bad})
	}
	defaults := object{"unit": p.unit, "min": 0, "thresholds": object{"mode": "absolute", "steps": steps}, "links": []object{}}
	options := object{}
	switch p.kind {
	case "stat":
		defaults["color"] = object{"mode": "thresholds"}
		options = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}, "colorMode": "value", "graphMode": "none"}
	case "timeseries":
		defaults["color"] = object{"mode": "palette-classic"}
		custom := object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false}
		if p.warn > 0 || p.bad > 0 {
			custom["thresholdsStyle"] = object{"mode": "line"}
		}
		defaults["custom"] = custom
		options = object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	}
	return object{
		"id": id, "type": p.kind, "title": p.title, "description": p.about, "datasource": source, "gridPos": at,
		"targets": targets, "fieldConfig": object{"defaults": defaults, "overrides": []object{}}, "options": options,
	}
}
