package mcpserver

import (
	"strings"
	"testing"
)

func TestAnswersAreBounded(t *testing.T) {
	small := marked([]byte(`{"a":"b"}`))
	if !strings.Contains(small, `{"a":"b"}`) || strings.Contains(small, "cut") {
		t.Errorf("%s", small)
	}
	large := marked([]byte(`"` + strings.Repeat("é", mostBytes) + `"`))
	if len(large) > mostBytes+500 || !strings.Contains(large, "The answer is cut: 65536 of 131074 bytes") {
		t.Errorf("%d bytes, ends with %s", len(large), large[len(large)-100:])
	}
	if strings.ToValidUTF8(large, "") != large {
		t.Error("a character is cut in two")
	}
	if marked([]byte("1")) == marked([]byte("1")) {
		t.Error("the markers can be guessed")
	}
}

func TestIDsStayOnePartOfAPath(t *testing.T) {
	for id, want := range map[string]string{"r1": "/runs/r1/head", "a/b": "/runs/a%2Fb/head", "a?b": "/runs/a%3Fb/head", "../x": "/runs/..%2Fx/head"} {
		if got, err := ofRun(id, "/head"); err != nil || got.path != want {
			t.Errorf("%s: %s, %v", id, got.path, err)
		}
	}
	for _, id := range []string{"", ".", ".."} {
		if got, err := ofRun(id, ""); err == nil {
			t.Errorf("%q: %s", id, got.path)
		}
	}
}
