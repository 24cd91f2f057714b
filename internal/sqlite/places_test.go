package sqlite

import (
	"testing"

	"github.com/wflo-ai/wflo-go/activities/storetest"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestPlaces(t *testing.T) {
	storetest.TestPlaces(t, func(t *testing.T) sandbox.Places { return mustOpen(t, Config{Path: newFile(t)}).Places() })
}
