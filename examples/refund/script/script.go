// Package script is the model of the refund demo when there is no key for a real
// one: [Accountant] does the work, [Runaway] never finishes. Both are scripts
// for package scripted, which serves them in the vendors' own wire formats.
//
// The accountant has no list of answers. It is a function of the conversation:
// it profiles the file with Python, writes its second program from the columns
// and values that the first one printed, and builds its answer from what the
// second one printed. Give it another file and it finds other duplicates; give
// it one without a needed column, or a sandbox that fails, and it says so. It
// knows nothing about the refund workflow but the task's text.
package script

import (
	"encoding/json"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// RunawayModel is the model's name under which the example's programs serve
// [Runaway]. It is a real name, because a model without a price is refused.
const RunawayModel = "gpt-5.4-nano"

// Accountant finds duplicate charges in the file that the task names.
func Accountant(t scripted.Turn) scripted.Answer {
	did, said := review(t.Messages)
	answer := next(did, fileIn(t))
	if len(answer.ToolCalls) == 0 {
		// After an answer that was cut it is asked to go on where it stopped.
		answer.Text = strings.TrimPrefix(answer.Text, said)
	}
	return answer
}

// Runaway counts the rows of the file, and counts them again: an agent that is
// stopped for repeating itself or, where it may, by its budget.
func Runaway(t scripted.Turn) scripted.Answer {
	a := python("Let me count the rows once more, to be sure.", `import csv

# Count the rows.
with open(`+quote(fileIn(t))+`, newline="") as f:
    print(sum(1 for _ in csv.reader(f)))
`)
	a.ToolCalls[0].ID = "" // the server numbers the calls
	return a
}

// action is one tool call of the conversation with its result.
type action struct {
	call   wflo.ToolCall
	result string
	failed bool
}

// about says that the call's program or path holds the mark.
func (a action) about(mark string) bool { return strings.Contains(a.call.Arguments, mark) }

// review reads what was done so far, and what was said since the last tool
// result.
func review(messages []wflo.Message) (did []action, said string) {
	for _, m := range messages {
		switch m.Role {
		case wflo.RoleAssistant:
			said += m.Text
			for _, c := range m.ToolCalls {
				did = append(did, action{call: c})
			}
		case wflo.RoleTool:
			said = ""
			for i := range did {
				if did[i].call.ID == m.ToolCallID {
					did[i].result, did[i].failed = m.Text, m.ToolFailed
				}
			}
		}
	}
	return did, said
}

// next decides from what was done.
func next(did []action, file string) scripted.Answer {
	if answer, ok := last(did, markFind); ok {
		return conclude(did, answer, file)
	}
	var facts profile
	looked, ok := last(did, markLook)
	read, hasRead := lastTool(did, wflo.ToolRead)
	switch {
	case !ok:
		return look(file)
	case printed(looked, &facts):
	case !hasRead:
		return scripted.Answer{
			Text:      "The program did not work. I will read the file itself instead.",
			ToolCalls: []wflo.ToolCall{{Name: wflo.ToolRead, Arguments: arguments("path", file)}},
		}
	case !facts.fromText(read):
		return giveUp("look at "+file, looked)
	}
	return find(facts, file, false)
}

// conclude answers from the result of the search, or searches once more.
func conclude(did []action, search action, file string) scripted.Answer {
	var found []finding
	if printed(search, &found) {
		return scripted.Answer{Text: proposals(found)}
	}
	if search.about(markPlain) {
		return giveUp("search "+file+" for duplicates", search)
	}
	var facts profile
	if looked, ok := last(did, markLook); !ok || !printed(looked, &facts) {
		if read, ok := lastTool(did, wflo.ToolRead); !ok || !facts.fromText(read) {
			return giveUp("look at "+file, search)
		}
	}
	return find(facts, file, true)
}

// giveUp says what went wrong, in words and not in the form of an answer.
func giveUp(doing string, a action) scripted.Answer {
	why := "the result held nothing that I could read"
	for line := range strings.Lines(a.result) {
		// The last line of a Python traceback names the error.
		if line = strings.TrimSpace(line); strings.Contains(line, "Error") {
			why = line
		}
	}
	return scripted.Answer{Text: "I could not " + doing + ": " + why + ". I propose no refunds."}
}

func last(did []action, mark string) (action, bool) {
	for i := len(did) - 1; i >= 0; i-- {
		if did[i].call.Name == wflo.ToolPython && did[i].about(mark) {
			return did[i], true
		}
	}
	return action{}, false
}

func lastTool(did []action, name string) (action, bool) {
	for i := len(did) - 1; i >= 0; i-- {
		if did[i].call.Name == name {
			return did[i], true
		}
	}
	return action{}, false
}

// printed reads the JSON that a program printed.
func printed(a action, out any) bool {
	_, text, ok := strings.Cut(a.result, "stdout:\n")
	if !ok || a.failed {
		return false
	}
	return json.NewDecoder(strings.NewReader(text)).Decode(out) == nil
}

// fileIn is the file that the task names: the first word that ends in .csv.
func fileIn(t scripted.Turn) string {
	for _, m := range t.Messages {
		for word := range strings.FieldsSeq(m.Text) {
			if word = strings.Trim(word, "\"'`,.:;()"); m.Role == wflo.RoleUser && strings.HasSuffix(word, ".csv") {
				return word
			}
		}
	}
	return "data.csv"
}

func python(thought, code string) scripted.Answer {
	return scripted.Answer{Text: thought, ToolCalls: []wflo.ToolCall{{Name: wflo.ToolPython, Arguments: arguments("code", code)}}}
}

func arguments(name, value string) string { return `{` + quote(name) + `:` + quote(value) + `}` }

// quote makes a JSON string, which is a Python string as well.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always marshals; the server turns a panic into a 500
	}
	return strings.TrimSuffix(b.String(), "\n")
}
