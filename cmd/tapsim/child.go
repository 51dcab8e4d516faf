package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a running `tapvault serve`.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
	err  error         // why, once done
}

// startService runs the service of a rehearsal and waits until it listens.
func startService(ctx context.Context, bin, dir string, offset time.Duration) (*child, error) {
	log, err := os.OpenFile(filepath.Join(dir, "service.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	args := []string{"serve", "--config", filepath.Join(dir, "tapvault.yaml")}
	if offset != 0 {
		args = append(args, "--clock-offset", offset.String())
	}
	c := &child{cmd: exec.CommandContext(ctx, bin, args...), done: make(chan struct{})}
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 30 * time.Second
	pipe, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the service: %w", err)
	}
	ready := make(chan struct{})
	go func() {
		last := watch(pipe, log, ready)
		c.err = c.cmd.Wait()
		if c.err != nil {
			c.err = fmt.Errorf("%w; it said: %s", c.err, last)
		}
		_ = log.Close()
		close(c.done)
	}()
	select {
	case <-ready:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("starting the service: %w", errors.Join(c.err, errors.New("it ended at once")))
	case <-time.After(3 * time.Minute):
		return nil, errors.Join(errors.New("starting the service: it did not listen within three minutes"), c.stop())
	}
}

// watch copies the service's messages to log, and closes ready when it says
// that it listens. It returns the last plain message.
func watch(in io.Reader, log io.Writer, ready chan struct{}) (last string) {
	var once sync.Once
	for s := bufio.NewScanner(in); s.Scan(); {
		fmt.Fprintln(log, s.Text())
		if text, ok := strings.CutPrefix(s.Text(), "tapvault: "); ok {
			last = text
			if strings.HasPrefix(text, "listening on ") {
				once.Do(func() { close(ready) })
			}
		}
	}
	return last
}

// stop asks the service to end and waits until it has.
func (c *child) stop() error {
	select {
	case <-c.done:
		return c.err
	default:
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.done
	return c.err
}

// freePort finds a port that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
