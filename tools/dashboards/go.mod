// Writes the Grafana dashboards in deploy/grafana. A module of its own, like all tools.
module github.com/wflo-ai/wflo-go/tools/dashboards

go 1.26.8
