// Package postgres keeps the ledger of budgets, holds and entries in PostgreSQL
// (14 or newer), for any number of workers. [Open] gives a [Ledger], which
// implements activities.Ledger.
//
// Each method is one call of a function in the database, so one transaction and
// one round trip. Reservations and settlements that arrive while another is on
// its way go together as one batch with one commit, because a budget that many
// runs share is locked for the time of a commit, which is what bounds the
// throughput. The functions take their locks in one order: rules, effects by
// hash, calls of unknown outcome where an account is new, then accounts by id,
// so they never deadlock. They are in migrations/,
// which Open brings up to date under an advisory lock.
//
// The package needs a database whose commits are durable: leave
// synchronous_commit on. Behind PgBouncer in transaction mode, give the URL
// default_query_exec_mode=exec, and migrate once over a direct connection.
// Errors never hold the password of the URL.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/wflo-ai/wflo-go"
)

// DefaultSchema is where the tables are when Config.Schema is empty.
const DefaultSchema = "wflo"

// migrationLock is the advisory lock that one migrating process holds.
const migrationLock = 0x77666c6f2d6d6967 // "wflo-mig"

//go:embed migrations/*.sql
var migrations embed.FS

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Config says where the database is.
type Config struct {
	// URL is the address, such as postgres://USER:PASSWORD@HOST:5432/DATABASE.
	// Required. The options of pgxpool (pool_max_conn_lifetime and so on) work.
	URL string
	// MaxConns is the most connections that are open; zero means the URL's
	// pool_max_conns, or else four or the number of CPUs, whichever is more.
	MaxConns int32
	// Schema holds the tables and functions, and is made when it does not
	// exist. Empty means DefaultSchema.
	Schema string
	// Logger gets migrations; nil means none.
	Logger *slog.Logger
}

// Ledger is an activities.Ledger in PostgreSQL. Its methods may be called at
// the same time.
type Ledger struct {
	pool    *pgxpool.Pool
	schema  string // quoted
	sql     statements
	batches batcher
	records *records
}

// Open connects and brings the schema up to date. A bad configuration, and a
// schema that a newer wflo has made, give an *wflo.Error with wflo.CodeInvalid.
// The caller closes the ledger.
func Open(ctx context.Context, c Config) (*Ledger, error) {
	conf, err := c.parse()
	if err != nil {
		return nil, err
	}
	if c.Schema == "" {
		c.Schema = DefaultSchema
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := migrate(ctx, conf.ConnConfig, c); err != nil {
		return nil, err
	}
	return connect(ctx, conf, c.Schema)
}

func connect(ctx context.Context, conf *pgxpool.Config, schema string) (*Ledger, error) {
	pool, err := pgxpool.NewWithConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	l := &Ledger{pool: pool, schema: pgx.Identifier{schema}.Sanitize(), sql: statementsFor(schema)}
	l.batches.send = l.sendBatch
	l.records = newRecords(l, schema)
	return l, nil
}

// parse checks the configuration. What the URL's parser says is not passed on,
// because it quotes the URL.
func (c Config) parse() (*pgxpool.Config, error) {
	if c.URL == "" {
		return nil, wflo.Invalid("postgres.url", "is empty", "set it to postgres://USER:PASSWORD@HOST:5432/DATABASE")
	}
	if c.Schema != "" && !schemaName.MatchString(c.Schema) {
		return nil, wflo.Invalid("postgres.schema", fmt.Sprintf("is %q", c.Schema), "use up to 63 lower-case letters, digits and underscores")
	}
	if c.MaxConns < 0 {
		return nil, wflo.Invalid("postgres.max_conns", fmt.Sprintf("is %d", c.MaxConns), "use 0 for the default, or a positive number")
	}
	conf, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, wflo.Invalid("postgres.url", "cannot be read",
			"write postgres://USER:PASSWORD@HOST:5432/DATABASE, with %XX for special characters in the password")
	}
	if c.MaxConns > 0 {
		conf.MaxConns = c.MaxConns
		conf.MinConns = min(conf.MinConns, c.MaxConns)
	}
	if conf.ConnConfig.RuntimeParams["application_name"] == "" {
		conf.ConnConfig.RuntimeParams["application_name"] = "wflo"
	}
	return conf, nil
}

// migrate runs what is missing, on connections of its own. The lock is taken
// before goose looks at anything, because goose makes its table unlocked.
func migrate(ctx context.Context, conf *pgx.ConnConfig, c Config) (err error) {
	conf = conf.Copy()
	// The migrations name no schema, and this one may not exist yet.
	conf.RuntimeParams["search_path"] = pgx.Identifier{c.Schema}.Sanitize()
	db := stdlib.OpenDB(*conf)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// The session's end gives the lock back, whatever happens. It is waited for
	// in the database and not by polling.
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	if err := makeSchema(ctx, conn, c.Schema); err != nil {
		return err
	}
	current, known, err := migrateUp(ctx, db)
	if err != nil {
		return fmt.Errorf("migrate PostgreSQL schema %s: %w", c.Schema, err)
	}
	if current > known {
		if err := newer(ctx, conn, c.Schema, current, known); err != nil {
			return err
		}
		c.Logger.WarnContext(ctx, "a newer wflo has migrated the schema; this one can still work with it", "schema", c.Schema, "version", current, "known", known)
	}
	c.Logger.DebugContext(ctx, "ledger is open", "schema", c.Schema, "version", current)
	return nil
}

// newer refuses a schema of which a later program has taken away what this one uses:
// one with such a version is rolled back no further than schema_terms says.
func newer(ctx context.Context, conn *sql.Conn, schema string, current, known int64) error {
	oldest := current
	query := "SELECT max(oldest) FROM " + pgx.Identifier{schema, "schema_terms"}.Sanitize()
	err := conn.QueryRowContext(ctx, query).Scan(&oldest)
	if err == nil && oldest <= known {
		return nil
	}
	return wflo.Errorf(wflo.CodeInvalid, "run that wflo, or choose another schema",
		"PostgreSQL schema %s has version %d, this wflo knows %d: a newer one has migrated it", schema, current, known)
}

// migrateUp returns the version that the schema has then, and the newest one
// that this program knows.
func migrateUp(ctx context.Context, db *sql.DB) (current, known int64, err error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return 0, 0, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir,
		goose.WithTableName("migrations"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return 0, 0, err
	}
	if _, err := p.Up(ctx); err != nil {
		return 0, 0, err
	}
	return p.GetVersions(ctx)
}

func makeSchema(ctx context.Context, conn *sql.Conn, schema string) error {
	var exists bool
	if err := conn.QueryRowContext(ctx, "SELECT to_regnamespace($1) IS NOT NULL", schema).Scan(&exists); err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	if exists {
		return nil // CREATE SCHEMA IF NOT EXISTS would ask for the right to create all the same
	}
	if _, err := conn.ExecContext(ctx, "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	return nil
}

// Close waits for running calls and closes the connections.
func (l *Ledger) Close() error {
	l.batches.close()
	l.records.appends.close()
	l.pool.Close()
	return nil
}
