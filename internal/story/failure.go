package story

import (
	"fmt"
	"regexp"
	"strings"

	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
)

// wrong is what went wrong, in the words of whoever said it first.
type wrong struct {
	message, hint string
	code          wflo.Code
	state         State
	refusal       *wflo.Refusal
}

// wrongOf reads a failure: of one of ours code and hint, of others the message without
// the envelopes of activity and attempt around it.
func (r reader) wrongOf(f *failurepb.Failure) wrong {
	w := wrong{state: StateFailed}
	if f == nil {
		return w
	}
	f = proto.Clone(f).(*failurepb.Failure)
	converter.DecodeCommonFailureAttributes(r.conv, f)
	for ; f != nil; f = f.GetCause() {
		converter.DecodeCommonFailureAttributes(r.conv, f)
		switch {
		case f.GetApplicationFailureInfo() != nil:
			r.application(f, &w)
			return w
		case f.GetTimeoutFailureInfo() != nil:
			w.state = StateTimedOut
			w.message = timeoutWords(f)
		case f.GetCanceledFailureInfo() != nil:
			w.state, w.message = StateCancelled, "cancelled"
		case f.GetActivityFailureInfo() == nil && f.GetChildWorkflowExecutionFailureInfo() == nil && w.message == "":
			w.message = line(f.GetMessage())
		}
	}
	return w
}

// application reads the words of code.
func (r reader) application(f *failurepb.Failure, w *wrong) {
	info := f.GetApplicationFailureInfo()
	text := line(plain(f.GetMessage()))
	if w.message != "" && w.state == StateTimedOut {
		text = w.message + ": " + text
	}
	w.message = text
	if code := wflo.Code(info.GetType()); code.Sentinel() != nil {
		w.code = code
	}
	switch w.code {
	case "":
		return
	case wflo.CodeApprovalRejected, wflo.CodePolicyDenied:
		w.state = StateRejected
	case wflo.CodeApprovalTimeout:
		w.state = StateTimedOut
	}
	details := info.GetDetails().GetPayloads()
	if len(details) > 0 {
		r.near(details[0], &w.hint)
	}
	if len(details) > 1 && w.code == wflo.CodeBudgetExceeded {
		var refusal wflo.Refusal
		if r.near(details[1], &refusal) {
			w.refusal = &refusal
		}
	}
}

// envelope is what the SDK's errors say of calls and of themselves, which the rows say
// already. Code that wraps such an error takes it into its own message.
var envelope = regexp.MustCompile(`(activity|child workflow execution) error \((type|workflowID): [^()]*\)(: )?| \(type: [^()]*, retryable: (true|false)\)`)

// plain is a message without the envelopes in it.
func plain(message string) string {
	if text := envelope.ReplaceAllString(message, ""); strings.TrimRight(text, ": ") != "" {
		return strings.TrimRight(text, ": ")
	}
	return message
}

func timeoutWords(f *failurepb.Failure) string {
	kind := strings.ToLower(strings.ReplaceAll(f.GetTimeoutFailureInfo().GetTimeoutType().String(), "To", " to "))
	return strings.TrimSpace(kind) + " timeout"
}

// traceOf is the whole failure, with stacks.
func (r reader) traceOf(f *failurepb.Failure) string {
	var b strings.Builder
	for ; f != nil; f = f.GetCause() {
		f = proto.Clone(f).(*failurepb.Failure)
		converter.DecodeCommonFailureAttributes(r.conv, f)
		if b.Len() > 0 {
			b.WriteString("caused by: ")
		}
		b.WriteString(f.GetMessage())
		if t := f.GetApplicationFailureInfo().GetType(); t != "" {
			fmt.Fprintf(&b, " (%s)", t)
		}
		b.WriteByte('\n')
		if s := strings.TrimSpace(f.GetStackTrace()); s != "" {
			b.WriteString(s)
			b.WriteByte('\n')
		}
		if b.Len() > MostDetail {
			break
		}
	}
	return headOf(b.String()).Text
}
