package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// holding is an upstream whose streams send one event and then wait.
type holding struct {
	release chan struct{}
	name    string
}

func (h *holding) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, okReply, h.name)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, delta(h.name))
	w.(http.Flusher).Flush()
	select {
	case <-h.release:
	case <-r.Context().Done():
		return
	}
	io.WriteString(w, delta("the end")+"data: [DONE]\n\n")
}

// opened is a stream whose first event has come.
type opened struct{ body io.Reader }

func open(t *testing.T, in *instance) opened {
	t.Helper()
	resp := stream(t, t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, in.url)
	if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	return opened{resp.Body}
}

// ends fails the test unless the rest of the stream is whole.
func (o opened) ends(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(o.body)
	if err != nil || !strings.HasSuffix(string(rest), delta("the end")+"data: [DONE]\n\n") {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
}

// code ends a process that was told to and returns its exit code.
func (in *instance) code(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(time.Minute, func() { in.cmd.Process.Kill() })
	defer timer.Stop()
	in.cmd.Wait()
	return in.cmd.ProcessState.ExitCode()
}

// TestDrain ends a process in the middle of a stream.
func TestDrain(t *testing.T) {
	up := &holding{release: make(chan struct{}), name: "up"}
	in := start(t, fmt.Sprintf(upConfig, serve(t, up)+"/v1", false))
	s := open(t, in)
	kept := &http.Client{Transport: &http.Transport{}} // has a connection from before
	status := func(c *http.Client, path string) int {
		resp, err := c.Get(in.url + path)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	testkit.Until(t, "ready", func() bool { return status(kept, "/readyz") == 200 })
	in.cmd.Process.Signal(syscall.SIGTERM)
	testkit.Until(t, "drains", func() bool { return status(kept, "/readyz") == 503 })
	resp, err := kept.Post(in.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if code, shaped := errorOf(body); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || code != "shutting_down" || !shaped {
		t.Errorf("a request after SIGTERM: %d, %s", resp.StatusCode, body)
	}
	if got := status(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "/healthz"); got != 200 {
		t.Errorf("healthz while draining: %d", got)
	}
	close(up.release)
	s.ends(t)
	if code := in.code(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, in.log)
	}
}

// TestDrainTimeout ends streams that take too long as cut ones.
func TestDrainTimeout(t *testing.T) {
	up := &holding{release: make(chan struct{}), name: "up"}
	in := start(t, fmt.Sprintf(upConfig, serve(t, up)+"/v1", false)+"server: {drain_timeout: 300ms}\n")
	s := open(t, in)
	in.cmd.Process.Signal(syscall.SIGTERM)
	rest, err := io.ReadAll(s.body)
	if strings.Contains(string(rest), "[DONE]") || err == nil || !strings.Contains(string(rest), `"error"`) {
		t.Errorf("the stream looks complete: %q, %v", rest, err)
	}
	in.code(t)
}

// reloading is an instance whose configuration file can be written again.
type reloading struct {
	*instance
	t    *testing.T
	file string
}

func (r *reloading) write(yaml string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(yaml), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// reloads waits until n reloads were logged.
func (r *reloading) reloads(n int) {
	r.t.Helper()
	testkit.Until(r.t, "reloaded", func() bool { return strings.Count(r.log.String(), "configuration reloaded") >= n })
}

func startReloading(t *testing.T, yaml string) *reloading {
	in := start(t, yaml)
	i := slices.Index(in.cmd.Args, "--config")
	return &reloading{in, t, in.cmd.Args[i+1]}
}

// TestReload swaps upstreams under load: no request fails, and streams that
// began on an upstream end on it, however many configurations come after.
func TestReload(t *testing.T) {
	one := &holding{release: make(chan struct{}), name: "one"}
	two := &holding{release: make(chan struct{}), name: "two"}
	const config = `
upstreams:
  - {name: %s, base_url: %q, models: [m]}
# %d
`
	first, second := serve(t, one)+"/v1", serve(t, two)+"/v1"
	in := startReloading(t, fmt.Sprintf(config, "one", first, 0))
	s := open(t, in.instance)
	var answered [2]atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n >= 50 {
						return
					}
				default:
				}
				got, err := post(in.url+"/v1/chat/completions", `{"model":"m","messages":[]}`)
				if err != nil {
					t.Error(err)
					return
				}
				answered[map[bool]int{true: 1}[bytes.Contains(got, []byte("two"))]].Add(1)
			}
		})
	}
	in.write(fmt.Sprintf(config, "one", first, 1) + "stream: {heartbeat: 20s}\n") // keeps the upstream
	in.reloads(1)
	in.write(fmt.Sprintf(config, "two", second, 2))
	in.reloads(2)
	testkit.Until(t, "both upstreams answer", func() bool { return answered[1].Load() > 20 })
	in.cmd.Process.Signal(syscall.SIGHUP)
	in.reloads(3)
	in.write(fmt.Sprintf(config, "two", second, 3) + "server: {prot: 1}\n")
	testkit.Until(t, "not reloaded", func() bool { return strings.Contains(in.log.String(), "not reloaded") })
	if log := in.log.String(); !strings.Contains(log, "prot") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	testkit.Until(t, "the second upstream answers", func() bool {
		got, err := post(in.url+"/v1/chat/completions", `{"model":"m","messages":[]}`)
		return err == nil && bytes.Contains(got, []byte("two"))
	})
	close(stop)
	wg.Wait()
	if n := answered[0].Load() + answered[1].Load(); n < 200 || answered[0].Load() == 0 {
		t.Errorf("%d and %d requests were answered by the two upstreams", answered[0].Load(), answered[1].Load())
	}
	close(one.release)
	s.ends(t)
	// What nobody uses any more is closed.
	testkit.Until(t, "the first upstream is gone", func() bool {
		open, _ := gauges(t, in.instance, "one")
		return open == ""
	})
}

