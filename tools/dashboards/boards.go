package main

// only selects the workers that the variable job names.
const only = `{job=~"$job"}`

// one gives a query without a legend, for single figures.
func one(expr string) []query { return []query{{expr: expr}} }

// by gives one query whose lines have a legend.
func by(expr, legend string) []query { return []query{{expr, legend}} }

// spread gives the median and the 95th percentile of a histogram.
func spread(name string) []query {
	rate := `sum by (le) (rate(` + name + `_bucket` + only + `[$__rate_interval])))`
	return []query{{"histogram_quantile(0.5, " + rate, "p50"}, {"histogram_quantile(0.95, " + rate, "p95"}}
}

var boards = []board{overview, cost, approvals, sandboxes, recovery}

var overview = board{
	id: "overview", title: "overview", about: "Whether agents get on, and what holds them up.", link: "Runs in the console", path: "/runs",
	panels: []panel{
		{"Workers", "Programs that are scraped.", "stat", 4, "short", 0, 0, one(`count(wflo_build_info` + only + `)`)},
		{"Runs ended, 1 h", "", "stat", 4, "short", 0, 0, one(`sum(increase(wflo_workflow_executions_total` + only + `[1h]))`)},
		{"Failed, 1 h", "Their stories: wflo debug ID.", "stat", 4, "short", 1, 10, one(`sum(increase(wflo_workflow_executions_total{job=~"$job",status="failed"}[1h])) or vector(0)`)},
		{"Waiting for people", "Open approval gates.", "stat", 4, "short", 5, 20, one(`sum(max by (risk) (wflo_approvals_waiting` + only + `))`)},
		{"Oldest task in a queue", "Workers are missing or full where this grows.", "stat", 4, "s", 60, 300, one(`max(wflo_task_queue_backlog_age_seconds` + only + `)`)},
		{"Effects nobody could undo", "Dead letters of compensations.", "stat", 4, "short", 0, 1, one(`max(wflo_compensation_dead_letters` + only + `)`)},
		{"Runs that ended", "Per second, by how.", "timeseries", 12, "ops", 0, 0, by(`sum by (status) (rate(wflo_workflow_executions_total`+only+`[$__rate_interval]))`, "{{status}}")},
		{"How long runs take", "With the time that they wait for people.", "timeseries", 12, "s", 0, 0, spread("wflo_workflow_duration_seconds")},
		{"Steps and activities, p95", "One attempt each.", "timeseries", 12, "s", 0, 0, by(`histogram_quantile(0.95, sum by (le, activity) (rate(wflo_activity_duration_seconds_bucket`+only+`[$__rate_interval])))`, "{{activity}}")},
		{"Attempts that failed", "They are tried again.", "timeseries", 12, "ops", 0, 0, by(`sum by (activity) (rate(wflo_activity_duration_seconds_count{job=~"$job",status="error"}[$__rate_interval]))`, "{{activity}}")},
		{"Backlog", "Tasks that wait for a worker.", "timeseries", 8, "short", 0, 0, by(`max by (task_queue, type) (wflo_task_queue_backlog`+only+`)`, "{{task_queue}} {{type}}")},
		{"Room in workers", "Free slots for tasks, by kind.", "timeseries", 8, "short", 0, 0, by(`sum by (worker_type) (temporal_worker_task_slots_available`+only+`)`, "{{worker_type}}")},
		{"Requests to Temporal that failed", "", "timeseries", 8, "ops", 0, 0, by(`sum by (operation) (rate(temporal_request_failure_total`+only+`[$__rate_interval]))`, "{{operation}}")},
		{"Policies ruled", "By effect.", "timeseries", 8, "ops", 0, 0, by(`sum by (effect) (rate(wflo_policy_rulings_total`+only+`[$__rate_interval]))`, "{{effect}}")},
		{"Rounds that failed", "What workers do beside runs; the log has the reason.", "timeseries", 8, "short", 0, 0, by(`sum by (round) (increase(wflo_rounds_total{job=~"$job",outcome="error"}[$__rate_interval]))`, "{{round}}")},
		{"Log lines lost", "Agents never wait for logs.", "timeseries", 8, "short", 0, 0, by(`sum by (reason) (increase(wflo_log_lines_dropped_total`+only+`[$__rate_interval]))`, "{{reason}}")},
		{"Spans lost", "queue: they came too fast for the collector; export: it did not take them.", "timeseries", 8, "short", 0, 0, by(`sum by (reason) (increase(wflo_spans_dropped_total`+only+`[$__rate_interval]))`, "{{reason}}")},
		{"Who follows runs", "Open event streams of each console, which takes 2048.", "timeseries", 8, "short", 1500, 2000, by(`wflo_event_streams`+only, "{{instance}}")},
		{"Memory", "Of the worker's process.", "timeseries", 8, "bytes", 0, 0, by(`process_resident_memory_bytes{job=~"$job"} and on (instance) wflo_build_info`+only, "{{instance}}")},
		{"CPU", "In cores.", "timeseries", 8, "short", 0, 0, by(`rate(process_cpu_seconds_total{job=~"$job"}[$__rate_interval]) and on (instance) wflo_build_info`+only, "{{instance}}")},
		{"Goroutines", "", "timeseries", 8, "short", 0, 0, by(`go_goroutines{job=~"$job"} and on (instance) wflo_build_info`+only, "{{instance}}")},
		{"What runs", "Versions of wflo.", "table", 24, "short", 0, 0, by(`sum by (version, revision, go_version) (wflo_build_info`+only+`)`, "")},
	},
}

