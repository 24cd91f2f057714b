package postgres

import (
	"fmt"
	"testing"

	"github.com/wflo-ai/wflo-go/activities/storetest"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestPlaces(t *testing.T) {
	url := server.Database(t)
	schemas := 0
	storetest.TestPlaces(t, func(t *testing.T) sandbox.Places {
		schemas++
		return mustOpen(t, Config{URL: url, MaxConns: 4, Schema: fmt.Sprint("places", schemas)}).Places()
	})
	noDeadlocks(t, url)
}
