package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testkit"
)

const patience = time.Minute

// lineWriter is a writer whose lines can be waited for.
func lineWriter() (io.Writer, <-chan string) {
	r, w := io.Pipe()
	lines := make(chan string, 1024)
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			select {
			case lines <- s.Text():
			default: // nobody reads that many
			}
		}
	}()
	return w, lines
}

// await returns the first line that matches.
func await(t *testing.T, lines <-chan string, pattern string) string {
	t.Helper()
	want, timeout, seen := regexp.MustCompile(pattern), time.After(patience), []string(nil)
	for {
		select {
		case line := <-lines:
			if want.MatchString(line) {
				return line
			}
			seen = append(seen, line)
		case <-timeout:
			t.Fatalf("no line like %q in\n%s", pattern, strings.Join(seen, "\n"))
		}
	}
}

func address(t *testing.T, stdout <-chan string) string {
	t.Helper()
	return regexp.MustCompile(`http://\S+`).FindString(await(t, stdout, `listens on http://`))
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// binary is the path of the real one, which TestMain makes as the Makefile does: static, and
// without symbols.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sluice-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is the binary, running.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr <-chan string
	base           string
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(binary, append([]string{"serve"}, args...)...), "HOME=/nonexistent")
}

// launch starts a command that serves.
func launch(t *testing.T, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	p := &process{cmd: cmd}
	p.cmd.Env = env
	p.cmd.Stdout, p.stdout = lineWriter()
	p.cmd.Stderr, p.stderr = lineWriter()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.base = address(t, p.stdout)
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// code waits for the end.
func (p *process) code(t *testing.T) int {
	t.Helper()
	kill := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// stream begins a chat that does not end by itself, and returns once its first
// event is there.
func (p *process) stream(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	body := `{"model":"sim-chat","stream":true,"messages":[{"role":"user","content":"Hello"}]}`
	req, err := http.NewRequestWithContext(ctx, "POST", p.base+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Sim-Fault", "stall=2")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); resp.Body.Close() })
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("first line %q, %v", line, err)
	}
}

func TestSignalEndsIdleServer(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, "--port", "0")
		p.signal(t, s)
		if code := p.code(t); code != 0 {
			t.Errorf("%v: exit code %d", s, code)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := start(t, "--port", "0")
	p.stream(t)
	p.signal(t, syscall.SIGTERM)
	await(t, p.stderr, "finishing the requests under way")
	p.signal(t, syscall.SIGHUP)                                // is no second one
	testkit.Until(t, "not ready while draining", func() bool { // which begins after the line
		status, _ := tryGet(p.base + "/readyz")
		return status != 200
	})
	p.signal(t, syscall.SIGTERM)
	if code := p.code(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	await(t, p.stderr, "^sluice: ended by a second signal")
}

// tryGet is get for a server that may be gone.
func tryGet(url string) (int, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const first = "server: {port: 0}\nroute: {aliases: {one: sim-chat}}\n"
	write(first)
	p := start(t, "--config", file)
	p.stream(t)
	models := func() string { _, body := get(t, p.base+"/v1/models"); return body }
	if m := models(); !strings.Contains(m, `"one"`) || strings.Contains(m, `"two"`) {
		t.Fatalf("models before: %s", m)
	}
	write("server: {port: 0}\nroute: {aliases: {two: sim-chat}}\n")
	await(t, p.stderr, "configuration reloaded")
	if m := models(); strings.Contains(m, `"one"`) || !strings.Contains(m, `"two"`) {
		t.Errorf("models after a change of the file: %s", m)
	}
	write("server: {prot: 0}\n")
	await(t, p.stderr, `not reloaded.*c\.yaml:1: server: unknown key`)
	if m := models(); !strings.Contains(m, `"two"`) {
		t.Errorf("models after a fault: %s", m)
	}
	p.signal(t, syscall.SIGHUP)
	await(t, p.stderr, `not reloaded.*c\.yaml:1: server: unknown key`)
	write("") // as a full disk does
	await(t, p.stderr, `not reloaded.*c\.yaml: it says nothing`)
	write("server:\n") // or so
	await(t, p.stderr, `not reloaded.*c\.yaml: it says nothing`)
	pipe := file + ".pipe"
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Rename(pipe, file)); err != nil {
		t.Fatal(err)
	}
	await(t, p.stderr, `not reloaded.*c\.yaml: cannot be read: it is no regular file`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write(first)
	await(t, p.stderr, "configuration reloaded")
	p.signal(t, syscall.SIGHUP)
	await(t, p.stderr, "configuration reloaded")
	if m := models(); !strings.Contains(m, `"one"`) {
		t.Errorf("models after the fault was mended: %s", m)
	}
}

// TestReloadNeverEnds: a configuration that cannot be read to its end holds up neither
// requests nor the end.
func TestReloadNeverEnds(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "key")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("server: {port: 0}\n")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--config", file)
	write("server: {port: 0}\nupstreams: [{name: a, base_url: http://127.0.0.1:1/v1, api_key: 'file:" + pipe + "'}]\n")
	for range 20 { // one is read, one may wait, and those that come together are one
		p.signal(t, syscall.SIGHUP)
		time.Sleep(20 * time.Millisecond)
	}
	await(t, p.stderr, "the configuration is being read already")
	if status, _ := get(t, p.base+"/v1/models"); status != 200 {
		t.Errorf("status %d", status)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.code(t); code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"version"}, 0, ""},
		{[]string{"serve", "--port", port}, 1, "sluice: address 127.0.0.1:" + port + " is in use by another program; stop that one, or choose another port with --port\n"},
		{[]string{"serve", "--host", "192.0.2.1", "--insecure"}, 1, "sluice: address 192.0.2.1:28888 is not an address of this machine; choose another one with --host\n"},
		{[]string{"serve", "--config", "none.yaml"}, 2, "sluice: none.yaml: there is no such file; give the configuration's path with --config\n"},
		{[]string{"serve", "--port", "1.5"}, 2, "sluice: --port: \"1.5\" is not a whole number\n"},
		{[]string{"nothing"}, 2, "sluice: unknown command \"nothing\" for \"sluice\"; see sluice --help\n"},
	} {
		var stderr bytes.Buffer
		cmd := exec.Command(binary, c.args...)
		cmd.Env, cmd.Stderr = []string{"HOME=/nonexistent"}, &stderr
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != c.code || stderr.String() != c.stderr {
			t.Errorf("sluice %s: code %d, want %d; stderr %swant %s", strings.Join(c.args, " "), code, c.code, stderr.String(), c.stderr)
		}
	}
}

