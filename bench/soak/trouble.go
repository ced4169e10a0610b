package soak

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice/bench/process"
)

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// between is a time at random.
func between(least, most time.Duration) time.Duration {
	return least + rand.N(most-least)
}

// troubles are what goes wrong around Sluice, each until its context is done. Then all is
// as it was.
func (h *hardening) troubles() []func(context.Context) {
	return []func(context.Context){
		func(ctx context.Context) { h.flap(ctx, h.origins[0]) },
		func(ctx context.Context) { h.flap(ctx, h.origins[1]) },
		h.losesRedis, h.reconfigure, h.scrape, h.tighten,
	}
}

// flap kills a service now and then.
func (h *hardening) flap(ctx context.Context, s *service) {
	for pause(ctx, between(8*time.Second, 30*time.Second)) {
		s.kill()
		pause(ctx, between(100*time.Millisecond, 3*time.Second))
		h.restart(s)
	}
}

// restart starts a service again.
func (h *hardening) restart(s *service) {
	if err := s.start(); err != nil {
		h.wrong("trouble", fmt.Sprintf("%s does not start: %v", s.name, err))
	}
}

// losesRedis kills Redis, or has it hang.
func (h *hardening) losesRedis(ctx context.Context) {
	for pause(ctx, between(8*time.Second, 25*time.Second)) {
		if rand.IntN(3) == 0 {
			h.redis.freeze(ctx, between(time.Second, 3*time.Second))
			continue
		}
		h.redis.kill()
		pause(ctx, between(100*time.Millisecond, 4*time.Second))
		h.restart(h.redis)
	}
}

// reconfigure changes the configuration, to sound ones and to others.
func (h *hardening) reconfigure(ctx context.Context) {
	defer h.write(h.configuration(0), true)
	for n := 1; pause(ctx, between(4*time.Second, 10*time.Second)); n++ {
		if n%3 == 0 {
			all := h.unusable()
			h.refused.Add(1)
			h.write(all[rand.IntN(len(all))], rand.IntN(2) == 0)
			if !pause(ctx, 2*time.Second) {
				return
			}
		}
		h.reloads.Add(1)
		h.write(h.configuration(n), rand.IntN(2) == 0)
		if rand.IntN(2) == 0 {
			h.signals.Add(1)
			h.cmd.Process.Signal(syscall.SIGHUP)
		}
	}
}

// write puts a configuration into its file, in the place of the old one or into it.
func (h *hardening) write(text string, replace bool) {
	name := h.file()
	if replace {
		name += ".new"
	}
	err := os.WriteFile(name, []byte(text), 0o600)
	if err == nil && replace {
		err = os.Rename(name, h.file())
	}
	if err != nil {
		h.wrong("trouble", err.Error())
	}
}

// scrape reads what Sluice tells of itself.
func (h *hardening) scrape(ctx context.Context) {
	pages := []string{"/metrics", "/v1/performance", "/v1/performance?format=text", "/v1/performance/requests", "/v1/health/detailed", "/healthz", "/dashboard", "/debug/pprof/goroutine?debug=1", "/v1/models"}
	for n := 0; pause(ctx, between(time.Second, 4*time.Second)); n++ {
		if n%10 == 9 {
			h.watchLive(ctx)
			continue
		}
		if now, err := h.figures(ctx); err == nil {
			h.grow(now)
		}
		path := pages[n%len(pages)]
		if _, err := process.Page(ctx, h.base+path); err != nil && ctx.Err() == nil && !strings.HasSuffix(err.Error(), "status 503") {
			h.wrong("figures", path+": "+err.Error())
		}
	}
}

// watchLive follows the live figures for a while.
func (h *hardening) watchLive(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", h.base+"/v1/performance/live", nil)
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+process.APIKey)
	resp, err := h.plain.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) // a reload ends it, the sooner the emptier
	if resp.StatusCode != http.StatusOK {
		h.wrong("figures", fmt.Sprintf("live: status %d", resp.StatusCode))
	}
}

// tighten sends more large requests at once than there is memory for.
func (h *hardening) tighten(ctx context.Context) {
	large := h.large(4<<20, 7<<20)
	for pause(ctx, between(15*time.Second, 30*time.Second)) {
		for range 24 {
			h.mu.Lock()
			h.asked++
			n := h.asked
			h.mu.Unlock()
			h.tasks.Go(func() { large(context.WithoutCancel(ctx), "large, many at once", n) })
		}
	}
}

// Clients' keys.
const (
	keyOne, keyTwo, keyLimited = "key-of-one", "key-of-two", "key-of-limited"
	perMinute                  = 30 // requests of keyLimited
)

func hashOf(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }

