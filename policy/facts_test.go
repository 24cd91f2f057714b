package policy_test

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

func TestReadFacts(t *testing.T) {
	for name, source := range map[string]string{
		"YAML": "kind: model\ncost: 0.10\nargs:\n  model: m\n",
		"JSON": `{"kind":"model","cost":0.10,"args":{"model":"m"}}`,
		"list": "- kind: model\n  cost: \"0.1\"\n  args: {model: m}\n",
	} {
		all, err := policy.ReadFacts("f", []byte(source))
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", name, all, err)
		}
		if f := all[0]; f.Kind != wflo.FactsModel || f.Cost != wflo.USD/10 || string(f.Args) != `{"model":"m"}` {
			t.Errorf("%s: got %+v", name, f)
		}
	}
	all, err := policy.ReadFacts("f", []byte("operation: delete"))
	if err != nil || all[0].Kind != wflo.FactsStep {
		t.Errorf("without a kind: %+v, %v", all, err)
	}
}

func TestReadFactsRefuses(t *testing.T) {
	for source, want := range map[string]string{
		"kind: modl":        `f:1:1: there is no kind "modl" (did you mean model?)`,
		"{\"usr\": \"a\"}":  "did you mean user?",
		"- 1\n- kind: step": "f:1:3: the facts are",
		"cost: lots":        "f:1",
		"":                  "the file is empty",
	} {
		if _, err := policy.ReadFacts("f", []byte(source)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q, got %v", source, want, err)
		}
	}
}
