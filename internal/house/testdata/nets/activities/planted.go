// Package activities holds drivers that belong elsewhere.
package activities

import (
	_ "github.com/docker/docker/client" // want depguard
	_ "github.com/jackc/pgx/v5"         // want depguard
	_ "github.com/wflo-ai/wflo-go/pricing"
	_ "go.temporal.io/sdk/workflow" // want depguard
)
