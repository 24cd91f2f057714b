package postgres

import (
	"testing"

	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func TestSpends(t *testing.T) { storetest.TestSpends(t, mustOpen(t, Config{})) }
