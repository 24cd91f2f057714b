package workflows

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

var (
	attrState     = temporal.NewSearchAttributeKeyKeyword(wflo.AttrState)
	attrGates     = temporal.NewSearchAttributeKeyKeywordList(wflo.AttrGates)
	attrUser      = temporal.NewSearchAttributeKeyKeyword(wflo.AttrUser)
	attrTeam      = temporal.NewSearchAttributeKeyKeyword(wflo.AttrTeam)
	attrOrg       = temporal.NewSearchAttributeKeyKeyword(wflo.AttrOrg)
	attrCost      = temporal.NewSearchAttributeKeyFloat64(wflo.AttrCost)
	attrRisk      = temporal.NewSearchAttributeKeyKeyword(wflo.AttrRisk)
	attrApprovers = temporal.NewSearchAttributeKeyKeywordList(wflo.AttrApprovers)
	attrDeadline  = temporal.NewSearchAttributeKeyTime(wflo.AttrDeadline)
)

// maxAttribute bounds a list in a search attribute, in bytes: Temporal refuses values
// above 2 KiB, and the run would get no further. maxKeyword bounds one of its values.
const (
	maxAttribute = 1500
	maxKeyword   = 200
)

// publish puts the run's state and open gates where operators can search.
func (st *state) publish(ctx workflow.Context) error {
	if !st.attributes {
		return nil
	}
	var ids, approvers []string
	var risk wflo.Risk
	var deadline time.Time
	for _, g := range st.gates {
		if g.Closed() {
			continue
		}
		ids = append(ids, g.ID)
		for _, f := range g.Asked() {
			approvers = append(approvers, f.Approvers...)
		}
		risk = higher(risk, g.Approval.Risk)
		if deadline.IsZero() || g.ExpiresAt.Before(deadline) {
			deadline = g.ExpiresAt
		}
	}
	set := []temporal.SearchAttributeUpdate{
		attrState.ValueSet(string(st.phase)), listAttribute(attrGates, ids), attrCost.ValueSet(st.spent.Float()),
	}
	if st.levelled {
		set = append(set, listAttribute(attrApprovers, approvers), attrRisk.ValueUnset(), attrDeadline.ValueUnset())
		if risk != "" {
			set = append(set, attrRisk.ValueSet(string(risk)))
		}
		if !deadline.IsZero() {
			set = append(set, attrDeadline.ValueSet(deadline))
		}
		if st.run.Org != "" {
			set = append(set, attrOrg.ValueSet(clip(st.run.Org, maxKeyword)))
		}
	}
	return workflow.UpsertTypedSearchAttributes(ctx, set...)
}

// listAttribute is as much of a list as a search attribute holds. The index of gates
// has all of it.
func listAttribute(key temporal.SearchAttributeKeyKeywordList, values []string) temporal.SearchAttributeUpdate {
	var kept []string
	size := 0
	for _, v := range values {
		v = clip(v, maxKeyword)
		if slices.Contains(kept, v) {
			continue
		}
		if size += len(v); size > maxAttribute {
			break
		}
		kept = append(kept, v)
	}
	if len(kept) == 0 {
		return key.ValueUnset()
	}
	return key.ValueSet(kept)
}

// riskOrder is ascending order.
var riskOrder = []wflo.Risk{"", wflo.RiskLow, wflo.RiskMedium, wflo.RiskHigh, wflo.RiskCritical}

func higher(a, b wflo.Risk) wflo.Risk {
	if slices.Index(riskOrder, b) > slices.Index(riskOrder, a) {
		return b
	}
	return a
}

// maxClosedGates bounds the gates that a run still shows after they have closed, and
// maxClosedText, in bytes, what people wrote there. A query whose answer is too large
// fails, and then nobody could decide at the gates that are open.
const (
	maxClosedGates = 50
	maxClosedText  = 500
)

// publicGates are the gates that are open and the latest of those that have closed, the
// oldest first. The index and the trail have all of them.
func (st *state) publicGates() []wflo.Gate {
	closed := 0
	for _, g := range st.gates {
		if g.Closed() {
			closed++
		}
	}
	gates := make([]wflo.Gate, 0, len(st.gates)-max(closed-maxClosedGates, 0))
	for _, g := range st.gates {
		if !g.Closed() {
			gates = append(gates, g.Gate)
			continue
		}
		if closed--; closed < maxClosedGates {
			gates = append(gates, g.public())
		}
	}
	return gates
}

// public is a closed gate without what makes it large. One whose action has not begun
// keeps the question, on which people may still say no.
func (g *openGate) public() wflo.Gate {
	p := g.Gate
	if !p.Granted() || p.Used || p.Version == 0 {
		p.Approval.Payload, p.Approval.Form, p.Original = nil, nil, nil
	}
	p.Votes = slices.Clone(p.Votes)
	for i, v := range p.Votes {
		p.Votes[i] = brief(v)
	}
	if p.Decision != nil {
		d := brief(*p.Decision)
		p.Decision = &d
	}
	return p
}

