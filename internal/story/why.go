package story

import (
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
)

// explain says why a run stopped or waits, and what somebody can do about it.
func explain(s *sources, h *Head, now time.Time) (why, next string) {
	if s.r.open {
		return explainOpen(s, h, now)
	}
	why, next = explainClosed(s, h)
	if n := h.Undo[wflo.CompensationDead]; n > 0 {
		dead := fmt.Sprintf("%d of its effects could not be undone", n)
		if n == 1 {
			dead = "one of its effects could not be undone"
		}
		why = strings.TrimPrefix(why+"; "+dead, "; ")
		next = "wflo compensations list --run " + quote(h.WorkflowID)
	}
	return why, next
}

func explainOpen(s *sources, h *Head, now time.Time) (why, next string) {
	task := s.r.GetPendingWorkflowTask()
	switch {
	case s.about.stuck != "" && task != nil && s.about.stuckCause == enumspb.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR:
		return "its code does not fit its history any more, and it goes on when the code is back that it began with, or when it is reset: " + s.about.stuck,
			"temporal workflow reset --workflow-id " + quote(h.WorkflowID) + " --type LastWorkflowTask --reason 'its code has changed'"
	case s.about.stuck != "" && task != nil:
		return fmt.Sprintf("its code fails, and is tried again (%d times so far): %s", max(task.GetAttempt(), 1), s.about.stuck),
			"wflo logs " + quote(h.WorkflowID)
	case s.idle:
		return "no worker polls its task queue " + h.TaskQueue, "wflo doctor"
	case s.r.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED:
		return "it is paused", "temporal workflow unpause --workflow-id " + quote(h.WorkflowID)
	}
	if id := restoring(s); id != "" || h.State == wflo.StateRestoring {
		return strings.TrimSpace("it is being taken back by restore "+id) + under(s.restores, id), "wflo lineage " + quote(h.WorkflowID)
	}
	switch {
	case len(h.Gates) > 0:
		return atGate(h, now)
	case h.State == wflo.StateCompensating:
		return "its effects are being undone", "wflo compensations list --run " + quote(h.WorkflowID)
	case h.Halted != nil:
		return halted(h.Halted) + ", and it is ending", ""
	}
	return retrying(s, h, now)
}

// restoring is the ID of the restore that is under way.
func restoring(s *sources) string {
	if s.status != nil && s.status.Restoring != "" {
		return s.status.Restoring
	}
	for _, r := range s.restores {
		if r.State == wflo.RestoreCompensating || r.State == wflo.RestoreRestoring {
			return r.Restore.ID
		}
	}
	return ""
}

// under says who asked for a restore, and why.
func under(all []wflo.Restored, id string) string {
	for _, r := range all {
		if r.Restore.ID == id {
			return byWhom(r.Restore.By, line(r.Restore.Reason))
		}
	}
	return ""
}

func atGate(h *Head, now time.Time) (why, next string) {
	g := h.Gates[0]
	next = "wflo approve " + quote(h.WorkflowID)
	more := ""
	if n := len(h.Gates); n > 1 {
		more = fmt.Sprintf(", and at %d more", n-1)
		next = "wflo approve " + quote(g.Nonce)
	}
	until := ""
	if !g.ExpiresAt.IsZero() {
		until = " until " + clock(g.ExpiresAt)
		if g.ExpiresAt.Before(now) {
			until = ", whose time is up"
		}
	}
	what := "it waits at gate " + g.ID + more
	if budget, ok := strings.CutPrefix(g.ID, "budget/"); ok {
		what = "it is parked because budget " + budget + " has no room: " + line(g.Approval.Action)
	}
	return fmt.Sprintf("%s; %s may decide%s", what, who(g), until), next
}

func halted(x *wflo.Halt) string {
	if x.Policy != "" {
		return "policy " + x.Policy + " halted it: " + line(x.Reason)
	}
	return "it was halted" + byWhom(x.By, line(x.Reason))
}