var cost = board{
	id: "cost", title: "cost", about: "What models cost, who spends it, and what stopped spending.", link: "Spend in the console", path: "/spend",
	panels: []panel{
		{"Spent, 1 h", "", "stat", 6, "currencyUSD", 0, 0, one(`sum(increase(wflo_workflow_cost_usd` + only + `[1h]))`)},
		{"Spent, 24 h", "", "stat", 6, "currencyUSD", 0, 0, one(`sum(increase(wflo_workflow_cost_usd` + only + `[24h]))`)},
		{"Refused for a budget, 24 h", "", "stat", 6, "short", 1, 20, one(`sum(increase(wflo_budget_exceeded_total` + only + `[24h])) or vector(0)`)},
		{"Cost more than reserved, 24 h", "", "stat", 6, "short", 1, 5, one(`sum(increase(wflo_llm_overdrafts_total` + only + `[24h])) or vector(0)`)},
		{"Spend per hour", "By workflow.", "timeseries", 12, "currencyUSD", 0, 0, by(`sum by (workflow_name) (rate(wflo_workflow_cost_usd`+only+`[$__rate_interval])) * 3600`, "{{workflow_name}}")},
		{"Calls of models", "", "timeseries", 12, "ops", 0, 0, by(`sum by (provider, model) (rate(wflo_llm_api_calls_total`+only+`[$__rate_interval]))`, "{{provider}} {{model}}")},
		{"Tokens", "In disjoint types.", "timeseries", 12, "short", 0, 0, by(`sum by (type) (rate(wflo_llm_tokens_total`+only+`[$__rate_interval]))`, "{{type}}")},
		{"Tokens by model", "", "timeseries", 12, "short", 0, 0, by(`sum by (model) (rate(wflo_llm_tokens_total`+only+`[$__rate_interval]))`, "{{model}}")},
		{"Estimate of prompts, p95", "Counted tokens per reserved one; above 1 the estimate was too low.", "timeseries", 8, "short", 1, 1.1, by(`histogram_quantile(0.95, sum by (le, model) (rate(wflo_llm_input_estimate_ratio_bucket`+only+`[$__rate_interval])))`, "{{model}}")},
		{"Response cache", "", "timeseries", 8, "ops", 0, 0, by(`sum by (outcome) (rate(wflo_llm_cache_total`+only+`[$__rate_interval]))`, "{{outcome}}")},
		{"Failovers", "Calls that went to another model.", "timeseries", 8, "ops", 0, 0, by(`sum by (provider, model) (rate(wflo_llm_failovers_total`+only+`[$__rate_interval]))`, "{{provider}} {{model}}")},
		{"Alerts of budgets", "", "timeseries", 8, "short", 0, 0, by(`sum by (kind, percent) (increase(wflo_budget_alerts_total`+only+`[$__rate_interval]))`, "{{kind}} {{percent}} %")},
		{"Refused and raised", "", "timeseries", 8, "short", 0, 0, []query{
			{`sum by (workflow_name) (increase(wflo_budget_exceeded_total` + only + `[$__rate_interval]))`, "refused {{workflow_name}}"},
			{`sum(increase(wflo_budget_topups_total` + only + `[$__rate_interval]))`, "raised"},
		}},
		{"Loops stopped, holds swept", "", "timeseries", 8, "short", 0, 0, []query{
			{`sum by (agent) (increase(wflo_agent_loops_total` + only + `[$__rate_interval]))`, "loop of {{agent}}"},
			{`sum by (found) (increase(wflo_holds_swept_total` + only + `[$__rate_interval]))`, "hold: {{found}}"},
		}},
	},
}

