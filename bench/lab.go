package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const apiKey = "bench-key"

// proxy is a server under test.
type proxy struct {
	name, addr string
	cmd        *exec.Cmd
	firstReply time.Duration // from exec to the first answer
}

// lab holds the processes of a run and the folder of their files.
type lab struct {
	plan
	dir           string
	mockAddr      string
	mock          *exec.Cmd
	nginx, sluice *proxy
}

// load is what wrk sends.
type load struct{ name, path, body string }

func newLab(ctx context.Context, p *plan) (*lab, error) {
	for _, tool := range []string{"nginx", "wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is missing: apt-get install nginx-light wrk util-linux", tool)
		}
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{plan: *p, dir: dir}
	if err := l.startAll(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) startAll(ctx context.Context) (err error) {
	if l.plan.sluice == "" {
		l.plan.sluice = filepath.Join(l.dir, "sluice")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", l.plan.sluice, "./cmd/sluice")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build sluice: %w\n%s", err, out)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if l.mockAddr, err = freeAddr(); err != nil {
		return err
	}
	if l.mock, err = l.start("1", "mock", self, "mock", l.mockAddr); err != nil {
		return err
	}
	if _, err = waitFor(ctx, "http://"+l.mockAddr+"/v1/models"); err != nil {
		return err
	}
	if l.nginx, err = l.startNginx(ctx); err != nil {
		return err
	}
	l.sluice, err = l.startSluice(ctx)
	return err
}

