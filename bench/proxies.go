package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice/bench/process"
)

// proxy is a server under test.
type proxy struct {
	name string
	target
	cmd        *exec.Cmd     // nil where somebody else has started it
	process    int           // its id then
	log        string        // file
	firstReply time.Duration // from exec to the first answer
}

func (p *proxy) pid() int {
	if p.cmd == nil {
		return p.process
	}
	return p.cmd.Process.Pid
}

// variant is a Sluice to be measured.
type variant struct{ name, binary, engine string }

// variants are all engines of all binaries, named by what tells them apart. An
// engine without a name is a binary's own choice.
func variants(binaries, engines []string) (all []variant) {
	for _, b := range binaries {
		for _, e := range engines {
			name := "sluice"
			if len(binaries) > 1 {
				name = filepath.Base(b)
			}
			all = append(all, variant{name: strings.TrimSpace(name + " " + e), binary: b, engine: e})
		}
	}
	return all
}

// setup is how the servers under test differ from run to run.
type setup struct {
	cpus           string // that they may run on; proxied when empty
	workers        int    // of nginx; 1 when 0
	http, location string // directives of nginx
	clients        int    // room for so many at once, and for their requests upstream; that of the defaults when 0
	sections       string // sections of Sluice's configuration
	upstreams      string // Sluice's, as entries of the list; the mock when empty
	answered       answer // what tells that a proxy is there; listsModels when nil
}

// passing has both pass everything on. Sluice is as a user starts it, unless the
// plan says that it is to be bare.
func (l *lab) passing() setup {
	s := setup{location: "proxy_buffering off;"}
	if l.bare {
		s.sections = "cache: {enabled: false}\n"
	}
	return s
}

// serve has all proxies run with a setup, and no others.
func (l *lab) serve(ctx context.Context, s setup) error {
	l.stopProxies()
	all, err := l.startProxies(ctx, s)
	l.proxies = all
	return err
}

func (l *lab) startProxies(ctx context.Context, s setup) (all []*proxy, err error) {
	for i := range 1 + len(l.variants) {
		p, err := l.startOne(ctx, s, i)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// startOne starts the proxy of a column.
func (l *lab) startOne(ctx context.Context, s setup, column int) (*proxy, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	if column == 0 {
		return l.startNginx(ctx, s, addr)
	}
	return l.startSluice(ctx, s, addr, l.variants[column-1])
}

func (l *lab) stopProxies() {
	for _, p := range l.proxies {
		process.Stop(p.cmd)
	}
	l.proxies = nil
}

// sluices are the proxies that are not nginx.
func (l *lab) sluices() []*proxy { return l.proxies[1:] }

// startNginx has room for a third more connections than there may be: nginx closes
// fresh ones where fewer than a sixteenth are free.
func (l *lab) startNginx(ctx context.Context, s setup, addr string) (*proxy, error) {
	if _, err := exec.LookPath("nginx"); err != nil {
		return nil, errors.New("nginx is missing: apt-get install nginx-light")
	}
	conf := fmt.Sprintf(`daemon off; user root; worker_processes %[6]d; pid %[1]s/nginx.pid; error_log %[1]s/nginx.err;
events { worker_connections %[7]d; }
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 1000000000;
  %[4]s
  upstream mock { server %[2]s; keepalive %[8]d; keepalive_requests 1000000000; }
  server { listen %[3]s backlog=4096; location / { proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; %[5]s } }
}`, l.dir, l.mockAddr, addr, s.http, s.location, max(s.workers, 1), max(16_384, 3*s.clients), max(64, s.clients))
	file := filepath.Join(l.dir, fmt.Sprintf("nginx-%d.conf", l.processes))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return l.startProxy(ctx, s, "nginx", target{addr: addr}, "nginx", "-c", file, "-p", l.dir)
}

func (l *lab) startSluice(ctx context.Context, s setup, addr string, v variant) (*proxy, error) {
	_, port, _ := net.SplitHostPort(addr)
	engine, log, room, clients := "", "", "", ""
	if v.engine != "" {
		engine = "  engine: " + v.engine + "\n"
	}
	if l.bare {
		log = "log: {level: warn}\n"
	}
	if s.clients > 0 {
		room = fmt.Sprintf("http_client: {max_connections: %[1]d, max_keepalive_connections: %[1]d}\n", s.clients)
		clients = fmt.Sprintf("  max_connections: %d\n", max(10_000, s.clients))
	}
	conf := fmt.Sprintf(`server:
  port: %s
  api_keys: [{name: bench, hash: "sha256:%x"}]
  open_metrics: true
%s%supstreams:
%s%s%s%s`, port, sha256.Sum256([]byte(process.APIKey)), engine, clients, cmp.Or(s.upstreams, upstream("mock", l.mockAddr, "")), room, log, s.sections)
	file := filepath.Join(l.dir, fmt.Sprintf("sluice-%d.yaml", l.processes))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	argv := []string{v.binary, "serve", "--config", file}
	if v.engine != "" { // the environment goes before a file
		argv = append([]string{"env", "SLUICE_ENGINE=" + v.engine}, argv...)
	}
	return l.startProxy(ctx, s, v.name, target{addr: addr}, argv...)
}

// upstream is an entry of Sluice's list, with further keys if need be.
func upstream(name, addr, keys string) string {
	return fmt.Sprintf("  - {name: %s, base_url: \"http://%s/v1\", api_key: upstream-key%s}\n", name, addr, keys)
}

// worked are the keys of an upstream whose models' names say what they cost.
const worked = `, models: ["` + modelWork + `?*"]`

// column is a Sluice beside others.
type column struct {
	name string
	setup
}

// serveEach has a Sluice run for each column, and no other proxies.
func (l *lab) serveEach(ctx context.Context, columns []column) error {
	l.stopProxies()
	for _, c := range columns {
		addr, err := process.FreeAddr()
		if err != nil {
			return err
		}
		p, err := l.startSluice(ctx, c.setup, addr, variant{c.name, l.variants[0].binary, l.variants[0].engine})
		if err != nil {
			return err
		}
		l.proxies = append(l.proxies, p)
	}
	return nil
}

// answer waits until a server answers, and says when it did.
type answer func(ctx context.Context, t target) (time.Time, error)

func listsModels(ctx context.Context, t target) (time.Time, error) {
	return process.WaitFor(ctx, "http://"+t.addr+"/v1/models")
}

func (l *lab) startProxy(ctx context.Context, s setup, name string, t target, argv ...string) (*proxy, error) {
	if s.answered == nil {
		s.answered = listsModels
	}
	begin := time.Now()
	cmd, log, err := l.start(cmp.Or(s.cpus, proxied), name, argv...)
	if err != nil {
		return nil, err
	}
	p := &proxy{name: name, target: t, cmd: cmd, log: log}
	at, err := s.answered(ctx, t)
	p.firstReply = at.Sub(begin)
	if err != nil {
		process.Stop(cmd)
		return nil, fmt.Errorf("start: %w", l.explain(p, err))
	}
	return p, nil
}

// explain adds the end of what a proxy has said to what went wrong with it.
func (l *lab) explain(p *proxy, err error) error {
	const most = 1000
	if p.cmd == nil { // what it says goes elsewhere
		return fmt.Errorf("%s: %w", p.name, err)
	}
	said, _ := os.ReadFile(p.log)
	if p.name == "nginx" {
		said, _ = os.ReadFile(filepath.Join(l.dir, "nginx.err"))
	}
	return fmt.Errorf("%s: %w\n%s", p.name, err, said[max(0, len(said)-most):])
}
