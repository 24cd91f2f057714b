//go:build !linux && !darwin && !freebsd

package doctor

import (
	"errors"
	"fmt"
)

func freeSpace(string) (uint64, error) { return 0, fmt.Errorf("free space: %w", errors.ErrUnsupported) }