func brief(d wflo.Decision) wflo.Decision {
	d.Edit, d.Form = nil, nil
	d.Reason, d.Text = clip(d.Reason, maxClosedText), clip(d.Text, maxClosedText)
	return d
}

const (
	// maxShownGates bounds the gates that the Temporal Web UI shows at once, and
	// maxShownText and maxShownPayload what is shown of one, in bytes.
	maxShownGates   = 5
	maxShownText    = 2000
	maxShownPayload = 8000
)

// details is what the Temporal Web UI shows about the run: its open gates, or how the
// latest one ended.
func (st *state) details(latest *openGate) string {
	var open []*openGate
	for _, g := range st.gates {
		if !g.Closed() {
			open = append(open, g)
		}
	}
	if len(open) == 0 {
		return latest.ended()
	}
	var b strings.Builder
	for _, g := range open[:min(len(open), maxShownGates)] {
		b.WriteString(g.question())
	}
	if more := len(open) - maxShownGates; more > 0 {
		fmt.Fprintf(&b, "%d more gates are open: `wflo approvals`\n", more)
	}
	return b.String()
}

// question shows an open gate as Markdown. What others wrote cannot look like a part
// of it: it is escaped, quoted, or fenced.
func (g *openGate) question() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Waiting for approval: %s\n\n**%s**\n\n", inline(g.ID), inline(g.Approval.Action))
	if g.Approval.Risk != "" {
		fmt.Fprintf(&b, "Risk: %s\n\n", g.Approval.Risk)
	}
	have, need := g.Need(g.terms)
	fmt.Fprintf(&b, "Approvals: %d of %d, by %s\n\n", have, need, g.asked())
	if g.Level > 0 {
		fmt.Fprintf(&b, "Escalated to level %d\n\n", g.Level)
	}
	if g.AckedBy != "" {
		fmt.Fprintf(&b, "%s looks at it\n\n", inline(g.AckedBy))
	}
	fmt.Fprintf(&b, "Decide before %s with `wflo approve %s --run %s`, or reject it with `wflo reject`. In the console: `/gates/%s`\n\n",
		g.ExpiresAt.UTC().Format(time.RFC3339), code(g.ID), code(g.WorkflowID), g.Nonce)
	if g.Approval.Details != "" {
		b.WriteString(quote(g.Approval.Details))
	}
	if len(g.Approval.Payload) > 0 {
		b.WriteString(fence(g.Approval.Payload))
	}
	if g.Revision > 0 {
		fmt.Fprintf(&b, "Edited %d times; what was asked first:\n\n%s", g.Revision, fence(g.Original))
	}
	fmt.Fprintf(&b, "Digest `%s`\n\n", g.Digest)
	if g.Refused > 0 {
		fmt.Fprintf(&b, "%d decisions did not count. The last: %s\n\n", g.Refused, inline(g.LastRefusal))
	}
	return b.String()
}

// asked says who may decide now.
func (g *openGate) asked() string {
	var sets []string
	for _, f := range g.Asked() {
		who := "anybody whom the worker admits"
		if len(f.Approvers) > 0 {
			who = inline(strings.Join(f.Approvers, ", "))
		}
		sets = append(sets, who)
	}
	return strings.Join(sets, "; and ")
}

func (g *openGate) ended() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Gate %s: %s\n\n%s\n\n", inline(g.ID), g.Status, inline(g.Approval.Action))
	if d := g.Gate.Decision; d != nil {
		fmt.Fprintf(&b, "Decided by %s: %s\n", inline(d.By), inline(orNone(d.Reason)))
	}
	return b.String()
}

var markdown = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "#", `\#`, "!", `\!`, "|", `\|`, "~", `\~`, "&", `\&`,
)

// inline is text of others within a line of ours.
func inline(s string) string { return markdown.Replace(wflo.VisibleLine(whole(s, maxShownText))) }

// code is text of others within backticks of ours.
func code(s string) string {
	return strings.ReplaceAll(wflo.VisibleLine(whole(s, maxShownText)), "`", "'")
}

// quote is Markdown of others. It stays a quotation, whatever it says, and loads no
// images.
func quote(s string) string {
	var b strings.Builder
	text := strings.ReplaceAll(wflo.Visible(whole(s, maxShownPayload)), "![", `!\[`)
	for line := range strings.Lines(text) {
		b.WriteString("> " + strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "<", `\<`) + "\n")
	}
	b.WriteString("\n")
	return b.String()
}

// fence shows JSON within a fence that it cannot end.
func fence(data json.RawMessage) string {
	text := string(data)
	if indented, err := json.MarshalIndent(data, "", "  "); err == nil {
		text = string(indented)
	}
	text = wflo.Visible(whole(text, maxShownPayload))
	marks := "```"
	for strings.Contains(text, marks) {
		marks += "`"
	}
	return fmt.Sprintf("%sjson\n%s\n%s\n\n", marks, text, marks)
}

// whole cuts text that is too long to show, and says what is missing.
func whole(s string, n int) string {
	if len(s) <= n {
		return s
	}
	head := strings.TrimSuffix(clip(s, n), "…")
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%s … (%d more bytes; sha256 of all %x)", head, len(s)-len(head), sum)
}
