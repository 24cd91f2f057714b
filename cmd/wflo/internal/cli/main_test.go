package cli

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(importVar) != "" {
		os.Exit(importAlone())
	}
	goleak.VerifyTestMain(m)
}
