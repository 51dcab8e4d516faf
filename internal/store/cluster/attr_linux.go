package cluster

import "syscall"

// attributes has the server end with this process even when that is killed:
// SIGINT asks it to end without waiting for clients.
func attributes(who *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGINT}
}
