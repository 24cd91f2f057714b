//go:build !linux

package ldap

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
