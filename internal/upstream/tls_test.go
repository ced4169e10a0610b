package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/llm"
)

func roots(srv *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return pool
}

func withH2(s *httptest.Server) { s.EnableHTTP2 = true }
func withTLS(s *httptest.Server) {
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
}

func via(t testing.TB, proxy string) func(*url.URL) (*url.URL, error) {
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return func(*url.URL) (*url.URL, error) { return u, nil }
}

func TestTLS(t *testing.T) {
	for _, tc := range []struct {
		name, proto string
		server      func(*httptest.Server)
		change      func(*Config)
	}{
		{"h2 by ALPN", "HTTP/2.0", withH2, func(*Config) {}},
		{"h2 switched off", "HTTP/1.1", withH2, func(c *Config) { c.HTTP2 = false }},
		{"server without h2", "HTTP/1.1", withTLS, func(*Config) {}},
		{"TLS 1.2", "HTTP/2.0", func(s *httptest.Server) {
			withH2(s)
			s.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
		}, func(*Config) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, _ := serve(t, echo, tc.server)
			c := newClient(t, srv.URL, func(cfg *Config, o *Options) {
				o.RootCAs = roots(srv)
				tc.change(cfg)
			})
			for _, body := range []string{"", "hello", strings.Repeat("large ", 1<<16)} {
				r, got, err := fetch(context.Background(), c, post(body))
				if err != nil || got != body || r.Get("X-Proto") != tc.proto || r.Get("X-Uri") != "/v1/chat/completions?a=b%20c" {
					t.Fatalf("%d bytes back of %d, %+v, %v", len(got), len(body), r, err)
				}
			}
			if p := c.pool.snapshot(); p.open != 1 || p.idle != 1 {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestTLSResumes(t *testing.T) {
	srv, _ := serve(t, echo, withTLS)
	c := newClient(t, srv.URL, func(cfg *Config, o *Options) {
		o.RootCAs = roots(srv)
		cfg.MaxKeepaliveConnections = 0
	})
	for range 3 {
		if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.stats.tlsResumed.Load(); n != 2 {
		t.Errorf("%d of 2 later handshakes resumed a session", n)
	}
}

func TestUntrustedCertificate(t *testing.T) {
	srv, _ := serve(t, echo, func(s *httptest.Server) {
		withH2(s)
		s.Config.ErrorLog = nil
	})
	c := newClient(t, srv.URL, func(_ *Config, o *Options) { o.RootCAs = x509.NewCertPool() })
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			_, _, err := fetch(context.Background(), c, post("x"))
			wantError(t, err, 502, "upstream_unreachable", true)
		})
	}
	wg.Wait()
}

// joined is a connection that, while join is set, keeps what is written.
type joined struct {
	net.Conn
	join bool
	kept []byte
}

func (j *joined) Write(b []byte) (int, error) {
	if !j.join {
		return j.Conn.Write(b)
	}
	j.kept = append(j.kept, b...)
	return len(b), nil
}

// Events that came together, a TLS record each, are one piece: package http1
// tests how.
func TestRecordsComeAsOnePiece(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("TLS is read ahead on Linux only")
	}
	identity, _ := serve(t, echo, withTLS)
	base := listen(t, func(_ int, nc net.Conn) {
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		j := &joined{Conn: nc}
		tc := tls.Server(j, &tls.Config{Certificates: identity.TLS.Certificates})
		if _, err := http.ReadRequest(bufio.NewReader(tc)); err != nil {
			return
		}
		j.join = true
		_, _ = io.WriteString(tc, "HTTP/1.1 200 OK\r\nContent-Length: 10800\r\n\r\n")
		for range 54 {
			_, _ = io.WriteString(tc, strings.Repeat("x", 200))
		}
		_, _ = nc.Write(j.kept)
		_, _ = nc.Read(make([]byte, 1))
	})
	c := newClient(t, strings.Replace(base, "http:", "https:", 1), func(_ *Config, o *Options) { o.RootCAs = roots(identity) })
	call := post("{}")
	r, err := c.Do(context.Background(), call)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	size, pieces := 0, 0
	for ; err == nil; pieces++ {
		var p []byte
		p, err = r.Next()
		size += len(p)
	}
	if size != 10800 || err != io.EOF || pieces > 4 { // as promised
		t.Errorf("%d bytes in %d pieces, %v", size, pieces-1, err)
	}
}

// A burst on a cold pool makes one HTTP/2 connection, not one per call.
func TestBurstSharesOneH2Connection(t *testing.T) {
	srv, _ := serve(t, echo, withH2)
	c := newClient(t, srv.URL, func(_ *Config, o *Options) { o.RootCAs = roots(srv) })
	burst(t, c, 50)
	if n := c.stats.createdH2.Load(); n != 1 {
		t.Errorf("%d connections for 50 calls at once", n)
	}
}

// The same burst at a server that turns out to speak HTTP/1.1 only.
func TestBurstOnH1OverTLS(t *testing.T) {
	srv, _ := serve(t, echo, withTLS)
	c := newClient(t, srv.URL, func(_ *Config, o *Options) { o.RootCAs = roots(srv) })
	burst(t, c, 50)
	if c.stats.createdH1.Load() == 0 || c.stats.createdH2.Load() != 0 {
		t.Error("wrong protocol")
	}
}

func burst(t *testing.T, c *Client, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, body, err := fetch(context.Background(), c, post(fmt.Sprint(i))); err != nil || body != fmt.Sprint(i) {
				t.Errorf("%q %v", body, err)
			}
		})
	}
	wg.Wait()
}

