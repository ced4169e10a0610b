package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const apiKey = "bench-key"

// proxy is a server under test.
type proxy struct {
	name, addr string
	cmd        *exec.Cmd
	firstReply time.Duration // from exec to the first answer
}

// setup is how the servers under test differ from run to run.
type setup struct {
	cpus           string // that they may run on
	http, location string // directives of nginx
	sections       string // sections of Sluice's configuration
}

// passing has both pass everything on.
func passing() setup {
	return setup{cpus: "0", location: "proxy_buffering off;", sections: "cache: {enabled: false}\n"}
}

// lab holds the processes of a run and the folder of their files.
type lab struct {
	plan
	setup
	dir           string
	mockAddr      string
	mock          *exec.Cmd
	nginx, sluice *proxy
}

func newLab(ctx context.Context, p *plan, s setup) (*lab, error) {
	for _, tool := range []string{"nginx", "wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is missing: apt-get install nginx-light wrk util-linux", tool)
		}
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{plan: *p, setup: s, dir: dir}
	if err := l.startAll(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) startAll(ctx context.Context) (err error) {
	if l.binary == "" {
		l.binary = filepath.Join(l.dir, "sluice")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", l.binary, "./cmd/sluice")
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
  %[4]s
  upstream mock { server %[2]s; keepalive 64; keepalive_requests 1000000000; }
  server { listen %[3]s; location / { proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; %[5]s } }
}`, l.dir, l.mockAddr, addr, l.http, l.location)
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
  engine: %s
  api_keys: [{name: bench, hash: "sha256:%x"}]
http_client: {max_connections: %d}
upstreams:
  - {name: mock, base_url: "http://%s/v1", api_key: upstream-key}
log: {level: warn}
%s`, port, l.engine, sha256.Sum256([]byte(apiKey)), l.streams+200, l.mockAddr, l.sections)
	file := filepath.Join(l.dir, "sluice.yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return l.startProxy(ctx, "sluice", addr, l.binary, "serve", "--config", file)
}

func (l *lab) startProxy(ctx context.Context, name, addr string, argv ...string) (*proxy, error) {
	begin := time.Now()
	cmd, err := l.start(l.cpus, name, argv...)
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

// start runs a program on some CPUs.
func (l *lab) start(cpus, name string, argv ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("taskset", append([]string{"-c", cpus}, argv...)...)
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
