package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/hugepage"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/internal/sysmon"
)

// drainTime is how long running requests may take to end once the service was
// told to stop.
const drainTime = 20 * time.Second

// closeTime is how long the service may take to close after that. A call of the HSM's
// module that does not return must not keep a process that was told to stop.
const closeTime = 5 * time.Second

// serving is the command that runs until it is told to stop, and sees to its end itself.
const serving = "serve"

func (a *app) serveCommand() *cobra.Command {
	var offset time.Duration
	c := &cobra.Command{
		Use:   serving,
		Short: "Run the service until it is told to stop",
		Args:  cli.Exactly(0, "serve --config FILE"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), offset)
		},
	}
	c.Flags().DurationVar(&offset, "clock-offset", 0, "shift the service's clock, to rehearse another day (rehearsal only)")
	return c
}

func (a *app) serve(ctx context.Context, offset time.Duration) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	if offset != 0 && cfg.Environment != assembly.Rehearsal {
		return cli.Misusef("reading flags: --clock-offset is for environment: rehearsal only")
	}
	large := hugepage.Use()
	resting := sysmon.Rest(cfg.CallsAtOnce()) // while what /proc says of the process is still its user's to read
	if err := noCoreDumps(); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	// The port comes first: it is the cheapest thing to fail on.
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", cfg.Listen, err)
	}
	defer listener.Close()
	log, err := obs.NewLogger(a.stderr, "json", slog.LevelInfo)
	if err != nil {
		return err
	}
	manager := findManager(log)
	if large != nil {
		log.Warn("the service runs in small pages of memory: under load it answers about a fifth less; have the kernel grant large ones (transparent_hugepage: madvise)", "error", large)
	}
	if resting != nil {
		log.Warn("Go's monitor thread looks as often as ever: under load the service answers about a tenth less; let the process read its own /proc/self/task", "error", resting)
	}
	cert, err := openCertificate(cfg, log)
	if err != nil {
		return err
	}
	now := func() time.Time { return time.Now().Add(offset) }
	service, err := build(ctx, cfg, assembly.Options{Now: now, Log: log, CertificateEnds: cert.ends})
	if errors.Is(err, hsm.ErrPIN) { // whoever starts it again by itself must not
		return cli.Misuse{Err: err}
	}
	if err != nil {
		return err
	}
	if offset != 0 {
		fmt.Fprintf(a.stderr, "tapvault: the clock is shifted by %v\n", offset)
	}
	fmt.Fprintf(a.stderr, "tapvault: listening on https://%s\n", listener.Addr())
	manager.tell(toldReady)
	return errors.Join(serveUntil(ctx, listener, cert, service, cfg, manager, log), closeWithin(closeTime, service.Close))
}

// build builds the service. When it was told to stop meanwhile, it does not wait for a
// module that does not return from being opened.
func build(ctx context.Context, cfg assembly.Config, o assembly.Options) (*assembly.Service, error) {
	var service *assembly.Service
	built := make(chan error, 1)
	go func() {
		s, err := assembly.Build(ctx, cfg, o)
		service = s
		built <- err
	}()
	select {
	case err := <-built:
		return service, err
	case <-ctx.Done():
	}
	if err := closeWithin(closeTime, func() error { return <-built }); err != nil {
		return nil, err
	}
	return service, nil
}

// closeWithin waits for closing to end, but not for ever. Nothing is lost by not waiting: what
// was answered is on the disk.
func closeWithin(most time.Duration, closing func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- closing() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(most):
		return fmt.Errorf("the service did not end within %v, and is ended: a call of the HSM's module does not return, most likely; what was answered is kept", most)
	}
}

func loadCertificate(cfg assembly.Config) (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(cfg.Path(cfg.TLS.CertFile), cfg.Path(cfg.TLS.KeyFile))
	if errors.Is(err, fs.ErrPermission) { // its own hint says whose files they have to be
		return cert, fmt.Errorf("reading TLS certificate: %w", err)
	}
	if err != nil {
		return cert, withHint(fmt.Errorf("reading TLS certificate: %w", err),
			"tls.cert_file and tls.key_file name a certificate and its key, in PEM and without a passphrase")
	}
	return cert, nil
}

// serveUntil answers requests until ctx ends and for the time of notice, in
// which it is not ready any more, then lets running ones finish.
func serveUntil(ctx context.Context, l net.Listener, cert *certificate, s *assembly.Service, cfg assembly.Config, m manager, log *slog.Logger) error {
	var goodbye leaving
	server := api.NewServer(goodbye.handler(s.Handler), tls.Certificate{}, log)
	server.ConnState = goodbye.count
	server.TLSConfig.Certificates, server.TLSConfig.GetCertificate = nil, cert.get
	if cfg.TLS.ClientCertificates {
		server.TLSConfig.ClientAuth = tls.RequestClientCert
	}
	server.RegisterOnShutdown(s.Drain)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	s.Stopping()
	m.tell(toldStopping)
	if err := goodbye.notice(cfg.StopNotice, ended); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	log.Info("stopping", "drain", drainTime.String())
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("waiting for running requests: %w", errors.Join(err, server.Close()))
	}
	log.Info("stopped")
	return nil
}
