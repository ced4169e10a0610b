package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/cache"
)

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A user needs no more than the package comment says.
func TestPassword(t *testing.T) {
	t.Parallel()
	const password = "p/s3cret:@"
	s := start(t, "--databases", "4")
	rules := "~sluice:* &sluice:* +getrange +pttl +set +get +incr +setnx +scan +unlink +publish +subscribe +select"
	if err := s.ACLSetUser(t.Context(), "sluice", append(strings.Fields(rules), "on", ">"+password)...).Err(); err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "unix", User: url.UserPassword("sluice", password), Path: s.Options().Addr, RawQuery: "db=3"}
	l := ready(t, conf(u.String()), Options{})
	stored(t, l, at("m", "a"), "x")
	is(t, "in the other database", s.DBSize(t.Context()).Val(), 0)
	if err := l.Purge(t.Context(), cache.Purge{}); err != nil {
		t.Error(err)
	}
	is(t, "purged", get(t, l, at("m", "a")), "-")

	u.User = url.UserPassword("sluice", "wr0ng")
	var log lines
	wrong, err := open(conf(u.String()), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, fast)
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	until(t, "said why", func() bool { return strings.Contains(log.String(), "WRONGPASS") })
	is(t, "up", wrong.Up(), false)
	is(t, "shown", strings.Contains(log.String(), "wr0ng"), false)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := certificates(t), certificates(t)
	p := port(t)
	start(t, "--tls-port", p, "--tls-cert-file", ours+"/cert", "--tls-key-file", ours+"/key", "--tls-ca-cert-file", ours+"/cert")
	at127 := "rediss://127.0.0.1:" + p + "?"
	pair := "&cert_file=" + ours + "/cert&key_file=" + ours + "/key"
	l := ready(t, conf(at127+"ca_file="+ours+"/cert"+pair), Options{})
	stored(t, l, at("m", "a"), "x")
	if err := l.Purge(t.Context(), cache.Purge{}); err != nil {
		t.Error(err)
	}
	named := ready(t, conf(at127+"ca_file="+ours+"/cert&server_name=redis.test"+pair), Options{})
	is(t, "purged", get(t, named, at("m", "a")), "-")
	ready(t, conf(at127+"skip_verify=true"+pair), Options{})

	for what, params := range map[string]string{
		"another CA":     "ca_file=" + theirs + "/cert" + pair,
		"another name":   "ca_file=" + ours + "/cert&server_name=other.test" + pair,
		"no certificate": "ca_file=" + ours + "/cert",
	} {
		var log lines
		wrong, err := open(conf(at127+params), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, fast)
		if err != nil {
			t.Fatal(err)
		}
		until(t, what, func() bool { return strings.Contains(log.String(), "does not answer") })
		is(t, what, wrong.Up(), false)
		wrong.Close()
	}
}

// certificates makes a certificate for 127.0.0.1 and redis.test that is its own
// authority; it returns the folder with cert and key.
func certificates(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"redis.test"},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tls.LoadX509KeyPair(dir+"/cert", dir+"/key"); err != nil {
		t.Fatal(err)
	}
	return dir
}
