package main

import (
	"log/slog"
	"net"
	"os"
)

// managerEnv names the socket of the service manager that started this process.
const managerEnv = "NOTIFY_SOCKET"

// What the manager is told.
const (
	toldReady    = "READY=1\nSTATUS=ready"
	toldStopping = "STOPPING=1\nSTATUS=told to stop; running requests have their time to end"
)

// manager is the service manager, such as systemd, that waits to be told how far this
// process is. Its zero value is none.
type manager struct {
	socket string // a path, or a name that begins with @
	log    *slog.Logger
}

// findManager looks for the manager once: what this process may start has nothing to
// tell it.
func findManager(log *slog.Logger) manager {
	m := manager{socket: os.Getenv(managerEnv), log: log}
	_ = os.Unsetenv(managerEnv)
	return m
}

// tell sends one message. A manager that does not take it keeps nobody from serving,
// but the log says so: it waits for what it was not told.
func (m manager) tell(message string) {
	if m.socket == "" {
		return
	}
	c, err := net.Dial("unixgram", m.socket)
	if err == nil {
		_, err = c.Write([]byte(message))
		_ = c.Close()
	}
	if err != nil {
		m.log.Error("the service manager cannot be told how far this process is, and may wait for it or end it", "socket", m.socket, "error", err)
	}
}
