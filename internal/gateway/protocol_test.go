package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/testkit"
	"sluice/internal/upstream"
)

// parrot is a protocol that is in this file and nowhere else: the request's body
// goes as a framed message in a stream of its own, the reply comes as one, and a
// trailer says whether it is whole.
func parrot() upstream.Protocol {
	return upstream.Protocol{Name: "parrot", Settings: func() upstream.Settings { return &parrotSettings{Service: "Parrot"} }}
}

type parrotSettings struct {
	BaseURL string     `yaml:"base_url"`
	Token   llm.Secret `yaml:"token"`
	Service string     `yaml:"service"`
	Limits  struct {
		Deadline time.Duration `yaml:"deadline" identity:"-"` // changes no answer
		Size     int           `yaml:"size_bytes"`
	} `yaml:"limits"`
}

func (s *parrotSettings) Validate() error {
	var faults []error
	if _, err := s.Base(); err != nil {
		faults = append(faults, err)
	}
	if strings.Contains(s.Service, "/") {
		faults = append(faults, fmt.Errorf("service: %q is not a service's name", s.Service))
	}
	if s.Limits.Size < 0 {
		faults = append(faults, fmt.Errorf("limits.size_bytes: %d is below 0", s.Limits.Size))
	}
	return errors.Join(faults...)
}

func (s *parrotSettings) Base() (*url.URL, error) { return upstream.ParseBase(s.BaseURL) }

func (s *parrotSettings) Handler(with upstream.Setup) (llm.Handler, error) {
	return &parrotHandler{settings: s, Setup: with}, nil
}

type parrotHandler struct {
	settings *parrotSettings
	upstream.Setup
}

func (h *parrotHandler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	body, message := upstream.NewSending(), binary.BigEndian.AppendUint32([]byte{0}, uint32(len(req.Body)))
	go func() {
		defer body.Close()
		if body.Send(message) == nil {
			_ = body.Send(req.Body)
		}
	}()
	r, err := h.Client.Do(ctx, &upstream.Call{
		Method: "POST", Target: "/" + h.settings.Service + "/Say", Trailers: true, Sending: body,
		Header: []llm.Field{{Name: "Content-Type", Value: "application/parrot"}, {Name: "Authorization", Value: "Token " + h.settings.Token.Reveal()}},
	})
	if err != nil {
		return err
	}
	defer r.Close()
	var reply []byte
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		reply = append(reply, p...)
	}
	if len(r.Trailer) != 1 || r.Trailer[0] != (llm.Field{Name: "Parrot-Status", Value: "whole"}) || len(reply) < 5 {
		return &llm.Error{Fault: llm.Cut, Status: 502, Type: llm.TypeUpstream, Code: "upstream_cut", Message: "The parrot stopped.", Upstream: h.Name}
	}
	reply = reply[5:]
	err = out.Start(&llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(reply)), Upstream: h.Name, Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}})
	if err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: reply}})
}

// cage is a service that speaks it, over HTTP/2 without TLS.
func cage(t *testing.T, broken *atomic.Bool) (base string, connections *atomic.Int64) {
	connections = new(atomic.Int64)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil || len(message) < 5 || r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.URL.Path != "/Parrot/Say" {
			http.Error(w, "?", http.StatusBadRequest)
			return
		}
		said := fmt.Sprintf(`{"choices":[{"said":%s,"to":%q}]}`, message[5:], r.Header.Get("Authorization"))
		_, _ = w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(said))))
		_, _ = io.WriteString(w, said)
		if !broken.Load() {
			w.Header().Set(http.TrailerPrefix+"Parrot-Status", "whole")
		}
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL, connections
}

func loadParrot(t *testing.T, yaml string) (*config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.LoadOptions{
		File: file, Env: []string{"TOKEN=tok-secret", "POLLY_BASE_URL=http://unused.example"},
		Protocols: append(config.Protocols(), parrot()),
	})
	if err == nil {
		cfg.Server.Port = 0
	}
	return cfg, err
}

