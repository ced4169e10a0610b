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
	inUse   *certificate
	checked time.Time
}

// certificate is one that was read, and what it was read from.
type certificate struct {
	cfg     TLSConfig
	pair    tls.Certificate
	version [2]fileVersion
}

type fileVersion struct {
	modified time.Time
	size     int64
}

// checkEvery bounds how often handshakes look at the files.
const checkEvery = time.Second

func newCertificates(cfg TLSConfig, log *slog.Logger) (*certificates, error) {
	cert, err := readCertificate(cfg)
	if err != nil {
		return nil, err
	}
	return &certificates{log: log, inUse: cert, checked: time.Now()}, nil
}

// use puts a certificate in the place of the one in use.
func (c *certificates) use(cert *certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inUse, c.checked = cert, time.Now()
}

// readCertificate reads the files that cfg names.
func readCertificate(cfg TLSConfig) (*certificate, error) {
	version, err := versions(cfg)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return &certificate{cfg, pair, version}, nil
}

// checkFiles opens the files that c names, without keeping anything of them. It
// returns all faults, each as "key: what is wrong", the key below `server`.
func (c TLSConfig) checkFiles() (faults []error) {
	if c.Cert == "" || c.Key == "" {
		return nil // none, or a fault that Validate tells of
	}
	cert, err := os.ReadFile(c.Cert)
	if err != nil {
		faults = append(faults, fmt.Errorf("tls.cert: %w", err))
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		faults = append(faults, fmt.Errorf("tls.key: %w", err))
	}
	if len(faults) > 0 {
		return faults
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		faults = append(faults, fmt.Errorf("tls: %s and %s cannot be used: %w", c.Cert, c.Key, err))
	}
	return faults
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
		return &c.inUse.pair, nil
	}
	c.checked = now
	version, err := versions(c.inUse.cfg)
	if err == nil && version != c.inUse.version {
		// A cert that does not fit its key yet is one half of a change: the next
		// look finds the other half.
		var cert *certificate
		if cert, err = readCertificate(c.inUse.cfg); err == nil {
			c.inUse, c.checked = cert, time.Now()
		}
	}
	if err != nil {
		c.log.Warn("keeping the old certificate", "error", err)
	}
	return &c.inUse.pair, nil
}
