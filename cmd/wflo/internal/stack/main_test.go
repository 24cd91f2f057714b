//go:build integration

package stack

import (
	"fmt"
	"os"
	"testing"
)

// modelAddr is the variable that makes this program the model of the stack.
const modelAddr = "WFLO_STACK_MODEL"

func TestMain(m *testing.M) {
	if addr := os.Getenv(modelAddr); addr != "" {
		fmt.Fprintln(os.Stderr, "model:", serveModel(addr))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