// TestReloadDuringRetry has a request that waits to be repeated live through
// two reloads, of which the second takes its upstream away.
func TestReloadDuringRetry(t *testing.T) {
	t.Parallel()
	up := &scripted{}
	up.reply = func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			failing(429, "Retry-After", "2")(n, w, r)
			return
		}
		good("at last")(n, w, r)
	}
	const config = "upstreams: [{name: %s, base_url: %q, models: [m]}]\n"
	url := serve(t, up) + "/v1"
	in := startReloading(t, fmt.Sprintf(config, "one", url))
	answer := make(chan outcome, 1)
	go func() {
		got, err := ask(in.instance, "m", false)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	testkit.Until(t, "a call under way", func() bool { return up.count() == 1 })
	in.write(fmt.Sprintf(config, "one", url) + "stream: {heartbeat: 20s}\n")
	in.reloads(1)
	in.write(fmt.Sprintf(config, "two", url))
	in.reloads(2)
	if got := <-answer; got.String() != "200" {
		t.Errorf("%s\n%s", got, got.body)
	}
}

// TestExit has what cannot start say so in one line, and end with a code that
// tells a wrong configuration from a failure.
func TestExit(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "sluice.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"port in use":      {[]string{"--port", port}, 1, "in use"},
		"missing file":     {[]string{"--config", "/nonexistent/sluice.yaml"}, 2, "no such file"},
		"unknown key":      {[]string{"--config", file("server: {prot: 1}\n")}, 2, "port"},
		"no YAML":          {[]string{"--config", file("server: [\n")}, 2, "sluice.yaml"},
		"empty address":    {[]string{"--config", file("upstreams: [{name: a}]\n")}, 2, "base_url"},
		"open to everyone": {[]string{"--host", "0.0.0.0"}, 2, "insecure"},
		"no certificate":   {[]string{"--port", "0", "--config", file("server: {tls: {cert: /nonexistent/c.pem, key: " + binary + "}}\n")}, 2, "c.pem"},
	} {
		var stdout, stderr bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, binary, append([]string{"serve"}, c.args...)...)
		cmd.Env = []string{"HOME=" + t.TempDir()}
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Run()
		cancel()
		code := cmd.ProcessState.ExitCode()
		if c.code != 0 && code != c.code || code < 1 {
			t.Errorf("%s: exit code %d, want %d", name, code, c.code)
		}
		if text := stderr.String(); !strings.HasPrefix(text, "sluice: ") || strings.Count(text, "\n") != 1 || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// TestUpstreamsFromEnvironment starts Sluice with variables alone, and a second
