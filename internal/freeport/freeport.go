// Package freeport finds a port for a program that a test starts, and starts
// again.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// Address is an address of this machine on which nobody listens, nor will by
// chance: its port is none of those that the kernel gives to whoever asks for
// any, or connects somewhere.
func Address() (string, error) {
	from, to := 32768, 60999
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &from, &to)
	}
	for range 1000 {
		port := 10_000 + rand.IntN(50_000)
		if port >= from && port <= to {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("no free port was found")
}
