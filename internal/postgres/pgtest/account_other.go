//go:build !linux

package pgtest

import "syscall"

// account is the user that the server runs as: our own.
type account struct{}

func unprivileged() (account, error) { return account{}, nil }

func (account) own(string) error { return nil }

func (account) attributes() *syscall.SysProcAttr { return nil }
