// Command testreport turns the stream of `go test -json` into what a person
// wants to read: one line per package, the output of what failed and of nothing
// else, and a total. `make test` runs several suites; each adds a line to one
// file, and the last call prints them all, so that the closing lines of a run say
// how much was really tested.
//
//	go test -json ./... | testreport -suite "library" -totals totals.tsv
//	testreport -print -totals totals.tsv
//
// It refuses to call an empty stream a success.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	suite := flags.String("suite", "tests", "`name` of the suite in the totals")
	totals := flags.String("totals", "", "`file` that collects one line per suite")
	show := flags.Bool("print", false, "print the collected totals instead of reading a stream")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *show {
		return printTotals(*totals, out)
	}
	sum, err := follow(in, out)
	if err != nil {
		return err
	}
	sum.suite = *suite
	fmt.Fprintln(out, sum.line())
	if err := sum.appendTo(*totals); err != nil {
		return err
	}
	return sum.verdict()
}
