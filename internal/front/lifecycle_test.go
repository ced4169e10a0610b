package front

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/front/lean"
	"sluice/internal/front/nethttp"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// held is a handler whose stream goes on until it is released.
func held(release <-chan struct{}) llm.HandlerFunc {
	return func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		if err := out.Send(events("data: 1\n\n")); err != nil {
			return err
		}
		select {
		case <-release:
			return out.Send(events("data: [DONE]\n\n"))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestDrain(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			release := make(chan struct{})
			s := start(t, held(release))
			resp := s.open(t, t.Context(), e, chatPath)
			r := bufio.NewReader(resp.Body)
			nextEvent(t, r)
			drained := make(chan error, 1)
			go func() { drained <- s.Drain(t.Context()) }()
			for !s.draining.Load() {
				time.Sleep(time.Millisecond)
			}
			client := h1(t, s)
			if resp, _ := do(t, client, newRequest(t, t.Context(), "GET", s.url("/readyz"), "")); resp.StatusCode != 503 {
				t.Errorf("readyz: %d", resp.StatusCode)
			}
			late, body := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
			if late.StatusCode != 503 || late.Header.Get("Retry-After") == "" || !late.Close || apiError(t, body).Code != "shutting_down" {
				t.Errorf("late request: %d %v %s", late.StatusCode, late.Header, body)
			}
			close(release)
			if b, err := io.ReadAll(r); err != nil || string(b) != "data: [DONE]\n\n" {
				t.Errorf("%q, %v", b, err)
			}
			if err := <-drained; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDrainTimeout(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			s := start(t, held(nil))
			r := bufio.NewReader(s.open(t, t.Context(), e, chatPath).Body)
			nextEvent(t, r)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := s.Drain(ctx); err == nil || !strings.Contains(err.Error(), "1 request") {
				t.Errorf("Drain: %v", err)
			}
			b, err := io.ReadAll(r)
			if err == nil || !strings.Contains(string(b), `"code":"shutting_down"`) || strings.Contains(string(b), "[DONE]") {
				t.Errorf("end of the stream: %q", b)
			}
			if s.stats.aborts[abortShutdown].Load() != 1 {
				t.Error("not counted")
			}
		})
	}
}

// Swap prepares and commits.
func (s *Server) Swap(cfg Config, sc StreamConfig, h llm.Handler) (idle <-chan struct{}, err error) {
	p, err := s.Prepare(cfg, sc, h)
	if err != nil {
		return nil, err
	}
	return p.Commit(), nil
}

// TestDefaultEngine: the default is one configuration on every system, and the lean
// engine where there is one.
func TestDefaultEngine(t *testing.T) {
	for _, c := range []struct {
		engine string
		lean   bool
	}{{Default().Engine, lean.Available}, {EngineLean, lean.Available}, {EngineNetHTTP, false}} {
		cfg := Default()
		cfg.Engine = c.engine
		s, err := New(cfg, DefaultStream(), unary(`{}`), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, library := s.engine.(*nethttp.Server); library == c.lean {
			t.Errorf("%s is %T", c.engine, s.engine)
		}
		_ = s.Close()
	}
	cfg := Default()
	cfg.Engine = "other"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "engine: ") {
		t.Error(err)
	}
}

// TestEngineTakesARestart: connections are an engine's, and stay it.
func TestEngineTakesARestart(t *testing.T) {
	s := start(t, unary(`{}`))
	cfg, sc := testConfig(func(c *Config, _ *StreamConfig) {
		c.Engine = map[string]string{EngineLean: EngineNetHTTP, EngineNetHTTP: EngineLean}[testEngine]
	})
	if _, err := s.Prepare(cfg, sc, unary(`{}`)); err == nil || !strings.Contains(err.Error(), "engine: a change takes a restart") {
		t.Error(err)
	}
}

