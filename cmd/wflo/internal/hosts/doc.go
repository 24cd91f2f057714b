// Package hosts has tests of installations that are more than one machine's: several
// workers, several engines for sandboxes of which one dies, an engine behind TLS, two
// builds of a worker side by side, and a backup that everything is restored from. They
// are run with -tags integration, and are workers themselves where a test needs one.
package hosts