// TestInventedProtocol: a protocol needs its own package and a line in the list.
// All else, from its keys to its figures, is there for it.
func TestInventedProtocol(t *testing.T) {
	var broken atomic.Bool
	base, connections := cage(t, &broken)
	text := fmt.Sprintf(`
upstreams:
  - name: polly
    protocol: parrot
    base_url: %s
    token: ${TOKEN}
    limits: {deadline: 5s, size_bytes: 1KiB}
    models: [grey]
    http_client: {h2c: true, warm_connections: 0}
`, base)
	must := func(text string) *config.Config {
		t.Helper()
		cfg, err := loadParrot(t, text)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	var out testkit.Buffer
	first := must(text)
	g, url := run(t, first, &out)
	ask := func(said, cache, token string) {
		t.Helper()
		body := fmt.Sprintf(`{"model":"grey","messages":[{"role":"user","content":%q}]}`, said)
		resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		want := fmt.Sprintf(`{"choices":[{"said":%s,"to":"Token %s"}]}`, body, token)
		if err != nil || resp.StatusCode != 200 || string(b) != want {
			t.Fatalf("%d %s %v", resp.StatusCode, b, err)
		}
		if c, up := resp.Header.Get("X-Cache"), resp.Header.Get("X-Sluice-Upstream"); c != cache || cache == "MISS" && up != "polly" {
			t.Errorf("X-Cache %q, want %q, from %q", c, cache, up)
		}
	}
	ask("hello", "MISS", "tok-secret")
	ask("hello", "HIT", "tok-secret")
	figure(t, url, `upstream_connections_created_total{protocol="h2",upstream="polly"} 1`)

	// The same again: the connection is kept, and what is cached. Then another
	// deadline, which is no other upstream's, and another token, which is.
	if err := g.Reload(must(text + "log: {level: warn}\n")); err != nil {
		t.Fatal(err)
	}
	ask("hello", "HIT", "tok-secret")
	ask("again", "MISS", "tok-secret")
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, the reload should have kept the one", n)
	}
	if err := g.Reload(must(strings.Replace(text, "5s", "6s", 1))); err != nil {
		t.Fatal(err)
	}
	ask("hello", "HIT", "tok-secret")
	if err := g.Reload(must(strings.Replace(text, "${TOKEN}", "another", 1))); err != nil {
		t.Fatal(err)
	}
	ask("hello", "MISS", "another")
	figure(t, url, `upstream_connections_created_total{protocol="h2",upstream="polly"} 1`) // the new one's

	broken.Store(true)
	if status, body, err := chat(url, "grey"); err != nil || status != 502 || !strings.Contains(body, "The parrot stopped.") {
		t.Errorf("without the trailer: %d %s %v", status, body, err)
	}

	var printed strings.Builder
	if err := first.Print(&printed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`protocol: "parrot"`, `token: "[redacted]"`, `service: "Parrot"`, "limits:\n      deadline: 5s\n      size_bytes: 1KiB\n"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("printed without %q:\n%s", want, printed.String())
		}
	}
	if all := printed.String() + out.String() + fmt.Sprintf("%v", *first); strings.Contains(all, "tok-secret") || !strings.Contains(out.String(), "polly ("+base+")") {
		t.Errorf("a secret shows, or the address does not: %s", all)
	}
}

// What is wrong with the keys of a protocol shows as what is wrong with any
// other: all at once, each with its line and the key that may be meant.
func TestFaultsOfInventedProtocol(t *testing.T) {
	_, err := loadParrot(t, `upstreams:
  - name: polly
    protocol: parrot
    tokne: x
    service: a/b
    limits:
      dedline: 5s
      size_bytes: -1
  - name: b
    protocol: parrot
    base_url: http://b.example
    api_key: x
    limits: 5
  - {name: c, base_url: "http://c.example", token: x}
  - {name: d, protocol: parot, base_url: "http://d.example"}
`)
	want := `c.yaml:4: upstreams[0]: unknown key "tokne"; did you mean "token"?
c.yaml:5: upstreams[0].service: "a/b" is not a service's name
c.yaml:7: upstreams[0].limits: unknown key "dedline"; did you mean "deadline"?
c.yaml:8: upstreams[0].limits.size_bytes: -1 is below 0
c.yaml:12: upstreams[1]: unknown key "api_key"; known are name, protocol, base_url, token, service, limits, weight, models, http_client
c.yaml:13: upstreams[1].limits: must be a section (key: value), is a single value
c.yaml:14: upstreams[2]: unknown key "token"; known are name, protocol, base_url, api_key, headers, responses, messages, weight, models, http_client
c.yaml:15: upstreams[3].protocol: "parot" is not known; there are "openai", "responses", "anthropic", "gemini", "grpc", "protobuf-http", "parrot"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
