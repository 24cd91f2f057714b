package chart

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func newReader(text string) *bufio.Reader { return bufio.NewReader(strings.NewReader(text)) }

// TestLint has Helm's own linter find nothing, with each set of values.
func TestLint(t *testing.T) {
	for _, set := range sets(t) {
		found := lint.RunAll(chartDir, valuesOf(t, set), namespace)
		for _, m := range found.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", set, m)
			}
		}
	}
}

func nested(o object, path ...string) ([]any, bool, error) {
	return unstructured.NestedSlice(o.Object, path...)
}

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	var texts [2]string
	for i, v := range []any{a, b} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	return texts[0] == texts[1]
}

func nestedText(o object, path ...string) (string, bool, error) {
	return unstructured.NestedString(o.Object, path...)
}
