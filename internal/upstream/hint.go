package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"sluice/internal/llm"
)

// hintOf says what is probably wrong where a handshake of TLS failed with err; "" where
// nothing is known.
func hintOf(err error) string {
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(header.RecordHeader[:4]) == "HTTP" {
			return "The port speaks HTTP without TLS: its base_url begins with http://, or another port is meant."
		}
		return "The port answers without TLS: its base_url begins with http://, or another port is meant."
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "Its certificate is of an authority that is not trusted: name that in http_client.tls.ca."
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "Its certificate is for another host than base_url names."
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "Its certificate is not valid, for instance any more."
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == alertOp {
		return "It refused the handshake of TLS: it may ask for a certificate (http_client.tls.cert and key), or know no host as base_url names it."
	}
	return ""
}

// hintClosed is for a connection without TLS that ended before it began.
const hintClosed = "It closed the connection before it said anything: the port may want TLS (https:// in base_url), or speak another protocol."

// mistaken gives the error of a call over HTTP/2 without TLS whose connection showed that
// its other end speaks another protocol, and err, which is what became of the call,
// otherwise. HTTP/2 begins with a frame of SETTINGS, whose first byte is 0.
func (c *Client) mistaken(cn *conn, err, explained error) error {
	sock, plain := cn.socket.(*watched)
	e, ok := errors.AsType[*llm.Error](explained)
	if !ok || !plain || cn.nc != cn.socket {
		return explained
	}
	switch first := sock.first.Load(); {
	case first == 256+'H':
		e = c.unprocessed(llm.Unreachable, 502, "upstream_unreachable", unreachable, err)
		e.Hint = "The port speaks HTTP/1.1, and no HTTP/2 without TLS: it is no server of gRPC, or not the port for that."
	case first == 256+0x15 || first == 256+0x16: // an alert, or a handshake
		e = c.unprocessed(llm.Unreachable, 502, "upstream_unreachable", unreachable, err)
		e.Hint = "The port wants TLS: its base_url begins with https://."
	case first == 0 && (e.Fault == llm.Cut || e.Fault == llm.Refused):
		told := *e
		told.Hint = hintClosed
		e = &told
	}
	return e
}