var approvals = board{
	id: "approvals", title: "approvals", about: "What waits for people, how fast they are, and whether they are told.", link: "Inbox", path: "/inbox",
	panels: []panel{
		{"Waiting now", "", "stat", 6, "short", 5, 20, one(`sum(max by (risk) (wflo_approvals_waiting` + only + `))`)},
		{"Oldest", "", "stat", 6, "s", 900, 1800, one(`max(wflo_approvals_oldest_seconds` + only + `)`)},
		{"Ran out of time, 24 h", "", "stat", 6, "short", 1, 5, one(`sum(increase(wflo_approval_requests_total{job=~"$job",status="timeout"}[24h]))`)},
		{"Notices that nobody got, 24 h", "", "stat", 6, "short", 0, 1, one(`sum(increase(wflo_notices_total{job=~"$job",outcome="dead_letter"}[24h])) or vector(0)`)},
		{"Waiting, by risk", "", "timeseries", 12, "short", 0, 0, by(`max by (risk) (wflo_approvals_waiting`+only+`)`, "{{risk}}")},
		{"Oldest, by risk", "", "timeseries", 12, "s", 900, 1800, by(`max by (risk) (wflo_approvals_oldest_seconds`+only+`)`, "{{risk}}")},
		{"Opened and closed", "", "timeseries", 12, "short", 0, 0, []query{
			{`sum(increase(wflo_approvals_opened_total` + only + `[$__rate_interval]))`, "opened"},
			{`sum by (status) (increase(wflo_approval_requests_total` + only + `[$__rate_interval]))`, "{{status}}"},
		}},
		{"How long people take", "From the opening of a gate to its close.", "timeseries", 12, "s", 0, 0, spread("wflo_approval_latency_seconds")},
		{"Notices", "Attempts, by channel and outcome.", "timeseries", 8, "short", 0, 0, by(`sum by (channel, outcome) (increase(wflo_notices_total`+only+`[$__rate_interval]))`, "{{channel}} {{outcome}}")},
		{"Delivery of notices, p95", "", "timeseries", 8, "s", 5, 15, by(`histogram_quantile(0.95, sum by (le, channel) (rate(wflo_notice_delivery_seconds_bucket`+only+`[$__rate_interval])))`, "{{channel}}")},
		{"Decisions that were refused", "Late, forged, by somebody who may not.", "timeseries", 8, "short", 0, 0, by(`sum by (outcome) (increase(wflo_decisions_refused_total`+only+`[$__rate_interval]))`, "{{outcome}}")},
		{"Audit trail", "1 while it cannot be signed, or became shorter.", "timeseries", 8, "short", 0, 1, by(`max(wflo_audit_checkpoint_failed`+only+`)`, "cannot be signed")},
		{"Writing the trail", "What must be recorded waits for it.", "timeseries", 8, "s", 0, 0, spread("wflo_audit_append_seconds")},
		{"Trail not written", "Appends that the store did not take.", "timeseries", 8, "short", 0, 1, by(`sum(increase(wflo_audit_append_failures_total`+only+`[$__rate_interval])) or vector(0)`, "failed")},
		{"Checkpoints", "", "timeseries", 8, "short", 0, 0, by(`sum(increase(wflo_audit_checkpoints_total`+only+`[$__rate_interval]))`, "signed")},
		{"Policies that cannot be loaded", "", "timeseries", 8, "short", 0, 1, by(`max by (kind) (wflo_policy_reload_failed`+only+`)`, "{{kind}}")},
	},
}

