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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := certificates(t), certificates(t)
	p := redistest.Port(t)
	redistest.Start(t, "--tls-port", p, "--tls-cert-file", ours+"/cert", "--tls-key-file", ours+"/key", "--tls-ca-cert-file", ours+"/cert")
	at127 := "rediss://127.0.0.1:" + p + "?"
	pair := "&cert_file=" + ours + "/cert&key_file=" + ours + "/key"
	c := up(t, nil, at127+"ca_file="+ours+"/cert"+pair)
	is(t, "set", do(t, c, "SET", "a", "x"), "OK")
	named := up(t, nil, at127+"ca_file="+ours+"/cert&server_name=redis.test"+pair)
	is(t, "found", do(t, named, "GET", "a"), "x")
	up(t, nil, at127+"skip_verify=true"+pair)

	for what, params := range map[string]string{
		"another CA":     "ca_file=" + theirs + "/cert" + pair,
		"another name":   "ca_file=" + ours + "/cert&server_name=other.test" + pair,
		"no certificate": "ca_file=" + ours + "/cert",
	} {
		var log lines
		wrong := client(t, nil, at127+params, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		testkit.Until(t, what, func() bool { return strings.Contains(log.String(), "does not answer") })
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

// move puts the certificate of a folder in place of another one's.
func move(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"cert", "key"} {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
	}
}