// connectProxy is a proxy that tunnels to target whatever was asked for.
func connectProxy(t testing.TB, target, wantAuth string, asked chan<- string) string {
	return listen(t, func(_ int, nc net.Conn) {
		br := bufio.NewReader(nc)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		asked <- req.Method + " " + req.RequestURI
		if got := req.Header.Get("Proxy-Authorization"); got != wantAuth {
			_, _ = io.WriteString(nc, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		up, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer up.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
		go func() { _, _ = io.Copy(up, br); _ = up.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(nc, up)
	})
}

func TestConnectProxy(t *testing.T) {
	srv, _ := serve(t, echo, withH2)
	target := strings.TrimPrefix(srv.URL, "https://")
	asked := make(chan string, 10)
	proxy := connectProxy(t, target, "Basic dXNlcjpwYXNz", asked)
	c := newClient(t, srv.URL, func(_ *Config, o *Options) {
		o.RootCAs = roots(srv)
		o.Proxy = via(t, strings.Replace(proxy, "http://", "http://user:pass@", 1))
	})
	r, body, err := fetch(context.Background(), c, post("through"))
	if err != nil || body != "through" || r.Get("X-Proto") != "HTTP/2.0" {
		t.Fatalf("%q %v", body, err)
	}
	if got := <-asked; got != "CONNECT "+target {
		t.Errorf("proxy was asked: %s", got)
	}
	refused := newClient(t, srv.URL, func(_ *Config, o *Options) {
		o.RootCAs = roots(srv)
		o.Proxy = via(t, proxy)
	})
	_, _, err = fetch(context.Background(), refused, post("x"))
	wantError(t, err, 502, "upstream_unreachable", true)
}

func TestPlainProxy(t *testing.T) {
	type seen struct{ uri, auth, host string }
	got := make(chan seen, 1)
	proxy, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- seen{r.RequestURI, r.Header.Get("Proxy-Authorization"), r.Host}
		echo(w, r)
	}), nil)
	c := newClient(t, "http://models.example", func(_ *Config, o *Options) {
		o.Proxy = via(t, strings.Replace(proxy.URL, "http://", "http://user:pass@", 1))
	})
	if _, body, err := fetch(context.Background(), c, post("x")); err != nil || body != "x" {
		t.Fatalf("%q %v", body, err)
	}
	if s := <-got; s.uri != "http://models.example/v1/chat/completions?a=b%20c" || s.auth != "Basic dXNlcjpwYXNz" || s.host != "models.example" {
		t.Errorf("%+v", s)
	}
}

