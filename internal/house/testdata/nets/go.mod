module github.com/wflo-ai/wflo-go

go 1.26.0

require (
	github.com/docker/docker v0.0.0
	github.com/google/uuid v0.0.0
	github.com/jackc/pgx/v5 v5.0.0
	go.temporal.io/sdk v0.0.0
)

replace (
	github.com/docker/docker => ./stubs/docker
	github.com/google/uuid => ./stubs/uuid
	github.com/jackc/pgx/v5 => ./stubs/pgx
	go.temporal.io/sdk => ./stubs/sdk
)