var sandboxes = board{
	id: "sandboxes", title: "sandboxes", about: "Where agents' programs run: how fast, how full, how they end.", link: "Runs in the console", path: "/runs",
	panels: []panel{
		{"Live", "Sandboxes with a program.", "stat", 6, "short", 0, 0, one(`count(wflo_sandbox_memory_usage_bytes` + only + `) or vector(0)`)},
		{"Memory in use", "", "stat", 6, "bytes", 0, 0, one(`sum(wflo_sandbox_memory_usage_bytes` + only + `) or vector(0)`)},
		{"Broken underneath, 1 h", "The machinery, not the program.", "stat", 6, "short", 1, 5, one(`sum(increase(wflo_sandbox_executions_total{job=~"$job",outcome=~"infra_lost|start_failed"}[1h])) or vector(0)`)},
		{"Wait for room, p95", "", "stat", 6, "s", 10, 60, one(`histogram_quantile(0.95, sum by (le) (rate(wflo_sandbox_queue_seconds_bucket` + only + `[15m])))`)},
		{"Until a sandbox is there", "", "timeseries", 12, "s", 1, 5, spread("wflo_sandbox_creation_duration_seconds")},
		{"Got from", "The warm pool, or made.", "timeseries", 12, "ops", 0, 0, by(`sum by (how) (rate(wflo_sandbox_creations_total`+only+`[$__rate_interval]))`, "{{how}}")},
		{"How programs ended", "", "timeseries", 12, "ops", 0, 0, by(`sum by (outcome) (rate(wflo_sandbox_executions_total`+only+`[$__rate_interval]))`, "{{outcome}}")},
		{"How long they took, p95", "", "timeseries", 12, "s", 0, 0, by(`histogram_quantile(0.95, sum by (le, outcome) (rate(wflo_sandbox_execution_duration_seconds_bucket`+only+`[$__rate_interval])))`, "{{outcome}}")},
		{"CPU", "100 is one core. The ten that use most.", "timeseries", 12, "percent", 0, 0, by(`topk(10, wflo_sandbox_cpu_usage_percent`+only+`)`, "{{sandbox_id}}")},
		{"Memory", "The ten that use most.", "timeseries", 12, "bytes", 0, 0, by(`topk(10, wflo_sandbox_memory_usage_bytes`+only+`)`, "{{sandbox_id}}")},
	},
}

var recovery = board{
	id: "recovery", title: "recovery", about: "Snapshots, restores, and what undoes effects.", link: "Recovery in the console", path: "/recovery",
	panels: []panel{
		{"Dead letters", "Effects that could not be undone. A person decides: wflo compensations.", "stat", 6, "short", 0, 1, one(`max(wflo_compensation_dead_letters` + only + `)`)},
		{"Restores, 24 h", "", "stat", 6, "short", 0, 0, one(`sum(increase(wflo_restores_total` + only + `[24h]))`)},
		{"Restores that failed, 24 h", "", "stat", 6, "short", 0, 1, one(`sum(increase(wflo_restores_total{job=~"$job",outcome="failed"}[24h]))`)},
		{"Snapshots, 24 h", "", "stat", 6, "short", 0, 0, one(`sum(increase(wflo_snapshots_total` + only + `[24h]))`)},
		{"Restores", "By mode and outcome.", "timeseries", 12, "short", 0, 0, by(`sum by (mode, outcome) (increase(wflo_restores_total`+only+`[$__rate_interval]))`, "{{mode}} {{outcome}}")},
		{"How long restores take, p95", "From asking to the end.", "timeseries", 12, "s", 0, 0, by(`histogram_quantile(0.95, sum by (le, mode) (rate(wflo_restore_duration_seconds_bucket`+only+`[$__rate_interval])))`, "{{mode}}")},
		{"Compensations", "By the state they came into.", "timeseries", 12, "short", 0, 0, by(`sum by (state) (increase(wflo_compensations_total`+only+`[$__rate_interval]))`, "{{state}}")},
		{"Snapshots", "By why they were taken.", "timeseries", 12, "short", 0, 0, by(`sum by (kind) (increase(wflo_snapshots_total`+only+`[$__rate_interval]))`, "{{kind}}")},
		{"How long snapshots take", "Runs wait for them.", "timeseries", 8, "s", 10, 30, spread("wflo_snapshot_duration_seconds")},
		{"Bytes in snapshots", "By part.", "timeseries", 8, "Bps", 0, 0, by(`sum by (part) (rate(wflo_snapshot_bytes_total`+only+`[$__rate_interval]))`, "{{part}}")},
		{"New to the store", "After deduplication and compression.", "timeseries", 8, "Bps", 0, 0, by(`sum by (part) (rate(wflo_snapshot_stored_bytes_total`+only+`[$__rate_interval]))`, "{{part}}")},
		{"Dropped by retention", "", "timeseries", 8, "short", 0, 0, by(`sum(increase(wflo_snapshots_dropped_total`+only+`[$__rate_interval]))`, "snapshots")},
		{"Blobs collected", "", "timeseries", 8, "short", 0, 0, by(`sum(increase(wflo_snapshot_blobs_deleted_total`+only+`[$__rate_interval]))`, "blobs")},
		{"Space freed", "", "timeseries", 8, "bytes", 0, 0, by(`sum(increase(wflo_snapshot_bytes_freed_total`+only+`[$__rate_interval]))`, "bytes")},
	},
}
