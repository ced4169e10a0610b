package bench

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// A certificate for 127.0.0.1 in DER, but for its key and its signature, which always
// have as many bytes with Ed25519 (RFC 8410). So crypto/x509 need not be able to make
// certificates, which is 75 kB of the binary.
const (
	certificateHead = "\x30\x82\x01\x1e"
	beforeKey       = "\x30\x81\xd1\xa0\x03\x02\x01\x02\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70" + // version 3, serial number 1, Ed25519
		"\x30\x17\x31\x15\x30\x13\x06\x03\x55\x04\x03\x13\x0csluice bench" + // issuer
		"\x30\x20\x17\x0d000101000000Z\x18\x0f99991231235959Z" + // valid
		"\x30\x17\x31\x15\x30\x13\x06\x03\x55\x04\x03\x13\x0csluice bench" + // subject
		"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
	behindKey = "\xa3\x40\x30\x3e\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x02\x84" + // signs, certificates too
		"\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff" + // is an authority
		"\x30\x0a\x06\x03\x55\x1d\x0e\x04\x03\x04\x01\x01" +
		"\x30\x0f\x06\x03\x55\x1d\x11\x04\x08\x30\x06\x87\x04\x7f\x00\x00\x01" // its address
	beforeSignature = "\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00"
)

// newCertificate makes one whose key nobody else has, which signs itself.
func newCertificate() (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	signed := slices.Concat([]byte(beforeKey), public, []byte(behindKey))
	der := slices.Concat([]byte(certificateHead), signed, []byte(beforeSignature), ed25519.Sign(private, signed))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

// certificate makes one for the run, and gives the file by which gateways trust it.
func (r *run) certificate() (server *tls.Config, file string, err error) {
	c, err := newCertificate()
	if err != nil {
		return nil, "", err
	}
	file = filepath.Join(r.dir, "ca.pem")
	pem := "-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(c.Certificate[0]) + "\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(file, []byte(pem), 0o600); err != nil {
		return nil, "", fmt.Errorf("write certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c}}, file, nil
}
