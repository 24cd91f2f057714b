package main

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	passing = `{"Action":"run","Package":"p/a","Test":"TestOne"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"chatter\n"}
{"Action":"pass","Package":"p/a","Test":"TestOne"}
{"Action":"pass","Package":"p/a","Test":"TestLong/part","Elapsed":20.5}
{"Action":"pass","Package":"p/a","Elapsed":21}
{"Action":"skip","Package":"p/empty"}
`
	failing = `{"Action":"output","Package":"p/b","Test":"TestTwo","Output":"the reason\n"}
{"Action":"fail","Package":"p/b","Test":"TestTwo"}
{"Action":"output","Package":"p/b","Test":"TestHangs","Output":"goroutine 7\n"}
{"Action":"fail","Package":"p/b","Elapsed":0.5}
`
	reasoned = `{"Action":"output","Package":"p/d","Test":"TestThree","Output":"time=1 a long log\n"}
{"Action":"output","Package":"p/d","Test":"TestThree","Output":"    three_test.go:7: got 4\n"}
{"Action":"fail","Package":"p/d","Test":"TestThree"}
{"Action":"fail","Package":"p/d","Elapsed":0.5}
`
	unbuilt = `{"ImportPath":"p/c","Action":"build-output","Output":"x.go:1: undefined: y\n"}
{"ImportPath":"p/c","Action":"build-fail"}
{"Action":"fail","Package":"p/c","Elapsed":0,"FailedBuild":"p/c"}
`
)

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, stream string
		ok           bool
		has, hasNot  []string
	}{
		{"passing", passing, true, []string{"ok    p/a", "1 packages", "2 tests passed", "TestLong/part ", "slow    20.5 s"}, []string{"TestOne", "chatter", "p/empty"}},
		{"failing", passing + failing, false, []string{"the reason", "goroutine 7", "FAIL  p/b", "1 failed"}, []string{"chatter"}},
		{"reasoned", reasoned, false, []string{"tests     0.5 s\n      FAIL  TestThree\n          three_test.go:7: got 4\n"}, nil},
		{"unbuilt", unbuilt, false, []string{"undefined: y", "FAIL  p/c"}, nil},
		{"empty", "", false, []string{"0 tests passed"}, nil},
		{"plain text", "flag provided but not defined: -x\n", false, []string{"flag provided"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run([]string{"-suite", "s"}, strings.NewReader(tt.stream), &out)
			if (err == nil) != tt.ok {
				t.Errorf("error %v, want ok %t", err, tt.ok)
			}
			for _, want := range tt.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
			for _, not := range tt.hasNot {
				if strings.Contains(out.String(), not) {
					t.Errorf("%q should not be in\n%s", not, out.String())
				}
			}
		})
	}
}

func TestTotals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "totals.tsv")
	var out strings.Builder
	for _, suite := range []string{"first", "second suite"} {
		if err := run([]string{"-suite", suite, "-totals", file}, strings.NewReader(passing), &out); err != nil {
			t.Fatal(err)
		}
	}
	out.Reset()
	if err := run([]string{"-print", "-totals", file}, nil, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "second suite") || !strings.Contains(lines[2], "4 tests passed") {
		t.Errorf("got\n%s", out.String())
	}

	if err := run([]string{"-suite", "third", "-totals", file}, strings.NewReader(failing), &out); err == nil {
		t.Error("a failing suite gave no error")
	}
	if err := run([]string{"-print", "-totals", file}, nil, &out); err == nil || !strings.Contains(err.Error(), "third") {
		t.Errorf("got %v, want an error about the third suite", err)
	}
	if err := run([]string{"-print", "-totals", file + ".none"}, nil, &out); err == nil {
		t.Error("missing totals gave no error")
	}
}