// configuration is the n-th. All serve the same models; the first is what a run begins and
// ends with.
func (h *hardening) configuration(n int) string {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	pick := func(words ...string) string {
		if n == 0 {
			return words[0]
		}
		return words[r.IntN(len(words))]
	}
	a, b := h.origins[0].addr, h.origins[1].addr
	protobuf := fmt.Sprintf(`mapping: %q, schema: %q`, filepath.Join(h.dir, "mapping.yaml"), filepath.Join(h.dir, "codec.proto"))
	spare := ""
	if pick("", "spare") != "" {
		spare = fmt.Sprintf("  - {name: spare, base_url: \"http://%s/v1\", models: [m-chat, m-spare], responses: translate, messages: translate}\n", b)
	}
	const common = "models: [m-chat, m-bad, m-embed, m-text, m-upload], responses: translate, messages: translate"
	return `server:
  port: ` + h.port + `
  max_body_bytes: 8MiB
  read_header_timeout: 8s
  body_timeout: 10s
  idle_timeout: 20s
  passthrough: [POST /v1/audio/transcriptions]
  api_keys:
    - {name: admin, hash: "` + hashOf(process.APIKey) + `", admin: true}
    - {name: one, hash: "` + hashOf(keyOne) + `"}
    - {name: two, hash: "` + hashOf(keyTwo) + `", priority: ` + pick("normal", "high", "low") + `}
    - {name: limited, hash: "` + hashOf(keyLimited) + `", requests_per_minute: ` + fmt.Sprint(perMinute) + `}
stream: {write_timeout: 10s, buffer_bytes: ` + pick("256KiB", "32KiB") + `}
http_client: {connect_timeout: 1s, response_header_timeout: 5s, first_event_timeout: 5s, idle_timeout: 5s, pool_timeout: 3s, keepalive_expiry: 5s}
upstreams:
  - {name: chat-a, base_url: "http://` + a + `/v1", ` + common + `, weight: ` + pick("1", "2") + `}
  - {name: chat-b, base_url: "http://` + b + `/v1", ` + common + `, http_client: {h2c: true}}
  - {name: native-a, base_url: "http://` + a + `/v1", models: [m-native], responses: native, messages: native}
  - {name: native-b, base_url: "http://` + b + `/v1", models: [m-native], responses: ` + pick("native", "auto") + `, messages: native, http_client: {max_connections: ` + pick("20", "30") + `}}
  - {name: claude, protocol: anthropic, base_url: "http://` + a + `/v1", models: [m-claude]}
  - {name: google, protocol: gemini, base_url: "http://` + b + `/v1beta", models: [m-gemini]}
  - {name: grpc-a, protocol: grpc, base_url: "http://` + a + `", models: [m-grpc], ` + protobuf + `}
  - {name: grpc-b, protocol: grpc, base_url: "http://` + b + `", models: [m-grpc], ` + protobuf + `}
  - {name: proto, protocol: protobuf-http, base_url: "http://` + b + `", unary_reply: binary, stream_reply: sse-base64, models: [m-proto], ` + protobuf + `}
` + spare + `route:
  balance: ` + pick("auto", "weighted", "least-loaded") + `
  aliases: {m-alias: m-chat}
  fallbacks: {m-claude: [m-chat], m-gemini: [m-chat], m-proto: [m-grpc]}
  retry: {base_delay: 50ms, max_retry_after: 2s}
  breaker: {open_for: 2s}
  slow_start: ` + pick("5s", "0s") + `
dedup: {mode: ` + pick("safe", "blocks") + `, prompt_cache: ` + pick("false", "true") + `}
cache:
  max_size: ` + pick("300", "400") + `
  max_bytes: 16MiB
  response_ttl: ` + pick("60s", "30s") + `
  streams: ` + pick("true", "false") + `
  redis_url: "redis://` + h.redis.addr + `/0"
admit: {queue_timeout: 5s}
batch: {strategy: ` + pick("adaptive", "time", "size", "off") + `, max_wait_time: ` + pick("50ms", "20ms") + `}
protobuf: {schemas: [` + fmt.Sprintf("%q", filepath.Join(h.dir, "codec.proto")) + `]}
state_dir: ` + fmt.Sprintf("%q", filepath.Join(h.dir, "state")) + `
memory: {limit_bytes: ` + fmt.Sprint(h.limit) + `MiB, threshold: ` + pick("80%", "70%") + `, cleanup_interval: 30s}
perf: {report_interval: 60s}
`
}

// unusable are configurations that cannot be used.
func (h *hardening) unusable() []string {
	sound := h.configuration(1)
	return []string{
		sound + "nothing: of the kind\n",
		sound[:len(sound)/2] + "\n  - {",
		strings.Replace(sound, "m-alias: m-chat", "m-alias: m-nowhere-at-all", 1),
		strings.Replace(sound, "codec.proto", "no-such.proto", 1),
		strings.Replace(sound, "balance: ", "balance: x", 1),
		strings.Replace(sound, "idle_timeout: 5s", "idle_timeout: -5s", 1),
		strings.ReplaceAll(sound, "sha256:", "md5:"),
		"\x00\x01", "", "# nothing\n",
	}
}
