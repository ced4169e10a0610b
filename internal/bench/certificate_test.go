package bench

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
)

// The certificate is one to Go's library, which trusts it for this machine.
func TestCertificate(t *testing.T) {
	c, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	if _, err := parsed.Verify(x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
	near, far := net.Pipe()
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{c}})
	go func() { _ = server.Handshake() }()
	client := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
	near.Close()
	far.Close()
}