// socksProxy speaks just enough of RFC 1928: no authentication, CONNECT.
func socksProxy(t testing.TB, target string) string {
	return listen(t, func(_ int, nc net.Conn) {
		b := make([]byte, 512)
		if _, err := io.ReadFull(nc, b[:2]); err != nil {
			return
		}
		_, _ = io.ReadFull(nc, b[:b[1]])
		_, _ = nc.Write([]byte{5, 0})
		if _, err := io.ReadFull(nc, b[:5]); err != nil || b[3] != 3 {
			return
		}
		_, _ = io.ReadFull(nc, b[:int(b[4])+2])
		up, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer up.Close()
		_, _ = nc.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		go func() { _, _ = io.Copy(up, nc); _ = up.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(nc, up)
	})
}

func TestSOCKSProxy(t *testing.T) {
	srv, _ := serve(t, echo, nil)
	proxy := socksProxy(t, strings.TrimPrefix(srv.URL, "http://"))
	c := newClient(t, "http://models.example", func(_ *Config, o *Options) {
		o.Proxy = via(t, strings.Replace(proxy, "http://", "socks5://", 1))
	})
	if _, body, err := fetch(context.Background(), c, post("x")); err != nil || body != "x" {
		t.Fatalf("%q %v", body, err)
	}
}

func TestProxyEnvironment(t *testing.T) {
	srv, _ := serve(t, echo, nil)
	t.Setenv("HTTP_PROXY", srv.URL)
	t.Setenv("NO_PROXY", "direct.invalid")
	c := newClient(t, "http://models.example", func(_ *Config, o *Options) { o.Proxy = nil })
	r, _, err := fetch(context.Background(), c, post("x"))
	if err != nil || !strings.HasPrefix(r.Get("X-Uri"), "http://models.example/") {
		t.Fatalf("%+v %v", r, err)
	}
	none := newClient(t, "http://direct.invalid", func(_ *Config, o *Options) { o.Proxy = nil })
	_, _, err = fetch(context.Background(), none, post("x"))
	wantError(t, err, 502, "upstream_unreachable", true)
}

// pems writes a certificate, for a client and its own authority, and its key.
func pems(t *testing.T) (cert, key string, authority *x509.CertPool) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, form, form, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", keyDER)
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	authority = x509.NewCertPool()
	authority.AddCert(made)
	return cert, key, authority
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An upstream whose certificate is from an authority of its own, and that asks for one.
func TestMutualTLS(t *testing.T) {
	cert, key, clients := pems(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			srv, _ := serve(t, echo, func(s *httptest.Server) {
				s.EnableHTTP2 = h2
				// A session that is resumed shows no certificate.
				s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, SessionTicketsDisabled: true}
				s.Config.ErrorLog = log.New(io.Discard, "", 0)
			})
			writePEM(t, ca, "CERTIFICATE", srv.Certificate().Raw)
			own := TLS{CA: ca, Cert: cert, Key: key}
			c := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.TLS, cfg.MaxKeepaliveConnections = own, 0 })
			if _, got, err := fetch(t.Context(), c, post("hello")); err != nil || got != "hello" {
				t.Fatal(got, err)
			}
			none := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.TLS = TLS{CA: ca} })
			if _, _, err := fetch(t.Context(), none, post("hello")); err == nil {
				t.Error("it was served without a certificate")
			}
			unknown := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.TLS = TLS{Cert: cert, Key: key} })
			if _, _, err := fetch(t.Context(), unknown, post("hello")); err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Error(err)
			}
			// The certificate is another one by now, which the upstream does not know.
			other, otherKey, _ := pems(t)
			for from, to := range map[string]string{other: cert, otherKey: key} {
				text, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				before, err := os.ReadFile(to)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, text, 0o600); err != nil {
					t.Fatal(err)
				}
				defer os.WriteFile(to, before, 0o600)
			}
			if _, _, err := fetch(t.Context(), c, post("hello")); err == nil {
				t.Error("it was served with a certificate that was replaced")
			}
		})
	}
}

// A server that wants another certificate says so after the handshake, with TLS 1.3.
func TestAlertIsOfTLS(t *testing.T) {
	srv, _ := serve(t, echo, withTLS)
	c := newClient(t, srv.URL, func(*Config, *Options) {})
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		_ = tls.Server(theirs, &tls.Config{Certificates: srv.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert}).HandshakeContext(t.Context())
		_ = theirs.Close()
	}()
	tc := tls.Client(ours, &tls.Config{RootCAs: roots(srv), ServerName: "example.com"})
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := tc.Read(make([]byte, 1))
	if e := llm.AsError(c.explain(t.Context(), err)); e.Fault != llm.Cut || !strings.Contains(e.Message, "by an alert of TLS") {
		t.Errorf("%v, of %v", e, err)
	}
}

func TestTLSFilesAreChecked(t *testing.T) {
	cert, key, _ := pems(t)
	for _, test := range []struct {
		tls  TLS
		want string
	}{
		{TLS{}, ""},
		{TLS{CA: cert, Cert: cert, Key: key}, ""},
		{TLS{CA: key}, "tls.ca: no certificate is in " + key},
		{TLS{CA: "missing.pem"}, "tls.ca: open missing.pem"},
		{TLS{Cert: cert}, "tls: cert and key go together"},
		{TLS{Cert: key, Key: cert}, "tls.cert, tls.key: "},
	} {
		cfg := Default()
		cfg.TLS = test.tls
		err := cfg.Validate()
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.tls, err)
		}
	}
}