// What is prepared changes nothing until it is committed.
func TestPrepareChangesNothing(t *testing.T) {
	s := start(t, unary(`"old"`))
	cfg, sc := testConfig(func(c *Config, _ *StreamConfig) { c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("k")}} })
	before := s.state.Load()
	p, err := s.Prepare(cfg, sc, unary(`"new"`))
	if err != nil {
		t.Fatal(err)
	}
	ask := func() int {
		resp, _ := do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
		return resp.StatusCode
	}
	if status := ask(); status != 200 || s.state.Load() != before || before.ended.Err() != nil {
		t.Errorf("prepared: %d", status)
	}
	<-p.Commit()
	if status := ask(); status != 401 {
		t.Errorf("committed: %d", status)
	}
}

func TestSwap(t *testing.T) {
	release := make(chan struct{})
	s := start(t, held(release))
	cfg, sc := testConfig(func(c *Config, _ *StreamConfig) { c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("k")}} })
	r := bufio.NewReader(s.open(t, t.Context(), engines[0], chatPath).Body)
	nextEvent(t, r)
	for _, bad := range []setting{
		func(c *Config, _ *StreamConfig) { c.Port = 1 },
		func(c *Config, _ *StreamConfig) { c.IdleTimeout = time.Hour },
		func(c *Config, _ *StreamConfig) { c.MaxBodyBytes = 0 },
		func(_ *Config, sc *StreamConfig) { sc.BufferBytes = 0 },
	} {
		c, sc := testConfig(bad)
		if _, err := s.Swap(c, sc, nil); err == nil {
			t.Error("a bad change was taken")
		}
	}
	idle, err := s.Swap(cfg, sc, unary(`"new"`))
	if err != nil {
		t.Fatal(err)
	}
	client := h1(t, s)
	req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
	if resp, _ := do(t, client, req); resp.StatusCode != 401 {
		t.Errorf("without the new key: %d", resp.StatusCode)
	}
	req = newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
	req.Header.Set("Authorization", "Bearer k")
	if _, body := do(t, client, req); body != `"new"` {
		t.Errorf("%q", body)
	}
	select {
	case <-idle:
		t.Error("the old handler is in use and was called idle")
	default:
	}
	close(release)
	if b, err := io.ReadAll(r); err != nil || string(b) != "data: [DONE]\n\n" {
		t.Errorf("%q, %v", b, err)
	}
	select {
	case <-idle:
	case <-time.After(patience):
		t.Error("the old handler is never idle")
	}
}

// TestSwapUnderLoad changes the handler all the time and loses no request.
func TestSwapUnderLoad(t *testing.T) {
	s := start(t, unary(`{}`))
	cfg, sc := testConfig()
	stop, swapped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				swapped <- n
				return
			default:
			}
			idle, err := s.Swap(cfg, sc, unary(`{}`))
			if err != nil {
				t.Error(err)
			}
			<-idle
			n++
		}
	}()
	client := h1(t, s)
	for range 300 {
		if resp, body := do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	close(stop)
	t.Logf("%d swaps", <-swapped)
}

