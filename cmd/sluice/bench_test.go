package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"sluice/internal/bench"
	"sluice/internal/testkit"
)

// benchRun runs the binary's bench in a folder of its own.
func benchRun(t *testing.T, args ...string) (dir, stdout, stderr string, code int) {
	t.Helper()
	dir = t.TempDir()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, append([]string{"bench"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, []string{"HOME=/nonexistent", "TMPDIR=" + dir}, &out, &errs
	_ = cmd.Run()
	return dir, out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// files are the names in a folder.
func files(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestBenchRefuses: what is wrong is told before anything is measured, with the code
// of who is to blame, and nothing is left.
func TestBenchRefuses(t *testing.T) {
	deaf := httptest.NewServer(http.NotFoundHandler())
	defer deaf.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>\x1b[2JHello") }))
	defer page.Close()
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"--rounds", "0"}, 2, `--rounds must be from 1 to 1000, not 0`},
		{[]string{"--duration", "1ms"}, 2, `--duration must be from 50ms to 10m0s, not 1ms`},
		{[]string{"--only", "("}, 2, `--only: error parsing regexp`},
		{[]string{"--only", "nothing"}, 2, `--only matches no row: there are hit, connect, batch`},
		{[]string{"--upstream", "acme"}, 2, `--upstream must be a URL`},
		{[]string{"--upstream", "https://u:p@acme.example/v1", "--model", "m"}, 2, `--upstream must be a URL`},
		{[]string{"--upstream", "https://acme.example/v1"}, 2, `--upstream needs --model`},
		{[]string{"one"}, 2, `unknown command "one"`},
		{[]string{"--json", "a", "--html", "a"}, 2, `--json and --html name the same file`},
		{[]string{"--json", "/nonexistent/a.json"}, 1, `write the report: open /nonexistent/a.json`},
		{[]string{"--upstream", "http://" + testkit.Vacant(t) + "/v1", "--model", "m"}, 1, `the upstream does not answer: status 502`},
		{[]string{"--upstream", deaf.URL + "/v1", "--model", "m"}, 1, `the upstream does not answer: status 404`},
		{[]string{"--upstream", page.URL + "/v1?key=secret", "--model", "m"}, 1, `the upstream does not answer: its reply is no chat completion: <html> [2JHello`},
	} {
		dir, stdout, stderr, code := benchRun(t, c.args...)
		if strings.Contains(stderr, "key=secret") {
			t.Errorf("sluice bench %s tells of a key: %s", strings.Join(c.args, " "), stderr)
		}
		if code != c.code || stdout != "" || !strings.Contains(stderr, "sluice: "+c.stderr) {
			t.Errorf("sluice bench %s: code %d, want %d; stdout %q; stderr %s", strings.Join(c.args, " "), code, c.code, stdout, stderr)
		}
		if left := files(t, dir); left != "" {
			t.Errorf("sluice bench %s: left %s", strings.Join(c.args, " "), left)
		}
	}
}

// TestBench really starts everything and measures each row, briefly.
func TestBench(t *testing.T) {
	dir, stdout, stderr, code := benchRun(t, "--rounds", "2", "--duration", "100ms")
	if code != 0 {
		t.Fatalf("code %d\n%s", code, stderr)
	}
	b, err := os.ReadFile(filepath.Join(dir, "sluice-bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report bench.Report
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "sluice-bench.html"))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := report.WriteHTML(&again); err != nil || !bytes.Equal(again.Bytes(), page) {
		t.Errorf("the page is not that of the samples: %v", err)
	}
	if len(report.Rows) != len(bench.RowIDs()) {
		t.Errorf("%d rows of %d", len(report.Rows), len(bench.RowIDs()))
	}
	for _, row := range report.Rows {
		if row.Verdict == bench.Skipped && runtime.GOOS == "linux" {
			t.Errorf("%s was not measured: %s", row.ID, row.Skipped)
		}
		if row.ID != "leak" && (len(row.Figures) == 0 || len(row.Figures[0].Pairs) != 2) {
			t.Errorf("%s: %+v", row.ID, row.Figures)
			continue
		}
		if !strings.Contains(stdout, row.Title) || !strings.Contains(stderr, ": "+row.Title) && row.ID == "hit" {
			t.Errorf("%s is not told of:\n%s%s", row.Title, stdout, stderr)
		}
		// By how much a hit is quicker depends on what else the machine does; that one never waits for the upstream does not.
		if row.ID == "hit" && slices.Min(row.Figures[0].Pairs[0].On.Samples) >= 0.05 {
			t.Errorf("a hit takes as long as the upstream's 50 ms: %+v", row)
		}
	}
	if left := files(t, dir); left != "sluice-bench.html sluice-bench.json" {
		t.Errorf("left %s", left)
	}
}

// TestBenchFull: what cannot be written is told, and costs nothing else.
func TestBenchFull(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("a full disk is to be had on Linux")
	}
	dir, stdout, stderr, code := benchRun(t, "--only", "hit", "--rounds", "1", "--duration", "50ms", "--json", full)
	if code != 1 || !strings.Contains(stderr, "no space left") || !strings.Contains(stdout, "Response time of a cache hit") || files(t, dir) != "sluice-bench.html" {
		t.Errorf("code %d, %s\n%s%s", code, files(t, dir), stdout, stderr)
	}
	out, err := os.OpenFile(full, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	dir = t.TempDir()
	cmd := exec.Command(binary, "bench", "--only", "hit", "--rounds", "1", "--duration", "50ms")
	cmd.Dir, cmd.Env, cmd.Stdout = dir, []string{"HOME=/nonexistent", "TMPDIR=" + dir}, out
	if err := cmd.Run(); err == nil || files(t, dir) != "sluice-bench.html sluice-bench.json" {
		t.Errorf("%v, %s", err, files(t, dir))
	}
}

// TestBenchUpstream asks a service that is not the simulator: no more often than it
// says, with its key, which is told to nobody. --check goes by what the report says.
func TestBenchUpstream(t *testing.T) {
	const key = "sk-of-the-service"
	var asked atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer "+key || !bytes.Contains(body, []byte(`"model":"acme-1"`)) || !bytes.Contains(body, []byte(`"max_tokens":1`)) {
			t.Errorf("%s %s %v %s", r.Method, r.URL, r.Header, body)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}`)
	}))
	defer service.Close()
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(binary, "bench", "--check", "--rounds", "2", "--upstream", service.URL+"/v1", "--model", "acme-1")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, []string{"HOME=/nonexistent", "TMPDIR=" + dir, benchKeyVariable + "=" + key}, &stdout, &stderr
	_ = cmd.Run()
	m := regexp.MustCompile(`will be asked up to (\d+) times`).FindStringSubmatch(stderr.String())
	if m == nil {
		t.Fatal(stderr.String())
	}
	if most, _ := strconv.Atoi(m[1]); asked.Load() > int64(most) || asked.Load() < int64(most)/2 {
		t.Errorf("%d requests were sent, and up to %d announced", asked.Load(), most)
	}
	var report bench.Report
	b, err := os.ReadFile(filepath.Join(dir, "sluice-bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	short := report.FallsShort()
	told := strings.Contains(stderr.String(), "sluice: falls short: "+strings.Join(short, ", "))
	if code := cmd.ProcessState.ExitCode(); code != min(len(short), 1) || told != (len(short) > 0) {
		t.Errorf("code %d where %q fall short\n%s", code, short, stderr.String())
	}
	for _, row := range report.Rows {
		real := row.ID == "hit" || row.ID == "connect"
		if real != (row.Verdict != bench.Skipped) || !real && !strings.HasPrefix(row.Skipped, "Not with a real upstream: ") {
			t.Errorf("%s: %s %s", row.ID, row.Verdict, row.Skipped)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "sluice-bench.html"))
	if err != nil {
		t.Fatal(err)
	}
	if all := string(b) + string(page) + stdout.String() + stderr.String(); strings.Contains(all, key) {
		t.Error("the service's key is told")
	}
}

// TestBenchInterrupted: whoever ends it ends its children, and finds no file of it.
func TestBenchInterrupted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("children are found in /proc")
	}
	for s, row := range map[syscall.Signal]string{syscall.SIGINT: "hit", syscall.SIGTERM: "batch", syscall.SIGHUP: "batch", syscall.SIGKILL: "batch"} {
		dir := t.TempDir()
		cmd := exec.Command(binary, "bench", "--only", row, "--duration", "1m")
		cmd.Dir, cmd.Env = dir, []string{"HOME=/nonexistent", "TMPDIR=" + dir}
		stderr, lines := lineWriter()
		cmd.Stderr = stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var children []int
		testkit.Until(t, "the simulator and both gateways", func() bool {
			children = childrenOf(t, cmd.Process.Pid)
			return len(children) == 3
		})
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if s != syscall.SIGKILL {
			if code := cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("%v: exit code %d", s, code)
			}
			await(t, lines, "^sluice: interrupted; nothing was written, and no process is left")
			if left := files(t, dir); left != "" {
				t.Errorf("%v: left %s", s, left)
			}
		}
		testkit.Until(t, "the end of the children", func() bool {
			for _, pid := range children {
				if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil && bytes.Contains(b, []byte(bench.ChildCommand)) {
					return false
				}
			}
			return true
		})
	}
}

// childrenOf are the children of a process, whichever of its threads started them.
func childrenOf(t *testing.T, pid int) (all []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parent := regexp.MustCompile(`^(\d+) \(.*\) . ` + strconv.Itoa(pid) + ` `)
	for _, name := range stats {
		if b, err := os.ReadFile(name); err == nil {
			if m := parent.FindSubmatch(b); m != nil {
				n, _ := strconv.Atoi(string(m[1]))
				all = append(all, n)
			}
		}
	}
	return all
}
