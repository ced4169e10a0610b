package upstream

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"sluice/internal/llm"
)

// TestMistakenPorts: an upstream that speaks another protocol than it is taken for could not
// be reached, to a client; those who run the gateway are told what is probably wrong.
func TestMistakenPorts(t *testing.T) {
	plain, _ := serve(t, echo, nil)
	secure, _ := serve(t, echo, withTLS)
	secured := strings.TrimPrefix(secure.URL, "https://")
	l := listener(t)
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&secure.TLS.Certificates[0])))
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-ended })
	closing := listen(t, func(_ int, c net.Conn) { _ = c.Close() })
	reading := listen(t, func(_ int, c net.Conn) {
		_, _ = c.Read(make([]byte, 24))
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c) // or what it said is lost with a reset
	})
	mutual, _ := serve(t, echo, func(srv *httptest.Server) {
		withTLS(srv)
		srv.TLS.ClientAuth, srv.TLS.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	})
	h2c := func(c *Config, _ *Options) { c.H2C = true }
	for name, test := range map[string]struct {
		base        string
		change      func(*Config, *Options)
		code, hint  string
		unprocessed bool
	}{
		"TLS to a port without":                 {"https://" + strings.TrimPrefix(plain.URL, "http://"), nil, "upstream_unreachable", "speaks HTTP without TLS", true},
		"TLS to what closes":                    {"https://" + strings.TrimPrefix(closing, "http://"), nil, "upstream_unreachable", "", true},
		"HTTP/2 in cleartext to TLS":            {"http://" + secured, h2c, "", "TLS", false},
		"HTTP/2 in cleartext to gRPC with TLS":  {"http://" + l.Addr().String(), h2c, "", "TLS", false},
		"HTTP/2 in cleartext to HTTP/1":         {plain.URL, h2c, "", "speak", false},
		"HTTP/2 in cleartext to a hand-written": {reading, h2c, "upstream_unreachable", "speaks HTTP/1.1", true},
		"HTTP/2 in cleartext to what closes":    {closing, h2c, "", "closed the connection before it said anything", false},
		"unknown authority":                     {secure.URL, nil, "upstream_unreachable", "http_client.tls.ca", true},
		"another host":                          {strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), func(_ *Config, o *Options) { o.RootCAs = roots(secure) }, "upstream_unreachable", "for another host", true},
		"no certificate":                        {mutual.URL, func(_ *Config, o *Options) { o.RootCAs = roots(mutual) }, "upstream_unreachable", "http_client.tls.cert", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, test.base, test.change)
			_, _, err := fetch(t.Context(), c, post("hello"))
			e := llm.AsError(err)
			if e.Status != 502 || test.code != "" && e.Code != test.code || !strings.Contains(e.Hint, test.hint) || test.hint == "" && e.Hint != "" || test.unprocessed && !e.Unprocessed {
				t.Errorf("%+v, hint %q", e, e.Hint)
			}
			if test.hint != "" && strings.Contains(e.Message, test.hint) || !strings.Contains(e.Error(), e.Hint) {
				t.Errorf("the client is told %q, the log %q", e.Message, e.Error())
			}
		})
	}
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