func TestListenTaken(t *testing.T) {
	s := start(t, unary(`{}`))
	cfg, sc := testConfig()
	_, cfg.Port = "", s.listener.Addr().(*net.TCPAddr).Port
	other, err := New(cfg, sc, unary(`{}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
	_ = other.Close()
}

// writeCert makes a certificate for 127.0.0.1 with the given name.
func writeCert(t *testing.T, dir, name string) TLSConfig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := TLSConfig{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{cfg.Cert: {Type: "CERTIFICATE", Bytes: der}, cfg.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// Every file that cannot be used is told of, under its key.
func TestCheckFiles(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	good, foreign := writeCert(t, dir, "a"), writeCert(t, other, "b")
	none := filepath.Join(dir, "none")
	for _, c := range []struct {
		cfg  TLSConfig
		want []string // how each fault begins
	}{
		{TLSConfig{}, nil},
		{good, nil},
		{TLSConfig{Cert: none}, nil}, // Validate's
		{TLSConfig{Cert: none, Key: none}, []string{"tls.cert: open " + none, "tls.key: open " + none}},
		{TLSConfig{Cert: good.Cert, Key: none}, []string{"tls.key: open " + none}},
		{TLSConfig{Cert: dir, Key: good.Key}, []string{"tls.cert: read " + dir}},
		{TLSConfig{Cert: good.Cert, Key: foreign.Key}, []string{"tls: " + good.Cert + " and " + foreign.Key + " cannot be used"}},
	} {
		var got []string
		if err := (Config{TLS: c.cfg}).CheckFiles(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%+v: %q, want %q", c.cfg, got, c.want)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files := writeCert(t, dir, "first")
	release := make(chan struct{})
	close(release)
	s := start(t, held(release), func(c *Config, _ *StreamConfig) { c.TLS = files })
	trust := &tls.Config{InsecureSkipVerify: true}
	over2 := &http2.Transport{TLSClientConfig: trust}
	over1 := &http.Transport{TLSClientConfig: trust.Clone()}
	for proto, tr := range map[int]http.RoundTripper{1: over1, 2: over2} {
		resp, body := do(t, &http.Client{Transport: tr}, newRequest(t, t.Context(), "POST", "https://"+s.addr+chatPath, streamBody))
		if resp.ProtoMajor != proto || body != "data: 1\n\ndata: [DONE]\n\n" {
			t.Errorf("HTTP/%d: %s %q", proto, resp.Proto, body)
		}
	}
	over1.CloseIdleConnections()
	over2.CloseIdleConnections()
	name := func() string {
		c, err := tls.Dial("tcp", s.addr, trust)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	await := func(want string) {
		testkit.Until(t, "the certificate is "+want, func() bool { return name() == want })
	}
	await("first")
	writeCert(t, dir, "second")
	await("second")
	if err := os.WriteFile(files.Cert, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(checkEvery + 100*time.Millisecond)
	await("second")
	other := writeCert(t, t.TempDir(), "third")
	cfg, sc := testConfig(func(c *Config, _ *StreamConfig) { c.TLS = other })
	if _, err := s.Swap(cfg, sc, unary(`{}`)); err != nil {
		t.Fatal(err)
	}
	await("third")
	cfg.TLS = TLSConfig{}
	if _, err := s.Swap(cfg, sc, unary(`{}`)); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("TLS was switched off: %v", err)
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	if err := DefaultStream().Validate(); err != nil {
		t.Error(err)
	}
	for want, set := range map[string]setting{
		"--insecure": func(c *Config, _ *StreamConfig) { c.Host = "0.0.0.0" },
		"any":        func(c *Config, _ *StreamConfig) { c.Host = "" },
		"port":       func(c *Config, _ *StreamConfig) { c.Port = 70000 },
		"tls":        func(c *Config, _ *StreamConfig) { c.TLS.Cert = "x" },
		"engine":     func(c *Config, _ *StreamConfig) { c.Engine = "fast" },
		"api_keys[0].priority": func(c *Config, _ *StreamConfig) {
			c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("a"), Priority: "10"}}
		},
		"api_keys[0].hash": func(c *Config, _ *StreamConfig) { c.APIKeys = []APIKey{{Name: "a", Hash: "sk-plain"}} },
		"api_keys[1].name": func(c *Config, _ *StreamConfig) {
			c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("a")}, {Name: "a", Hash: HashKey("b")}}
		},
		"forward_headers[0]":  func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"a b"} },
		"forward_headers[1]":  func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"X-*", "*"} },
		"body_timeout":        func(c *Config, _ *StreamConfig) { c.BodyTimeout = 0 },
		"max_connections":     func(c *Config, _ *StreamConfig) { c.MaxConnections = 0 },
		"forward_headers[0] ": func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"authorization"} },
	} {
		cfg, _ := testConfig(set)
		if err := cfg.Validate(); err == nil || want != "any" && !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, host := range []string{"localhost", "127.1.2.3", "::1", "[::1]"} {
		cfg, _ := testConfig(func(c *Config, _ *StreamConfig) { c.Host = host })
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
	}
}
