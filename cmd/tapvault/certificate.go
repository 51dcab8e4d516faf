package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tapvault/tapvault/internal/assembly"
)

// lookEvery is how often the files of the certificate are looked at, when
// somebody connects.
const lookEvery = time.Second

// certificate is the server's, read again when its files change, so that a new
// one needs no restart. While the new files do not fit together the old one is
// shown.
type certificate struct {
	cfg assembly.Config
	log *slog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate
	stamp  [2]fileStamp
	looked time.Time
}

type fileStamp struct {
	at   time.Time
	size int64
}

func openCertificate(cfg assembly.Config, log *slog.Logger) (*certificate, error) {
	c := &certificate{cfg: cfg, log: log}
	stamp, err := c.stamps()
	if err != nil {
		stamp = [2]fileStamp{} // reading them says it better
	}
	cert, err := loadCertificate(cfg)
	if err != nil {
		return nil, err
	}
	c.cert, c.stamp, c.looked = &cert, stamp, time.Now()
	return c, nil
}

func (c *certificate) stamps() (s [2]fileStamp, err error) {
	for i, f := range []string{c.cfg.TLS.CertFile, c.cfg.TLS.KeyFile} {
		info, ferr := os.Stat(c.cfg.Path(f))
		if ferr != nil {
			err = errors.Join(err, ferr)
			continue
		}
		s[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return s, err
}

// get is what [tls.Config.GetCertificate] asks for.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= lookEvery {
		c.looked = now
		c.look()
	}
	return c.cert, nil
}

// ends is when the certificate that is shown stops being good.
func (c *certificate) ends() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert.Leaf.NotAfter
}

// look reads the files again if they changed. A pair that does not fit is read
// again at the next look: half of it may still be on its way.
func (c *certificate) look() {
	stamp, err := c.stamps()
	if err == nil && stamp == c.stamp {
		return
	}
	var cert tls.Certificate
	if err == nil {
		cert, err = loadCertificate(c.cfg)
	}
	if err != nil {
		c.log.Error("the new TLS certificate cannot be used; the old one is shown", "error", err.Error())
		return
	}
	c.cert, c.stamp = &cert, stamp
	c.log.Info("a new TLS certificate is shown")
}
