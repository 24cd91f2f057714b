package devserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.temporal.io/server/schema/sqlite"

	// The driver that the Temporal server uses; it registers as "sqlite".
	_ "modernc.org/sqlite"

	"github.com/wflo-ai/wflo-go"
)

// applicationID marks our files in SQLite's header: "WFLO".
const applicationID = 0x57464C4F

// sqliteBusy is SQLite's result code for a lock that another holds.
const sqliteBusy = 5

const moveHint = "move the file away and start again, or use another directory with --data-dir"

// fileName holds the server's minor version, because a new minor version may
// bring a new schema and the server has no migration for SQLite.
func fileName() string {
	major, minor := serverMinor()
	return fmt.Sprintf("temporal-%d.%d.db", major, minor)
}

func serverMinor() (major, minor int) {
	parts := strings.SplitN(Version(), ".", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	major, _ = strconv.Atoi(parts[0])
	minor, _ = strconv.Atoi(parts[1])
	return major, minor
}

// schemaVersion is kept in the file as SQLite's user_version.
func schemaVersion() int {
	major, minor := serverMinor()
	return major*1000 + minor
}

// prepareFile makes the database when there is none, and otherwise checks that
// it is one that this version made. It never changes a file that it refuses.
func prepareFile(ctx context.Context, file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createFile(ctx, file)
	case err != nil:
		return fmt.Errorf("database: %w", err)
	case !info.Mode().IsRegular():
		return wflo.Errorf(wflo.CodeConflict, moveHint, "database %s is not a regular file", file)
	}
	return checkFile(ctx, file)
}

// createFile builds the schema beside the file and renames it when it is whole,
// so that an interrupted start leaves no half-made database behind.
func createFile(ctx context.Context, file string) error {
	draft := file + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("database: %w", err)
	}
	conf := sqlConfig(draft, true)
	conf.ConnectAttributes["synchronous"] = "0" // a crash now only loses the draft
	conf.ConnectAttributes["journal_mode"] = "memory"
	if err := sqlite.SetupSchema(conf); err != nil {
		return fmt.Errorf("create database %s: %w", file, err)
	}
	if err := markFile(ctx, draft); err != nil {
		return fmt.Errorf("create database %s: %w", file, err)
	}
	// Histories may hold personal data.
	if err := os.Chmod(draft, 0o600); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if err := os.Rename(draft, file); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

func markFile(ctx context.Context, file string) error {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=rw")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion()))
	return err
}

// checkFile refuses a file that is damaged, foreign, or of another version.
func checkFile(ctx context.Context, file string) error {
	head := make([]byte, 16)
	f, err := os.Open(file)
	if err != nil {
		return wflo.Errorf(wflo.CodeConflict, moveHint, "database: %w", err)
	}
	_, err = io.ReadFull(f, head)
	if err = errors.Join(err, f.Close()); err != nil || string(head) != "SQLite format 3\x00" {
		return wflo.Errorf(wflo.CodeConflict, moveHint, "%s is not a SQLite database", file)
	}
	db, err := sql.Open("sqlite", "file:"+file+"?mode=rw")
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	defer db.Close()
	var id, version int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return damaged(file, err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return damaged(file, err)
	}
	switch {
	case id != applicationID:
		return wflo.Errorf(wflo.CodeConflict, moveHint, "%s is a SQLite database, but wflo did not make it", file)
	case version != schemaVersion():
		return wflo.Errorf(wflo.CodeConflict, moveHint, "%s was made for Temporal server %d.%d, this is %s", file, version/1000, version%1000, Version())
	}
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return damaged(file, err)
	}
	if verdict != "ok" {
		return damaged(file, errors.New(verdict))
	}
	return nil
}

func damaged(file string, err error) error {
	return wflo.Errorf(wflo.CodeConflict, moveHint, "database %s is damaged: %w", file, err)
}

// lockDir lets one process at a time use the directory. The lock is an open
// transaction on an empty database: SQLite has portable file locks, and the
// system drops them when the process dies.
func lockDir(ctx context.Context, dir string) (io.Closer, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "lock.db")+"?mode=rwc")
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		_ = db.Close()
		var busy interface{ Code() int }
		if errors.As(err, &busy) && busy.Code()&0xff == sqliteBusy {
			return nil, wflo.Errorf(wflo.CodeConflict, "stop the other `wflo dev`, or use another directory with --data-dir",
				"%s is in use by another process", dir)
		}
		return nil, wflo.Errorf(wflo.CodeConflict, "choose a directory that you may write to with --data-dir", "lock %s: %w", dir, err)
	}
	return db, nil
}

// fold writes the log beside the database into it, so that the one file is the
// whole state. The server leaves that undone when it stops; the next start
// would do it as well.
func fold(file string) error {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=rw")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}
