package budgets

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Names on the wire.
const (
	Name      = "example.Report" // the workflow
	TaskQueue = "budgets"
)

const (
	// SectionLimit is what one section may cost, with its review.
	SectionLimit = 6000 * wflo.MicroUSD

	model = "gpt-5.4-mini"
	// maxTokens bounds each answer, and with it what is reserved for it.
	maxTokens = 1200
)

// Report is what [Write] came to.
type Report struct {
	Sections []Section `json:"sections"`
	// Refusal says which budget did not pay for the sections that are missing, and
	// with which numbers; nil when there are all.
	Refusal *wflo.Refusal `json:"refusal,omitempty"`
}

// Section answers one question.
type Section struct {
	Question string `json:"question"`
	Text     string `json:"text"`
	// Cut says that the text ends at its token limit, or where a budget had no
	// room for more.
	Cut bool `json:"cut,omitempty"`
	// Reviewed says that the section's budget paid for a second look.
	Reviewed bool `json:"reviewed"`
}

// Write answers the questions, one section each. A section whose review its own
// budget does not pay for goes without. Where a budget that asks has no room, the
// report waits for an approval that raises it, and goes on where it was. Where
// that is rejected, and where a budget halts, the sections that were paid for are
// the report.
func Write(ctx workflow.Context, questions []string) (Report, error) {
	var report Report
	for i, question := range questions {
		opts := workflows.StepOptions{Key: fmt.Sprintf("section/%d", i), Budget: wflo.Budget{Limit: SectionLimit}}
		section, err := workflows.Step(ctx, "section", opts, func(ctx workflow.Context) (Section, error) {
			return write(ctx, question)
		})
		if errors.As(err, &report.Refusal) {
			return report, nil
		} else if err != nil {
			return report, fmt.Errorf("section %d: %w", i+1, err)
		}
		report.Sections = append(report.Sections, section)
	}
	return report, nil
}

// write drafts a section, and looks at it again where that is paid for.
func write(ctx workflow.Context, question string) (Section, error) {
	draft, err := ask(ctx, "Answer in a few paragraphs.", question)
	if err != nil {
		return Section{}, err
	}
	s := Section{Question: question, Text: draft.Text, Cut: draft.Stop == wflo.StopMaxTokens}
	review, err := ask(ctx, "Correct this text. Answer with the corrected text and nothing else.", draft.Text)
	switch {
	case ofSection(err):
		return s, nil
	case err != nil:
		return s, err
	case review.Stop != wflo.StopMaxTokens: // half a review is none
		s.Text, s.Reviewed = review.Text, true
	}
	return s, nil
}

func ask(ctx workflow.Context, system, text string) (wflo.Reply, error) {
	return workflows.Ask(ctx, wflo.Prompt{
		Model: model, System: system, MaxTokens: maxTokens,
		Messages: []wflo.Message{{Role: wflo.RoleUser, Text: text}},
	})
}

// ofSection says that it was the section's own budget that had no room, and not
// the team's or another one.
func ofSection(err error) bool {
	var refusal *wflo.Refusal
	return errors.As(err, &refusal) && strings.HasPrefix(refusal.Budget, string(wflo.ScopeStep)+":")
}
