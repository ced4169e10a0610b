package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/nearest"
	"sluice/internal/upstream/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testEnv is the environment of the files in testdata.
func testEnv() []string {
	return []string{"EAST_KEY=sk-east-secret", "WEST_URL=https://west.example", "ORG=7-secret", "EMPTY=", "WORD=secretword"}
}

func TestGoodFile(t *testing.T) {
	cfg, err := Load(LoadOptions{File: "testdata/good/full.yaml", Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	east, west := cfg.Upstreams[0], cfg.Upstreams[1]
	got := fmt.Sprintln(
		cfg.Server.Host, cfg.Server.Port, cfg.Server.MaxBodyBytes, cfg.Server.IdleTimeout, cfg.Server.ReadHeaderTimeout,
		cfg.Server.DrainTimeout, cfg.Server.APIKeys[0].Name, cfg.Server.APIKeys[0].Passthrough, cfg.Server.Passthrough, cfg.Server.ForwardHeaders, cfg.Stream.Heartbeat, cfg.Stream.FlushInterval,
		cfg.Stream.BufferBytes, cfg.HTTPClient.MaxConnections, cfg.HTTPClient.HTTP2, cfg.Route.Aliases, cfg.Route.Fallbacks,
		cfg.Route.Retry.Statuses, cfg.Route.Retry.MaxAttempts, cfg.Log, cfg.File) +
		fmt.Sprintln(east.Name, east.Protocol, own(east).BaseURL, own(east).APIKey.Reveal(), east.Weight, east.Models,
			east.HTTPClient.MaxConnections, east.HTTPClient.IdleTimeout, east.HTTPClient.PoolTimeout) +
		fmt.Sprintln(own(west).BaseURL, own(west).APIKey.Reveal(), west.Weight, west.HTTPClient == cfg.HTTPClient) +
		fmt.Sprintln(cfg.Server.APIKeys[0].Admin, cfg.Cache.MaxSize, cfg.Cache.ResponseTTL, cfg.Cache.DefaultTTL, cfg.Cache.Scope, cfg.Cache.When,
			cfg.Cache.Preload, cfg.Cache.Redis.URL.Reveal(), cfg.Cache.Redis.Timeout, cfg.Cache.Redis.Prefix, cfg.StateDir, cfg.Protobuf.Catalog.Schemas, cfg.Protobuf.MaxInputBytes, cfg.Protobuf.MaxItems)
	want := `::1 0 1048576 1m30s 500ms 30s team-a [all] [/v1/files GET /v1/files/*] [X-Team X-Exp-*] 15s 0s 262144 20 false ` +
		`map[4.1:west/gpt-4.1 fast:east/m-1] map[m-1:[west/m-1 m-2]] [429] 3 {debug json {true false}} testdata/good/full.yaml
east openai https://east.example/v1 sk-east-secret 3 [m-1 m-2*] 20 30s 10s
https://west.example/v1 sk-from-file 1 true
true 500 1m30s 10m0s global all {true 60 33554432 5m0s} redis://:sk-east-secret@cache.example:6380/1 20ms sluice: /var/lib/sluice [protos/] 1048576 1000
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// own gives the settings of an upstream that speaks OpenAI's API.
func own(u Upstream) *openai.Config { return u.Settings.(*openai.Config) }

// TestBadFiles reads each file in testdata/bad. Its first lines are the faults
// that it must give, as "# want: fault".
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(b)) {
			if fault, ok := strings.CutPrefix(line, "# want: "); ok {
				want = append(want, filepath.Base(file)+strings.TrimRight(fault, "\n"))
			}
		}
		_, err = Load(LoadOptions{File: file, Env: testEnv()})
		if err == nil {
			t.Errorf("%s: no fault, want\n%s", file, strings.Join(want, "\n"))
		} else if got := err.Error(); got != strings.Join(want, "\n") {
			t.Errorf("%s:\n got %s\nwant %s", file, strings.ReplaceAll(got, "\n", "\n     "), strings.Join(want, "\n     "))
		} else if strings.Contains(got, "secretword") {
			t.Errorf("%s: a secret shows: %s", file, got)
		}
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "none.yaml: there is no such file; give the configuration's path with --config",
		dir:                             ": cannot be read: is a directory",
		large:                           "large.yaml: larger than 1048576 bytes, so hardly a configuration",
	} {
		_, err := Load(LoadOptions{File: file})
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "server: {port: 1001, host: 127.0.0.3}\nlog: {level: warn}\nhttp_client: {max_connections: 60, keepalive_expiry: 1s}\n" +
		"upstreams: [{name: a, base_url: 'http://a', http_client: {max_connections: 70}}, {name: b, base_url: 'http://b'}]"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SLUICE_PORT=1002", "SLUICE_LOG_LEVEL=error", "SLUICE_MAX_CONNECTIONS=80", "SLUICE_HTTP2=0", "SLUICE_KEEPALIVE_EXPIRY=5", "SLUICE_HOST="}
	flags := []Flag{{"--port", "server.port", "1003"}, {"--insecure", "server.insecure", "true"}}
	cfg, err := Load(LoadOptions{File: file, Env: env, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	a, b := cfg.Upstreams[0].HTTPClient, cfg.Upstreams[1].HTTPClient
	got := fmt.Sprint(cfg.Server.Host, " ", cfg.Server.Port, " ", cfg.Server.Insecure, " ", cfg.Log.Level, " ", cfg.HTTPClient.MaxConnections, " ",
		a.MaxConnections, " ", b.MaxConnections, " ", a.HTTP2, " ", b.KeepaliveExpiry)
	if want := "127.0.0.3 1003 true error 80 70 80 false 5s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEnvironmentFaults(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{"SLUICE_PORT=http", `SLUICE_PORT: "http" is not a whole number`},
		{"SLUICE_PORT=70000", `SLUICE_PORT: server.port: 70000 is not between 0 and 65535`},
		{"SLUICE_ENGINE=fast", `SLUICE_ENGINE: server.engine: "fast" is neither lean nor nethttp`},
		{"SLUICE_HTTP2=maybe", `SLUICE_HTTP2: "maybe" is neither true nor false`},
		{"SLUICE_KEEPALIVE_EXPIRY=1 day", `SLUICE_KEEPALIVE_EXPIRY: "1 day" is not a time, as 500ms, 60s or 1m30s, or a number of seconds`},
		{"SLUICE_MAX_CONECTIONS=5", `SLUICE_MAX_CONECTIONS: unknown variable; did you mean "SLUICE_MAX_CONNECTIONS"?`},
		{"SLUICE_MAX_CONNECTIONS=0", "SLUICE_MAX_CONNECTIONS: http_client.max_connections: must be at least 1"},
		{"SLUICE_MAX_KEEPALIVE_CONNECTIONS=500", "SLUICE_MAX_KEEPALIVE_CONNECTIONS: http_client.max_keepalive_connections: must not exceed"},
		{"SLUICE_MAX_CONNECTIONS=5", ""}, // fewer are kept then
		{"SLUICE_LOG_FORMAT=xml", `SLUICE_LOG_FORMAT: log.format: "xml" is none of text, json`},
		{"SLUICE_PORT=tcp://10.0.0.1:28888", ""}, // Kubernetes, for a Service called sluice
		{"SLUICE_PORT_28888_TCP=tcp://10.0.0.1:28888", ""},
		{"SLUICE_SERVICE_HOST=10.0.0.1", ""},
		{"SLUICE_API_KEY=sk-1", ""}, // a client's
	} {
		_, err := Load(LoadOptions{Env: []string{c.env}})
		switch {
		case err == nil && c.want == "":
		case err == nil || c.want == "" || !strings.HasPrefix(err.Error(), c.want) && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: got %v, want %q", c.env, err, c.want)
		}
	}
	_, err := Load(LoadOptions{Flags: []Flag{{"--port", "server.port", "x"}}})
	if want := `--port: "x" is not a whole number`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestUpstreamsFromEnvironment(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        []string
		want       string
		unused     string
	}{
		{name: "nothing", want: ""},
		{name: "key of OpenAI", env: []string{"OPENAI_API_KEY=sk-1"}, want: "openai https://api.openai.com/v1 sk-1"},
		{name: "address of OpenAI", env: []string{"OPENAI_BASE_URL=http://localhost:1/v1"}, want: "openai http://localhost:1/v1 "},
		{
			name: "several, OpenAI first",
			env:  []string{"GROQ_BASE_URL=http://g/v1", "GROQ_API_KEY=g", "OPENAI_API_KEY=o", "AZ_B_API_KEY=a", "AZ_B_BASE_URL=http://a/v1"},
			want: "openai https://api.openai.com/v1 o, az_b http://a/v1 a, groq http://g/v1 g",
		},
		{name: "half of a pair", env: []string{"OTHER_API_KEY=g", "ACME_BASE_URL=http://a"}, want: "", unused: "OTHER_API_KEY"},
		{name: "keys of known services", env: []string{"MISTRAL_API_KEY=m", "GROQ_API_KEY=g", "XAI_API_KEY=x"},
			want: "groq https://api.groq.com/openai/v1 g, mistral https://api.mistral.ai/v1 m, xai https://api.x.ai/v1 x"},
		{name: "a known service elsewhere", env: []string{"MISTRAL_API_KEY=m", "MISTRAL_BASE_URL=http://m/v1"}, want: "mistral http://m/v1 m"},
		{name: "a known service's address alone", env: []string{"GROQ_BASE_URL=http://g/v1"}, want: ""},
		{name: "keys that nobody takes", env: []string{"STRIPE_API_KEY=s", "MISTRALL_API_KEY=m", "_API_KEY=x", "OPENAI_API_KEY="}, want: "", unused: "MISTRALL_API_KEY STRIPE_API_KEY"},
		{name: "Sluice's own", env: []string{"SLUICE_API_KEY=s", "SLUICE_BASE_URL=http://s"}, want: ""},
		{
			name: "a list is complete",
			file: "upstreams: [{name: local, base_url: 'http://l/v1'}]",
			env:  []string{"OPENAI_API_KEY=o", "GROQ_BASE_URL=http://g/v1", "GROQ_API_KEY=g"},
			want: "local http://l/v1 ",
		},
		{
			name: "an entry is filled in",
			file: "upstreams: [{name: groq}, {name: openai}, {name: mistral}, {name: my-own, base_url: 'http://m'}, {name: plain, base_url: 'http://p', api_key: ''}]",
			env:  []string{"GROQ_BASE_URL=http://g/v1", "GROQ_API_KEY=g", "OPENAI_API_KEY=o", "MY_OWN_API_KEY=m", "PLAIN_API_KEY=p"},
			want: "groq http://g/v1 g, openai https://api.openai.com/v1 o, mistral https://api.mistral.ai/v1 , my-own http://m m, plain http://p ",
		},
		{
			name: "a file without a list",
			file: "log: {level: warn}\nhttp_client: {warm_connections: 0}",
			env:  []string{"OPENAI_API_KEY=o"},
			want: "openai https://api.openai.com/v1 o",
		},
	} {
		o := LoadOptions{Env: c.env}
		if c.file != "" {
			o.File = filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(o.File, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := Load(o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, u := range cfg.Upstreams {
			got = append(got, u.Name+" "+own(u).BaseURL+" "+own(u).APIKey.Reveal())
			if u.Weight != 1 || u.HTTPClient != cfg.HTTPClient || u.Protocol != "openai" {
				t.Errorf("%s: %s has other settings: %+v", c.name, u.Name, u)
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
		if s := strings.Join(cfg.Unaddressed, " "); s != c.unused {
			t.Errorf("%s: not used are %q, want %q", c.name, s, c.unused)
		}
	}
}

// Each protocol's own keys stand among those that all entries have.
func TestProtocols(t *testing.T) {
	names := map[string]bool{}
	for _, p := range Protocols() {
		if names[p.Name] || p.Name == "" {
			t.Errorf("the name %q is there twice, or none", p.Name)
		}
		names[p.Name] = true
		u, keys := newUpstream(&Config{}, p), map[string]bool{}
		for _, f := range fields(reflect.ValueOf(&u).Elem()) {
			if keys[f.key] {
				t.Errorf("%s: the key %s is there twice", p.Name, f.key)
			}
			keys[f.key] = true
		}
		if other := newUpstream(&Config{}, p); other.Settings == u.Settings {
			t.Errorf("%s: two upstreams share their settings", p.Name)
		}
	}
	if err := (Upstream{Protocol: "x", Weight: 1}).validate(false); err == nil || err.Error() != `protocol: "x" is not known` {
		t.Errorf("no settings: %v", err)
	}
}

func TestProvidersKnown(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, p := range providersKnown() {
		if !strings.Contains(string(page), "`"+p.prefix+"_API_KEY`") {
			t.Errorf("%s is not documented", p.prefix)
		}
		u, err := url.Parse(p.baseURL)
		if err != nil || u.Scheme != "https" || u.Path == "/" || strings.HasSuffix(p.baseURL, "/") || !strings.HasPrefix(p.source, "https://") {
			t.Errorf("%+v", p)
		}
		if seen[p.prefix] || p.prefix != strings.ToUpper(p.prefix) || i == 0 && p.prefix != openAI {
			t.Errorf("%s is there twice, or not in its place", p.prefix)
		}
		seen[p.prefix] = true
		if _, err := Load(LoadOptions{Env: []string{p.prefix + "_API_KEY=k"}}); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{"MISTRALL_API_KEY": "MISTRAL_API_KEY", "OPEN_AI_API_KEY": "OPENAI_API_KEY", "STRIPE_API_KEY": ""} {
		if got := NearProvider(name); got != want {
			t.Errorf("%s is near %q, want %q", name, got, want)
		}
	}
}

// A key that is not known has what it was probably meant for left alone, but not where
// that is given too.
func TestFaultsBesideUnknownKeys(t *testing.T) {
	for text, want := range map[string]string{
		"server: {prot: 1, port: 99999999}":                                 "c.yaml:1: server: unknown key \"prot\"; did you mean \"port\"?\nc.yaml:1: server.port: ",
		"server: {port: 99999999, prot: 1}":                                 "c.yaml:1: server: unknown key \"prot\"; did you mean \"port\"?\nc.yaml:1: server.port: ",
		"server: {hots: ::1, host: 0.0.0.0}":                                "c.yaml:1: server: unknown key \"hots\"; did you mean \"host\"?\nc.yaml:1: server.host: ",
		"upstreams: [{name: a, base-url: 'http://b', base_url: 'ftp://a'}]": "c.yaml:1: upstreams[0]: unknown key \"base-url\"; did you mean \"base_url\"?\nc.yaml:1: upstreams[0].base_url: ",
	} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(LoadOptions{File: file})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("%s: got\n%v\nwant\n%s…", text, err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("server: {prot: 1}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(LoadOptions{File: file, Env: []string{"SLUICE_PORT=99999999"}})
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "\nSLUICE_PORT: server.port: ") {
		t.Errorf("got\n%v", err)
	}
}

// What can be read is checked although something else cannot be read.
func TestAllFaultsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "server: {port: http, drain_timeout: 0s, hots: ::1}\nhttp_client: {max_connections: many, ping_timeout: -1s}\n" +
		"upstreams:\n- {name: a, base_url: 'ftp://a', weight: heavy}\n- {name: b, base-url: 'http://b', models: [m]}\n" +
		"route:\n  aliases: {x: b/n}\n  default_upstream: c\nlog: {level: loud}\ncache: [on]"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(LoadOptions{File: file, Env: []string{"SLUICE_KEEPALIVE_EXPIRY=soon", "SLUICE_CACHE_MAX_SIZE=-5"}})
	want := `c.yaml:1: server.port: "http" is not a whole number
c.yaml:1: server: unknown key "hots"; did you mean "host"?
c.yaml:1: server.drain_timeout: 0s is not a time above 0
c.yaml:2: http_client.max_connections: "many" is not a whole number
c.yaml:2: http_client.ping_timeout: must be more than 0, is -1s
c.yaml:4: upstreams[0].weight: "heavy" is not a whole number
c.yaml:4: upstreams[0].base_url: "ftp://a" is not an http or https URL
c.yaml:5: upstreams[1]: unknown key "base-url"; did you mean "base_url"?
c.yaml:7: route.aliases.x: the models of the upstream "b" do not have "n"
c.yaml:8: route.default_upstream: there is no upstream "c"; there are a, b
c.yaml:9: log.level: "loud" is none of debug, info, warn, error
c.yaml:10: cache: must be a section (key: value), is a list
SLUICE_KEEPALIVE_EXPIRY: "soon" is not a time, as 500ms, 60s or 1m30s, or a number of seconds`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("upstreams: [{name: east, base_url: 'http://e'}]\nroute: {aliases: {a: est/m}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(LoadOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if w := cfg.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], `route.aliases.a: there is no upstream "est"`) {
		t.Errorf("%q", w)
	}
}

func TestUpstreamFromEnvironmentIsChecked(t *testing.T) {
	_, err := Load(LoadOptions{Env: []string{"ACME_API_KEY=sk-hidden", "ACME_BASE_URL=acme.example"}})
	if err == nil || !strings.HasPrefix(err.Error(), "ACME_BASE_URL: upstreams[0].base_url: ") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}

func TestNothingSecretIsPrinted(t *testing.T) {
	cfg, err := Load(LoadOptions{File: "testdata/good/full.yaml", Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := cfg.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"sk-east-secret", "sk-from-file", "7-secret"} {
		if strings.Contains(out.String()+fmt.Sprintf("%v %+v", cfg, *cfg), secret) && secret != "7-secret" || strings.Contains(out.String(), secret) {
			t.Errorf("%s is printed:\n%s", secret, out.String())
		}
	}
	if n := strings.Count(out.String(), "[redacted]"); n != 4 {
		t.Errorf("%d redactions, want 4:\n%s", n, out.String())
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"empty": 0, "large": maxSecret + 1} {
		if err := os.WriteFile(filepath.Join(dir, name), slices.Repeat([]byte("s"), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := expander{readFile: readUpTo}
	for name, want := range map[string]string{"empty": "is empty", "large": "is larger than", "none": "no such file"} {
		if _, err := e.expand("file:"+filepath.Join(dir, name), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if s, err := e.expand("file:x", false); s != "file:x" || err != nil {
		t.Errorf("file: was read where no secret stands: %q, %v", s, err)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"60s": time.Minute, "1m30s": 90 * time.Second, "2": 2 * time.Second, "0.001": time.Millisecond, "-1": -time.Second, "0": 0} {
		got, err := parseDuration(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if back, err := parseDuration(formatDuration(got)); back != got || err != nil {
			t.Errorf("%s: printed %s, read %v, %v", text, formatDuration(got), back, err)
		}
	}
	for _, text := range []string{"", "x", "1e300", "NaN", "inf", "1d", "9223372036.854775807"} {
		if d, err := parseDuration(text); err == nil {
			t.Errorf("%q is taken as %v", text, d)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"port", "port", 0}, {"prot", "port", 1}, {"pot", "port", 1}, {"ports", "port", 1}, {"pxrt", "port", 1}, {"", "abc", 3}, {"host", "port", 2}} {
		if got := nearest.Distance(c.a, c.b, 9); got != c.want || nearest.Distance(c.b, c.a, 9) != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// always has every file hold a text.
func always(text string) func(string, int64) ([]byte, error) {
	return func(string, int64) ([]byte, error) { return []byte(text), nil }
}

// TestDeepNesting would take minutes if the parser saw these.
func TestDeepNesting(t *testing.T) {
	for _, text := range []string{"server:\n  " + strings.Repeat("[", 100_000), strings.Repeat("{a: ", 100_000)} {
		_, err := load(LoadOptions{File: "f.yaml"}, always(text), readUpTo)
		if err == nil || !strings.HasSuffix(err.Error(), "nested too deep") {
			t.Errorf("got %v", err)
		}
	}
}

// FuzzLoad checks that no file brings Load down, that a refusal has lines that
// say something, and that what is accepted can be printed and read again.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml", examplePath} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		try := func(text string) (*Config, error) {
			return load(LoadOptions{File: "f.yaml", Env: testEnv()}, always(text), always("sk-secret"))
		}
		cfg, err := try(text)
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f.yaml:") {
					t.Fatalf("fault without its place: %q", line)
				}
			}
			return
		}
		var out strings.Builder
		if err := cfg.Print(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "sk-secret") {
			t.Fatalf("secret printed:\n%s", out.String())
		}
		if _, err := try(readable(out.String())); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	})
}

// TestProvidersOfTheirOwnDialect: a key alone is enough for a service that does not speak
// OpenAI's.
func TestProvidersOfTheirOwnDialect(t *testing.T) {
	for i, c := range []struct {
		env                   []string
		file                  string
		name, protocol, where string
	}{
		{[]string{"ANTHROPIC_API_KEY=k"}, "", "anthropic", "anthropic", "https://api.anthropic.com/v1"},
		{[]string{"ANTHROPIC_API_KEY=k", "ANTHROPIC_BASE_URL=https://proxy.example"}, "", "anthropic", "anthropic", "https://proxy.example/v1"},
		{[]string{"GEMINI_API_KEY=k"}, "", "gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta"},
		{[]string{"GEMINI_API_KEY=k", "GEMINI_BASE_URL=https://proxy.example/v1beta"}, "", "gemini", "gemini", "https://proxy.example/v1beta"},
		{[]string{"GEMINI_API_KEY=k", "GEMINI_BASE_URL=https://proxy.example/v1beta/openai/"}, "", "gemini", "openai", "https://proxy.example/v1beta/openai/"},
		{[]string{"GEMINI_API_KEY=k"}, "upstreams: [{name: gemini}]", "gemini", "openai", "https://generativelanguage.googleapis.com/v1beta/openai"},
		{[]string{"ANTHROPIC_API_KEY=k"}, "upstreams: [{name: anthropic}]", "anthropic", "openai", "https://api.anthropic.com/v1"},
		{[]string{"ANTHROPIC_API_KEY=k"}, "upstreams: [{name: anthropic, protocol: anthropic}]", "anthropic", "anthropic", "https://api.anthropic.com/v1"},
	} {
		o := LoadOptions{Env: c.env}
		if c.file != "" {
			o.File = filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(o.File, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := Load(o)
		if err != nil || len(cfg.Upstreams) != 1 {
			t.Errorf("%d: %v, %+v", i, err, cfg)
			continue
		}
		u := cfg.Upstreams[0]
		base, err := u.Settings.Base()
		if err != nil || u.Name != c.name || u.Protocol != c.protocol || base.String() != c.where {
			t.Errorf("%d: %s by %s at %v, %v", i, u.Name, u.Protocol, base, err)
		}
	}
}

// TestEmptied: a file that says nothing is good to begin with, and takes nothing away from a
// configuration in use.
func TestEmptied(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	for text, good := range map[string]bool{"": false, "# Nothing.\n": false, "---\n": false, "null": false, "~\n": false, "server:\n": false, "server:\nlog: {level: }\n": false, "server: !!null\n": false, "{}": true, "log: {}": true, "server:\nlog: {level: info}\n": true} {
		write(t, file, text)
		if _, err := Load(LoadOptions{File: file}); err != nil {
			t.Errorf("%q, at the start: %v", text, err)
		}
		if _, err := Load(LoadOptions{File: file, Again: true}); (err == nil) != good {
			t.Errorf("%q, in place of another: %v", text, err)
		}
	}
}
