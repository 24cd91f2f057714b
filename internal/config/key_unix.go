//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

func ownerOf(info fs.FileInfo) owner {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{user: -1, group: -1, known: true} // nobody's: then no group may read it
	}
	return owner{user: int(stat.Uid), group: int(stat.Gid), known: true}
}

// ourselves is this process. Groups that cannot be had count as none.
func ourselves() process {
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil
	}
	return process{user: os.Geteuid(), groups: append(groups, os.Getegid())}
}
