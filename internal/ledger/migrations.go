package ledger

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// NewestMigration is the highest number of the files NUMBER_NAME.sql of a folder, which
// is the version of the schema after all of them.
func NewestMigration(from fs.FS, dir string) (newest int64, err error) {
	files, err := fs.ReadDir(from, dir)
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read migrations: %s begins with no number: %w", f.Name(), err)
		}
		newest = max(newest, n)
	}
	return newest, nil
}
