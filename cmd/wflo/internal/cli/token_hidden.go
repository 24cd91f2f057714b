package cli

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"
)

// readHidden reads a line from a terminal that does not show what is typed.
func readHidden(ctx context.Context, f *os.File) (string, error) {
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	// Whoever interrupts gets a terminal back that shows what they type.
	defer context.AfterFunc(ctx, func() { _ = term.Restore(fd, before) })()
	line, err := term.ReadPassword(fd)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return string(line), nil
}