func (l *lab) startNginx(ctx context.Context) (*proxy, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; user root; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/nginx.err;
events { worker_connections 16384; }
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 1000000000;
  upstream mock { server %[2]s; keepalive 64; keepalive_requests 1000000000; }
  server { listen %[3]s; location / { proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }
}`, l.dir, l.mockAddr, addr)
	file := filepath.Join(l.dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return l.startProxy(ctx, "nginx", addr, "nginx", "-c", file, "-p", l.dir)
}

func (l *lab) startSluice(ctx context.Context) (*proxy, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf(`server:
  port: %s
  api_keys: [{name: bench, hash: "sha256:%x"}]
http_client: {max_connections: %d}
upstreams:
  - {name: mock, base_url: "http://%s/v1", api_key: upstream-key}
log: {level: warn}
`, port, sha256.Sum256([]byte(apiKey)), l.streams+200, l.mockAddr)
	file := filepath.Join(l.dir, "sluice.yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return l.startProxy(ctx, "sluice", addr, l.plan.sluice, "serve", "--config", file)
}

func (l *lab) startProxy(ctx context.Context, name, addr string, argv ...string) (*proxy, error) {
	begin := time.Now()
	cmd, err := l.start("0", name, argv...)
	if err != nil {
		return nil, err
	}
	p := &proxy{name: name, addr: addr, cmd: cmd}
	at, err := waitFor(ctx, "http://"+addr+"/v1/models")
	p.firstReply = at.Sub(begin)
	if err != nil {
		out, _ := os.ReadFile(filepath.Join(l.dir, name+".log"))
		stop(cmd)
		return nil, fmt.Errorf("start %s: %w\n%s", name, err, out)
	}
	return p, nil
}

// start runs a program on one CPU.
func (l *lab) start(cpu, name string, argv ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("taskset", append([]string{"-c", cpu}, argv...)...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, cmd.Start()
}

func stop(cmd *exec.Cmd) {
	if cmd == nil || cmd.Process == nil {
		return
	}
	cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		cmd.Process.Kill()
		<-done
	}
}

func (l *lab) close() {
	for _, p := range []*proxy{l.nginx, l.sluice} {
		if p != nil {
			stop(p.cmd)
		}
	}
	stop(l.mock)
	os.RemoveAll(l.dir)
}

var wrkLine = regexp.MustCompile(`(\d+) requests in`)

// cpuPerRequest loads a proxy once and returns its CPU time in µs per request.
func (l *lab) cpuPerRequest(ctx context.Context, p *proxy, ld load) (float64, error) {
	script := filepath.Join(l.dir, "wrk.lua")
	lua := fmt.Sprintf("wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.headers['Authorization']='Bearer %s'\nwrk.body=[==[%s]==]\n", apiKey, ld.body)
	if err := os.WriteFile(script, []byte(lua), 0o600); err != nil {
		return 0, err
	}
	wrk := func(d time.Duration) ([]byte, error) {
		return exec.CommandContext(ctx, "taskset", "-c", "1", "wrk", "-t1", "-c", strconv.Itoa(l.conns), "-d", d.String(), "-s", script, "http://"+p.addr+ld.path).CombinedOutput()
	}
	if out, err := wrk(time.Second); err != nil {
		return 0, fmt.Errorf("warm up: %w\n%s", err, out)
	}
	before, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	out, err := wrk(l.duration)
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, fmt.Errorf("some requests failed:\n%s", out)
	}
	m := wrkLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk printed no count:\n%s", out)
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return float64((after - before).Microseconds()) / n, nil
}

// memory prints what the proxies take when idle and per open stream.
func (l *lab) memory(ctx context.Context) error {
	fmt.Printf("\n%-44s %14s %14s\n", "", "nginx", "sluice")
	fmt.Printf("%-44s %14s %14s\n", "start to first answer", l.nginx.firstReply.Round(time.Millisecond), l.sluice.firstReply.Round(time.Millisecond))

	// A fresh process each, since load leaves its mark on a heap.
	stop(l.nginx.cmd)
	stop(l.sluice.cmd)
	nginx, err := l.startNginx(ctx)
	if err != nil {
		return err
	}
	l.nginx = nginx
	sluice, err := l.startSluice(ctx)
	if err != nil {
		return err
	}
	l.sluice = sluice
	var idle, each [2]float64
	var ttft [2]time.Duration
	for i, p := range []*proxy{l.nginx, l.sluice} {
		before := residentKiB(p.cmd.Process.Pid)
		p99, during, err := l.openStreams(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		idle[i], each[i], ttft[i] = before/1024, (during-before)/float64(l.streams), p99
	}
	fmt.Printf("%-44s %14.1f %14.1f\n", "resident when idle, MiB", idle[0], idle[1])
	fmt.Printf("%-44s %14.1f %14.1f\n", fmt.Sprintf("resident per open stream at %d, KiB", l.streams), each[0], each[1])
	fmt.Printf("%-44s %14s %14s\n", "time to first event p99", ttft[0].Round(time.Millisecond), ttft[1].Round(time.Millisecond))
	return nil
}

// openStreams holds plan.streams streams open and returns the 99th percentile
// of the time to their first events, and the proxy's resident size when all
// have been open for some seconds.
func (l *lab) openStreams(ctx context.Context, p *proxy) (p99 time.Duration, kib float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := strings.Replace(chatBody(true), "mock-model", "slow", 1)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var first []time.Duration
	var fail error
	var opened, readers sync.WaitGroup
	slots := make(chan struct{}, 64) // opening at once
	for range l.streams {
		slots <- struct{}{}
		opened.Add(1)
		readers.Go(func() {
			begin := time.Now()
			resp, r, err := openStream(ctx, client, p.addr, body)
			mu.Lock()
			first = append(first, time.Since(begin))
			fail = errors.Join(fail, err)
			mu.Unlock()
			<-slots
			opened.Done()
			if err == nil {
				io.Copy(io.Discard, r)
				resp.Body.Close()
			}
		})
	}
	opened.Wait()
	if fail != nil {
		return 0, 0, fail
	}
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	kib = residentKiB(p.cmd.Process.Pid)
	cancel()
	readers.Wait()
	slices.Sort(first)
	return first[len(first)*99/100], kib, nil
}

func openStream(ctx context.Context, client *http.Client, addr, body string) (*http.Response, *bufio.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(resp.Body, 512)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data:") {
		resp.Body.Close()
		return nil, nil, fmt.Errorf("first event: status %d, %q, %w", resp.StatusCode, line, err)
	}
	return resp, r, nil
}