// TestFewDescriptors has more calls at once than there are file descriptors for. The
// gateway says that it is its own lack, holds nothing against the upstream, and
// answers again as soon as some are free.
func TestFewDescriptors(t *testing.T) {
	release := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if bytes.Contains(b, []byte("slow")) {
			<-release
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","choices":[]}`)
	}))
	defer up.Close()
	file := filepath.Join(t.TempDir(), "c.yaml")
	config := fmt.Sprintf("server: {port: 0}\nupstreams: [{name: u, base_url: %q, models: [m]}]\ncache: {enabled: false}\n", up.URL+"/v1")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, exec.Command("sh", "-c", `ulimit -n 64 && exec "$0" serve --config "$1"`, binary, file), "HOME=/nonexistent", "PATH="+os.Getenv("PATH"))
	await(t, p.stderr, `fewer client connections.*max_connections=10000 taken=16 open_files=64`)

	// All calls are connected before one is sent: what is lacking is then lacking for
	// upstreams and not for clients, which would wait unaccepted.
	const calls, spare = 16, 4
	address := strings.TrimPrefix(p.base, "http://")
	files := func() int {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	before := files()
	var clients [calls]net.Conn
	var err error
	for i := range clients {
		if clients[i], err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	for deadline := time.Now().Add(patience); files() < before+calls; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are open, %d before %d clients connected", files(), before, calls)
		}
	}
	// What was kept for upstreams goes to something else.
	limit := fmt.Sprintf("--nofile=%d:64", before+calls+spare)
	if out, err := exec.Command("prlimit", "--pid", fmt.Sprint(p.cmd.Process.Pid), limit).CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v %s", err, out)
	}

	call := func(text string, dial func(context.Context, string, string) (net.Conn, error)) (status int, body string) {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
		resp, err := client.Post(p.base+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"`+text+`"}]}`))
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	answers := make(chan string, calls)
	for _, client := range clients {
		go func() {
			status, body := call("slow", func(context.Context, string, string) (net.Conn, error) { return client, nil })
			if m := regexp.MustCompile(`"code":"(\w+)"`).FindStringSubmatch(body); m != nil {
				body = m[1]
			}
			answers <- fmt.Sprint(status, " ", body)
		}()
	}
	// Those that found no descriptor are told so while the others are under way.
	seen := map[string]int{<-answers: 1}
	if seen["503 gateway_overloaded"] != 1 {
		t.Errorf("got %v", seen)
	}
	close(release)
	for range calls - 1 {
		seen[<-answers]++
	}
	for answer := range seen {
		if answer != "503 gateway_overloaded" && !strings.HasPrefix(answer, "200 ") {
			t.Errorf("got %v", seen)
		}
	}
	await(t, p.stderr, `the gateway cannot connect for want of its own resources.*lack="too many open files"`)
	for range 5 {
		if status, body := call("quick", nil); status != 200 {
			t.Errorf("with descriptors free again: %d %s", status, body)
		}
	}
	if _, body := get(t, p.base+"/v1/health/detailed"); !regexp.MustCompile(`"name":"process/sockets","status":"degraded"[^}]*too many open files`).MatchString(body) ||
		!regexp.MustCompile(`"name":"upstream/u","status":"healthy"`).MatchString(body) {
		t.Errorf("health %s", body)
	}
}