// Sluice with its simulator as the service that they name.
func TestUpstreamsFromEnvironment(t *testing.T) {
	t.Parallel()
	service := start(t, "")
	for name, env := range map[string][]string{
		"openai": {"OPENAI_API_KEY=sk-test", "OPENAI_BASE_URL=" + service.url + "/v1"},
		"foo":    {"FOO_API_KEY=sk-test", "FOO_BASE_URL=" + service.url + "/v1"},
	} {
		in := start(t, "", env...)
		for _, model := range []string{"sim-chat", name + "/sim-chat"} {
			got, err := ask(in, model, true)
			if err != nil || !got.done || got.header.Get("X-Sluice-Upstream") != name {
				t.Errorf("%s, %s: %v, %v, answered by %q", name, model, got, err, got.header.Get("X-Sluice-Upstream"))
			}
		}
		if strings.Contains(in.log.String(), "SIMULATED") {
			t.Errorf("%s: simulated all the same", name)
		}
	}
}

// TestStartIsFast logs the time from the start of a process to its first
// answer. The binary is the race detector's: bench has the real figure.
func TestStartIsFast(t *testing.T) {
	begun := time.Now()
	in := start(t, "")
	resp, err := http.Get(in.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	healthy := time.Since(begun)
	if got, err := ask(in, "sim-chat", false); err != nil || got.status != 200 {
		t.Fatal(got, err)
	}
	t.Logf("first answer after %v, first completion after %v", healthy.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
}

// certificate writes a self-signed one and returns the pool that trusts it.
func certificate(t *testing.T, cert, key, name string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	for file, block := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: secret}, cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

// TestTLS speaks both protocols with a TLS listener, as ALPN chooses, and has
// it take up a new certificate.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certificate(t, cert, key, "old")
	in := start(t, fmt.Sprintf("server: {tls: {cert: %q, key: %q}}\n", cert, key))
	if !strings.HasPrefix(in.url, "https://") {
		t.Fatalf("listens on %s", in.url)
	}
	for _, h2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!h2)
		transport.Protocols.SetHTTP2(h2)
		for _, streamed := range []bool{false, true} {
			body := fmt.Sprintf(`{"model":"simulator/sim-chat?tokens=5","stream":%t,"messages":[{"role":"user","content":"Hello"}]}`, streamed)
			resp, err := (&http.Client{Transport: transport}).Post(in.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := map[bool]int{false: 1, true: 2}[h2]; resp.ProtoMajor != want || resp.StatusCode != 200 || err != nil {
				t.Errorf("%s, %d, %v, want HTTP/%d", resp.Proto, resp.StatusCode, err, want)
			}
			if streamed != strings.HasSuffix(string(b), "data: [DONE]\n\n") {
				t.Errorf("%s: %.200s", resp.Proto, b)
			}
		}
		transport.CloseIdleConnections()
	}
	certificate(t, cert, key, "new")
	testkit.Until(t, "the new certificate", func() bool {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(in.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName == "new"
	})
	// No TLS, no service.
	resp, err := http.Get("http://" + strings.TrimPrefix(in.url, "https://") + "/healthz")
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Error("answers without TLS")
		}
	}
}
