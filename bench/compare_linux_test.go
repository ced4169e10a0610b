package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/bench/compare"
)

func TestParseComparing(t *testing.T) {
	c, err := parseComparing(nil)
	if err != nil || len(c.with) != 3 || c.Rounds != 5 || c.Seconds != 4 || c.mockKind != mockLean || c.engines[0] != "" || c.Calls != c.calls {
		t.Errorf("defaults: %+v, %v", c, err)
	}
	c, err = parseComparing([]string{"-with=nginx", "-quick", "-other=name=a,url=http://127.0.0.1:1/v1,pid=1", "-other=name=b,url=http://127.0.0.1:2,pid=2", "-mock-addr=127.0.0.1:3", "-sluice=x"})
	if err != nil || !slices.Equal(c.with, []string{"nginx"}) || c.Rounds != 1 || c.rounds != 1 || len(c.others) != 2 || c.mockAt != "127.0.0.1:3" || c.binaries[0] != "x" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := parseComparing([]string{"-with="}); err != nil || len(c.with) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range [][]string{{"-with=apache"}, {"-rounds=0"}, {"-d=10ms"}, {"-rate=0"}, {"-streams=0"}, {"-run=a", "-write=b"}, {"-run=("}, {"-run=nothing"}, {"-other=x"}, {"more"}} {
		if c, err := parseComparing(bad); err == nil {
			t.Errorf("%s: %+v", bad, c)
		}
	}
}

func TestParseOther(t *testing.T) {
	c, err := parseOther("name=A, B,url=http://127.0.0.1:8080/openai/v1/,pid=42,header=X-A: 1, b=2,header=Authorization: Bearer k,note=One, two.,note=Three.")
	if err != nil {
		t.Fatal(err)
	}
	if p := c.running; c.Name != "A, B" || p.name != c.Name || p.pid() != 42 || p.target != (target{"127.0.0.1:8080", "/openai/v1/chat/completions", "X-A: 1, b=2\r\nAuthorization: Bearer k\r\n"}) || !slices.Equal(c.Notes, []string{"One, two.", "Three."}) {
		t.Errorf("%+v, %+v", c, c.running)
	}
	if c, err := parseOther("pid=1,url=http://127.0.0.1:1,name=a"); err != nil || c.running.path != "/chat/completions" || len(c.Notes) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	const good = "name=a,url=http://127.0.0.1:1/v1,pid=1"
	for _, bad := range []string{"", "a", "name=a", "x,name=a," + good, good + ",pid=0", good + ",pid=x", good + ",header=x", good + ",header=: x", good + ",note=a\nb", "name=a,url=https://127.0.0.1:1,pid=1", "name=a,url=http://host:1,pid=1", "name=a,url=http://127.0.0.1,pid=1", "name=a,url=http://127.0.0.1:1/?x,pid=1"} {
		if c, err := parseOther(bad); err == nil {
			t.Errorf("%q: %+v", bad, c.running)
		}
	}
}

// Whatever is taken can be written into a head.
func FuzzParseOther(f *testing.F) {
	f.Add("name=a,url=http://127.0.0.1:1/v1,pid=1,header=A: b,note=c")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseOther(s)
		if err != nil {
			return
		}
		request := chatRequest(c.running.target, "{}")
		if _, n, err := takeRequest(request); n != len(request) && err == nil && !strings.Contains(strings.ToLower(s), "transfer-encoding") && !strings.Contains(strings.ToLower(s), "content-length") {
			t.Errorf("%q: %d of %d bytes of %q", s, n, len(request), request)
		}
	})
}

// fakeProxy passes everything on to a mock.
func fakeProxy(t *testing.T, upstream string) func(context.Context, *lab, setup, string) (*proxy, error) {
	server := httptest.NewServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream}))
	t.Cleanup(server.Close)
	return func(ctx context.Context, _ *lab, s setup, _ string) (*proxy, error) {
		p := &proxy{name: "fake", target: target{addr: server.Listener.Addr().String()}, process: os.Getpid()}
		_, err := s.answered(ctx, p.target)
		return p, err
	}
}

func fakeComparison(t *testing.T, mock string) *comparison {
	settings := compare.Settings{Rounds: 2, Rate: 50, Streams: 20}
	return &comparison{
		lab: &lab{plan: plan{rounds: 2, calls: 5, duration: 300 * time.Millisecond, only: regexp.MustCompile("")}, dir: t.TempDir(), mockAddr: mock},
		run: &compare.Run{Settings: settings},
		contenders: []contender{
			{Proxy: compare.Proxy{Name: "Sluice"}, start: fakeProxy(t, mock)},
			{Proxy: compare.Proxy{Name: "other"}, start: fakeProxy(t, mock)},
			{Proxy: compare.Proxy{Name: "dead"}, start: func(context.Context, *lab, setup, string) (*proxy, error) {
				return nil, errors.New("it cannot start\nfor reasons")
			}},
		},
	}
}

// Each round has a figure of each proxy that works, and what does not says why.
func TestComparison(t *testing.T) {
	c := fakeComparison(t, startLeanMock(t))
	for _, p := range parts() {
		if p.name != "latency" && p.name != "rate" {
			continue
		}
		if err := p.measure(c, t.Context()); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
	}
	if len(c.run.Lines) != 6 || len(c.run.LoadAverages) != 6 {
		t.Errorf("%d lines, %d load averages", len(c.run.Lines), len(c.run.LoadAverages))
	}
	for _, l := range c.run.Lines {
		if len(l.Figures["Sluice"]) != 2 || len(l.Figures["other"]) != 2 || len(l.Figures["dead"]) != 0 || l.Lacking["dead"] != "it cannot start" || len(l.Lacking) != 1 {
			t.Errorf("%+v", l)
		}
	}
}