// retrying tells of the activity that was tried most often.
func retrying(s *sources, h *Head, now time.Time) (why, next string) {
	var worst *workflowpb.PendingActivityInfo
	for _, p := range s.r.GetPendingActivities() {
		if p.GetLastFailure() != nil && (worst == nil || p.GetAttempt() > worst.GetAttempt()) {
			worst = p
		}
	}
	if worst == nil {
		return "", ""
	}
	f := s.read.wrongOf(worst.GetLastFailure()).message
	why = fmt.Sprintf("activity %s has failed %d times, last with: %s", worst.GetActivityType().GetName(), max(worst.GetAttempt()-1, 1), f)
	if worst.GetPaused() {
		return why + "; it is paused", "temporal activity unpause --workflow-id " + quote(h.WorkflowID) + " --activity-id " + quote(worst.GetActivityId())
	}
	if at := worst.GetNextAttemptScheduleTime(); at != nil && at.AsTime().After(now) {
		why += "; it is tried again at " + clock(at.AsTime())
	}
	return why, "wflo logs " + quote(h.WorkflowID) + " --follow"
}

func explainClosed(s *sources, h *Head) (why, next string) {
	again := ""
	if n := len(h.Snapshots); n > 0 {
		again = "wflo restore " + quote(h.WorkflowID) + " --to " + h.Snapshots[n-1].ID + " --mode reopen --dry-run"
	}
	look := "wflo trace " + quote(h.WorkflowID)
	info := s.r.GetWorkflowExecutionInfo()
	switch info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return "", ""
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return "it was cancelled" + s.about.asked, firstWord(again, look)
	case enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return "it was terminated" + s.about.asked, firstWord(again, look)
	case enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "it did not end in the time that it was given" + timeouts(s.r), firstWord(again, look)
	}
	why = "it failed"
	if h.Error != "" {
		why += ": " + h.Error
	}
	switch h.Code {
	case wflo.CodeHalted, wflo.CodePolicyDenied:
		if h.Halted != nil {
			why = halted(h.Halted)
		}
		if h.Code == wflo.CodePolicyDenied {
			return why, "wflo policy explain --run " + quote(h.WorkflowID)
		}
		return why, firstWord(again, look)
	case wflo.CodeBudgetExceeded:
		return overBudget(s, h, why, again)
	case wflo.CodeSandboxUnavailable, wflo.CodeSandboxLost, wflo.CodeMissingKey, wflo.CodeUnknownModel:
		return why, "wflo doctor"
	case "":
		if s.program != nil {
			why += fmt.Sprintf("; its last program that did not end well, %s, ended with: %s", s.program.Name, s.program.Error)
		}
	}
	return why, firstWord(again, look)
}

// overBudget names the budget and its numbers.
func overBudget(s *sources, h *Head, why, again string) (string, string) {
	budget := h.Spend.Budget
	if r := s.about.ending.refusal; r != nil {
		budget = r.Budget
		why = fmt.Sprintf("it was stopped by budget %s: a call needed %s; of %s, %s was spent and %s reserved", r.Budget, r.Asked, r.Limit, r.Spent, r.Reserved)
	}
	if budget == "" || strings.HasPrefix(budget, "run:") {
		return why, firstWord(again, "wflo cost "+quote(h.WorkflowID))
	}
	return why, "wflo budget show " + quote(budget)
}

func timeouts(r run) string {
	for _, d := range []time.Duration{
		r.GetExecutionConfig().GetWorkflowRunTimeout().AsDuration(), r.GetExecutionConfig().GetWorkflowExecutionTimeout().AsDuration(),
	} {
		if d > 0 {
			return " (" + d.String() + ")"
		}
	}
	return ""
}

func firstWord(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// clock is a moment as people in all places read it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// plainName are the characters that no shell minds.
const plainName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@=+,"

// quote makes a name one word of a shell's command.
func quote(name string) string {
	if name != "" && !slices.ContainsFunc([]rune(name), func(r rune) bool { return !strings.ContainsRune(plainName, r) }) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
