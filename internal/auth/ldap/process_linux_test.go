package ldap

import "syscall"

// attributes end the server with the tests, even when those are killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
