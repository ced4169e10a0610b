package front

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificates holds the listener's certificate and reads it again when its
// files have changed. One that cannot be read leaves the last good one in use.
type certificates struct {
	log *slog.Logger

	mu      sync.Mutex
	cfg     TLSConfig
	cert    *tls.Certificate
	version [2]fileVersion
	checked time.Time
}

type fileVersion struct {
	modified time.Time
	size     int64
}

// checkEvery bounds how often handshakes look at the files.
const checkEvery = time.Second

func newCertificates(cfg TLSConfig, log *slog.Logger) (*certificates, error) {
	c := &certificates{log: log}
	return c, c.use(cfg)
}

// use reads the files that cfg names, or changes nothing.
func (c *certificates) use(cfg TLSConfig) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(cfg)
}

func (c *certificates) read(cfg TLSConfig) error {
	version, err := versions(cfg)
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	c.cfg, c.cert, c.version, c.checked = cfg, &cert, version, time.Now()
	return nil
}

func versions(cfg TLSConfig) (v [2]fileVersion, err error) {
	for i, name := range [2]string{cfg.Cert, cfg.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return v, fmt.Errorf("read certificate: %w", err)
		}
		v[i] = fileVersion{info.ModTime(), info.Size()}
	}
	return v, nil
}

// get is called for every handshake.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.checked) < checkEvery {
		return c.cert, nil
	}
	c.checked = now
	version, err := versions(c.cfg)
	if err == nil && version != c.version {
		err = c.read(c.cfg)
		// A cert that does not fit its key yet is one half of a change: the next
		// look finds the other half.
	}
	if err != nil {
		c.log.Warn("keeping the old certificate", "error", err)
	}
	return c.cert, nil
}
