package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// appendTo adds the suite to a file of totals, one tab-separated line each.
func (s total) appendTo(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n",
		s.suite, s.packages, s.failedPackages, s.passed, s.failed, s.skipped, s.elapsed.Milliseconds())
	return errors.Join(err, f.Close())
}

func parseTotal(line string) (total, error) {
	var s total
	suite, numbers, ok := strings.Cut(line, "\t")
	if !ok {
		return s, fmt.Errorf("not a total: %q", line)
	}
	var ms int64
	if _, err := fmt.Sscanf(numbers, "%d\t%d\t%d\t%d\t%d\t%d", &s.packages, &s.failedPackages, &s.passed, &s.failed, &s.skipped, &ms); err != nil {
		return s, fmt.Errorf("total of %s: %w", suite, err)
	}
	s.suite, s.elapsed = suite, time.Duration(ms)*time.Millisecond
	return s, nil
}

func (s *total) add(other total) {
	s.packages += other.packages
	s.failedPackages += other.failedPackages
	s.passed += other.passed
	s.failed += other.failed
	s.skipped += other.skipped
	s.elapsed += other.elapsed
}

func printTotals(file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all := total{suite: "all suites"}
	var failed error
	for line := range strings.Lines(string(text)) {
		s, err := parseTotal(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return err
		}
		fmt.Fprintln(out, s.line())
		if err := s.verdict(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.suite, err))
		}
		all.add(s)
	}
	fmt.Fprintln(out, all.line())
	return errors.Join(failed, all.verdict())
}
