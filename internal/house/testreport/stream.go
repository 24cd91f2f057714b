package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// event is one line of the stream; see `go doc test2json` and `go help buildjson`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// total counts one suite. Tests include subtests.
type total struct {
	suite                    string
	packages, failedPackages int
	passed, failed, skipped  int
	elapsed                  time.Duration
	withoutTests             int
}

func (s total) line() string {
	verdict := "ok  "
	if s.verdict() != nil {
		verdict = "FAIL"
	}
	return fmt.Sprintf("%s  %-28s %3d packages  %5d tests passed  %3d failed  %3d skipped  %6.1f s",
		verdict, s.suite, s.packages, s.passed, s.failed, s.skipped, s.elapsed.Seconds())
}

func (s total) verdict() error {
	switch {
	case s.failed > 0 || s.failedPackages > 0:
		return fmt.Errorf("%d tests failed in %d packages", s.failed, s.failedPackages)
	case s.passed == 0:
		return errors.New("no test ran; an empty run proves nothing")
	}
	return nil
}

// follow reads the stream to its end and prints as packages finish.
func follow(in io.Reader, out io.Writer) (total, error) {
	r := reader{out: out, output: map[string]*strings.Builder{}, tests: map[string]int{}, slow: map[string][]event{}, why: map[string][]string{}}
	start := time.Now()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			// The go command itself speaks plain text, such as about a bad flag.
			fmt.Fprintln(out, lines.Text())
			continue
		}
		r.take(e)
	}
	r.sum.elapsed = time.Since(start)
	return r.sum, lines.Err()
}

type reader struct {
	out    io.Writer
	sum    total
	output map[string]*strings.Builder // by package and test, until it passes
	tests  map[string]int              // passed, by package
	slow   map[string][]event          // by package
	why    map[string][]string         // by package: what failed and the lines that say why
}

// slow is from when on a test is named with its time, in seconds: such tests are what
// keeps people waiting.
const slow = 20

func (r *reader) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if r.output[key] == nil {
			r.output[key] = &strings.Builder{}
		}
		r.output[key].WriteString(e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test != "" {
			r.takeTest(e, key)
		} else {
			r.takePackage(e, key)
		}
		delete(r.output, key)
	}
}

func (r *reader) takeTest(e event, key string) {
	if e.Elapsed >= slow {
		r.slow[e.Package] = append(r.slow[e.Package], e)
	}
	switch e.Action {
	case "pass":
		r.sum.passed++
		r.tests[e.Package]++
	case "skip":
		r.sum.skipped++
	case "fail":
		r.sum.failed++
		r.show(key)
		r.why[e.Package] = append(r.why[e.Package], "FAIL  "+e.Test)
		if b := r.output[key]; b != nil {
			r.why[e.Package] = append(r.why[e.Package], reasons(b.String())...)
		}
	}
}

func (r *reader) takePackage(e event, key string) {
	switch e.Action {
	case "skip":
		r.sum.withoutTests++
		return
	case "fail":
		r.sum.failedPackages++
		r.show(key)
		// A panic or a time-out ends tests that never report.
		for other := range r.output {
			if strings.HasPrefix(other, e.Package+" ") && other != key {
				r.show(other)
				delete(r.output, other)
			}
		}
	}
	r.sum.packages++
	word := "ok  "
	if e.Action == "fail" {
		word = "FAIL"
	}
	fmt.Fprintf(r.out, "%s  %-64s %4d tests  %6.1f s\n", word, e.Package, r.tests[e.Package], e.Elapsed)
	// What the tests say for themselves may lie above the long logs of what they started.
	for _, line := range r.why[e.Package] {
		fmt.Fprintf(r.out, "      %s\n", line)
	}
	for _, t := range r.slow[e.Package] {
		fmt.Fprintf(r.out, "      %-66s slow  %6.1f s\n", t.Test, t.Elapsed)
	}
}

func (r *reader) show(key string) {
	if b := r.output[key]; b != nil {
		fmt.Fprint(r.out, b.String())
	}
}

// A failed test's reasons that are told again, in lines and in bytes of each.
const (
	reasonLines = 12
	reasonBytes = 300
)

// reasons are the lines of a test's output from the first on that a test or a panic wrote.
func reasons(output string) []string {
	var told []string
	for line := range strings.Lines(output) {
		if len(told) == 0 && !strings.Contains(line, "_test.go:") && !strings.HasPrefix(line, "panic: ") {
			continue
		}
		line = strings.TrimRight(line, "\n")
		told = append(told, line[:min(reasonBytes, len(line))])
		if len(told) == reasonLines {
			break
		}
	}
	return told
}
