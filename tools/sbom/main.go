// Command sbom says where the files of a release come from, and reads a release again as
// somebody who downloaded it does:
//
//	sbom provenance -version V -commit C -builder B -targets T -programs P DIR
//	sbom check DIR
//	sbom bill FILE
//
// The first writes SHA256SUMS and provenance.intoto.json into DIR, for every file there.
// The second fails where a file is missing, was changed or was added, where a bill of
// materials is not one, and where the statement is about other files. It signs nothing:
// a statement that nobody signed shows that files belong together, and no more. The third
// reads one bill of materials.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: sbom provenance -version V -commit C -builder B -targets T -programs P DIR | sbom check DIR | sbom bill FILE")

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "check":
		if len(args) != 2 {
			return errUsage
		}
		return check(args[1])
	case "bill":
		if len(args) != 2 {
			return errUsage
		}
		return checkBill(args[1])
	case "provenance":
		var b build
		flags := flag.NewFlagSet("provenance", flag.ContinueOnError)
		flags.StringVar(&b.version, "version", "", "version of the release")
		flags.StringVar(&b.commit, "commit", "", "commit that was built, in hex")
		flags.StringVar(&b.builder, "builder", "", "URI of who builds")
		flags.StringVar(&b.targets, "targets", "", "systems, as OS/ARCH")
		flags.StringVar(&b.programs, "programs", "", "programs")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if flags.NArg() != 1 || b.version == "" || b.commit == "" || b.builder == "" {
			return errUsage
		}
		return b.write(flags.Arg(0))
	}
	return errUsage
}