// A proxy that fails in a later round lacks the line, Sluice's failure ends all, and what
// has run out of time is no proxy's fault.
func TestTurns(t *testing.T) {
	c := fakeComparison(t, "")
	lines := []*compare.Line{{Name: "a"}, {Name: "b"}}
	var order []int
	err := c.turns(t.Context(), lines, func(round, i int) ([]float64, error) {
		order = append(order, i)
		switch {
		case round == 1 && i == 1:
			return nil, errors.New("it fails now and then")
		case i == 2:
			return nil, lacking("no cache")
		}
		return []float64{float64(round), float64(i)}, nil
	})
	if err != nil || !slices.Equal(order, []int{0, 1, 2, 0, 1}) {
		t.Errorf("%v, %v", order, err)
	}
	if l := c.run.Lines[1]; !slices.Equal(l.Figures["Sluice"], []float64{0, 0}) || l.Figures["other"] != nil || l.Lacking["other"] != "it fails now and then" || l.Lacking["dead"] != "no cache" {
		t.Errorf("%+v", l)
	}
	fails := errors.New("fails")
	if err := c.turns(t.Context(), lines, func(_, i int) ([]float64, error) { return nil, fails }); !errors.Is(err, fails) {
		t.Errorf("Sluice failed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.turns(ctx, []*compare.Line{{}}, func(_, i int) ([]float64, error) { return []float64{1}, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What took no time was not measured.
func TestCostAndRate(t *testing.T) {
	if got, err := costAndRate(measured{cpu: 3, rate: 5, mock: 7}); err != nil || !slices.Equal(got, []float64{3, 5, 7}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := costAndRate(measured{rate: 5, mock: 7}); !errors.As(err, new(lacking)) {
		t.Errorf("%v", err)
	}
}

func TestVersionIn(t *testing.T) {
	for told, want := range map[string]string{"sluice v1.2.3-0.2026 (go1.26 linux/amd64)\n": "v1.2.3-0.2026", "": "of no version"} {
		if got := versionIn(told); got != want {
			t.Errorf("%q: %q", told, got)
		}
	}
}

// Sections are written from the figures beside a document.
func TestRender(t *testing.T) {
	run := &compare.Run{Settings: compare.Settings{Rounds: 1}, LoadAverages: []float64{1}, Proxies: []compare.Proxy{{Name: "Sluice"}}}
	line := compare.Line{Name: "what", Compared: compare.None}
	line.Add("Sluice", 7)
	run.Lines = []compare.Line{line}
	b, err := run.JSON()
	if err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(t.TempDir(), "doc.md")
	marks := ""
	for name := range run.Sections() {
		marks += "<!-- generated by bench compare: " + name + " -->\n<!-- end -->\n"
	}
	if err := errors.Join(os.WriteFile(doc, []byte(marks), 0o600), os.WriteFile(besideOf(doc), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := compared(t.Context(), nil, []string{"-render", doc}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(doc); err != nil || strings.Count(string(got), "| what | 7 |") != 1 {
			t.Errorf("%v:\n%s", err, got)
		}
	}
	if err := compared(t.Context(), nil, []string{"-render", filepath.Join(t.TempDir(), "none.md")}); err == nil {
		t.Error("there is no document")
	}
}

func TestCompressedSize(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	zeros := write("zeros", make([]byte, 1<<20))
	noise := make([]byte, 1<<16)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	write("in/a/noise", noise)
	if err := os.Symlink(zeros, filepath.Join(dir, "in", "link")); err != nil {
		t.Fatal(err)
	}
	if n, err := compressedSize([]string{zeros}); err != nil || n < 500 || n > 10_000 {
		t.Errorf("zeros: %d, %v", n, err)
	}
	if n, err := compressedSize([]string{filepath.Join(dir, "in")}); err != nil || n < 1<<16 || n > 80_000 {
		t.Errorf("a folder: %d, %v", n, err)
	}
	linked := filepath.Join(dir, "linked")
	if err := os.Symlink(filepath.Join(dir, "in"), linked); err != nil {
		t.Fatal(err)
	}
	if n, err := compressedSize([]string{linked}); err != nil || n < 1<<16 || n > 80_000 {
		t.Errorf("a folder behind a link: %d, %v", n, err)
	}
	if _, err := compressedSize([]string{filepath.Join(dir, "none")}); err == nil {
		t.Error("what is not there has a size")
	}
}

func TestLibraries(t *testing.T) {
	const out = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld-linux.so.2 (0x00007f)\n\tlibnone.so => not found\n"
	if got := libraries([]byte(out)); !slices.Equal(got, []string{"/lib/libc.so.6", "/lib64/ld-linux.so.2"}) {
		t.Errorf("%q", got)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := withLibraries(self); err != nil || len(got) == 0 || filepath.Base(got[0]) != filepath.Base(self) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestMachine(t *testing.T) {
	if got := cpuName([]byte("processor\t: 0\nmodel name\t: A CPU \nmodel name\t: B\n")); got != "A CPU" {
		t.Errorf("%q", got)
	}
	if got := cpuName(nil); got == "" {
		t.Error("a CPU without a name is called nothing")
	}
	if got := firstLine(errors.New(strings.Repeat("ä", 200) + "\nmore")); len([]rune(got)) != 121 {
		t.Errorf("%q", got)
	}
}

func TestCaddyfile(t *testing.T) {
	got := caddyfile("127.0.0.1:81", "127.0.0.1:82", 64)
	for _, want := range []string{"http://:81 {", "bind 127.0.0.1\n", "reverse_proxy 127.0.0.1:82 {", "keepalive_idle_conns_per_host 64\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
