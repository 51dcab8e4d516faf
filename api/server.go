package api

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// protocols are what may be spoken. Some old clients offer HTTP/1.0 alone, by
// name, and would not get past the handshake.
var protocols = []string{"h2", "http/1.1", "http/1.0"}

// NewServer returns an HTTP server for h: TLS 1.3, HTTP/2, 1.1 and 1.0, with every
// wait bounded. The caller listens, serves with ServeTLS("", "") and shuts it
// down.
func NewServer(h http.Handler, cert tls.Certificate, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: protocols},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    4 * maxHeader, // beyond, the bare 431 of HTTP
		// Handshakes that strangers fail are not the operator's errors.
		ErrorLog: slog.NewLogLogger(unquoted{log.Handler()}, slog.LevelDebug),
	}
}

// unquoted cuts off what a message quotes of what somebody sent: whoever speaks another
// protocol than agreed is told of with the beginning of a path, a header or a body.
type unquoted struct{ slog.Handler }

// Handle cuts the message and passes the record on.
func (u unquoted) Handle(ctx context.Context, r slog.Record) error {
	r.Message, _, _ = strings.Cut(r.Message, `"`)
	return u.Handler.Handle(ctx, r)
}
