package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"sluice/bench/compare"
)

// contender is Sluice, or what it is compared with.
type contender struct {
	compare.Proxy
	start   func(ctx context.Context, l *lab, s setup, addr string) (*proxy, error)
	running *proxy                   // in place of start, where somebody else has started it
	files   func() ([]string, error) // that a container image of it would hold; nil where nobody knows
}

// certificates are those that programs trust, where Debian has them.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// contender is Sluice as a user starts it. Where it was built here and knows no version, it
// has that of the tree.
func (l *lab) contender(ctx context.Context, built bool) (contender, error) {
	v := l.variants[0]
	out, err := exec.CommandContext(ctx, v.binary, "version").Output()
	if err != nil {
		return contender{}, fmt.Errorf("sluice version: %w", err)
	}
	version := versionIn(string(out))
	if commit, err := exec.CommandContext(ctx, "git", "-C", "..", "describe", "--always", "--dirty").Output(); built && version == "devel" && err == nil {
		version = strings.TrimSpace(string(commit))
	}
	return contender{
		Proxy: compare.Proxy{Name: "Sluice", Version: version, Notes: []string{
			"As it is started by default, with a key to be asked for and one upstream: cache, access log (into a file), monitoring, admission and de-duplication are on, and so is the lean engine.",
			"It reads each request and each reply strictly as JSON, routes by the model, stores each whole reply in its cache and counts tokens. It has up to 200 connections to the mock and keeps 50 of them open (as many as there are streams and 100 more where many are open).",
			"Where it may use two CPUs it does, as a Go program does by itself.",
		}},
		start: func(ctx context.Context, l *lab, s setup, addr string) (*proxy, error) {
			return l.startSluice(ctx, s, addr, variant{"sluice", v.binary, v.engine})
		},
		files: func() ([]string, error) { return []string{v.binary, certificates}, nil },
	}, nil
}

// versionIn is the version that Sluice tells of itself, "sluice VERSION (…)".
func versionIn(told string) string {
	if words := strings.Fields(told); len(words) > 1 {
		return words[1]
	}
	return "of no version"
}

// nginxContender is Debian's nginx.
func nginxContender(ctx context.Context, _ string) (contender, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return contender{}, fmt.Errorf("nginx is missing: apt-get install nginx-light")
	}
	out, err := exec.CommandContext(ctx, path, "-v").CombinedOutput()
	if err != nil {
		return contender{}, fmt.Errorf("nginx -v: %w\n%s", err, out)
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "nginx/")
	return contender{
		Proxy: compare.Proxy{Name: "nginx", Version: version, Notes: []string{
			"A plain proxy: it looks at no body, asks for no key, counts nothing, and its access log is off.",
			"One worker, two where it may use two CPUs; 64 kept-alive connections to the mock (as many as there are clients where there are more), which is more than the load has; `proxy_buffering off`, so that events leave as they come.",
			"Answers from memory are `proxy_cache`'s for POST, keyed by the whole body, from files in the page cache that it keeps open.",
		}},
		start: func(ctx context.Context, l *lab, s setup, addr string) (*proxy, error) {
			return l.startNginx(ctx, s, addr)
		},
		files: func() ([]string, error) {
			all, err := withLibraries(path)
			return append(all, "/etc/nginx", certificates), err
		},
	}, nil
}

// caddyVersion is the version of Caddy's module.
const caddyVersion = "v2.11.9"

func caddyContender(ctx context.Context, cache string) (contender, error) {
	binary, err := installCaddy(ctx, cache)
	if err != nil {
		return contender{}, err
	}
	return contender{
		Proxy: compare.Proxy{Name: "Caddy", Version: strings.TrimPrefix(caddyVersion, "v"), Notes: []string{
			"A plain proxy, built from its Go module by " + runtime.Version() + " without further modules: it looks at no body, asks for no key, and has neither access log (which is off by default) nor administration.",
			"As many kept-alive connections to the mock as there are clients, so that none is closed in between; streams are flushed event by event (`flush_interval -1`).",
			"As it is built it has no cache.",
		}},
		start: func(ctx context.Context, l *lab, s setup, addr string) (*proxy, error) {
			file := filepath.Join(l.dir, fmt.Sprintf("caddy-%d.conf", l.processes))
			if err := os.WriteFile(file, []byte(caddyfile(addr, l.mockAddr, max(s.clients, l.conns))), 0o600); err != nil {
				return nil, err
			}
			own := filepath.Join(l.dir, "caddy") // where it would keep certificates
			return l.startProxy(ctx, s, "caddy", target{addr: addr}, "env", "XDG_DATA_HOME="+own, "XDG_CONFIG_HOME="+own, binary, "run", "--adapter", "caddyfile", "--config", file)
		},
		files: func() ([]string, error) { return []string{binary, certificates}, nil },
	}, nil
}

func caddyfile(addr, upstream string, clients int) string {
	_, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	storage_check off
}
http://:%s {
	bind 127.0.0.1
	reverse_proxy %s {
		flush_interval -1
		transport http {
			keepalive_idle_conns %[3]d
			keepalive_idle_conns_per_host %[3]d
		}
	}
}
`, port, upstream, clients)
}

// portkeyVersion is the version of Portkey's npm package, honoVersion the newest one of its
// HTTP server with which streams pass: with those after it they fail with status 500.
const portkeyVersion, honoVersion = "1.15.2", "1.13.7"

func portkeyContender(ctx context.Context, cache string) (contender, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return contender{}, fmt.Errorf("node is missing: run scripts/deps")
	}
	out, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return contender{}, fmt.Errorf("node --version: %w", err)
	}
	dir, err := installPortkey(ctx, cache)
	if err != nil {
		return contender{}, err
	}
	return contender{
		Proxy: compare.Proxy{Name: "Portkey", Version: portkeyVersion, Notes: []string{
			"The npm package in one process of Node.js " + strings.TrimSpace(string(out)) + ", as its own command starts it (`--headless`, `NODE_ENV=production`): it has no second one where it may use two CPUs.",
			"It reads requests and replies as JSON; it asks for no key, counts nothing and writes no log. Which service is asked where is in fields of each request, as it wants it.",
			"Connections to the mock are kept alive as Node's client does by default. It has to be told to listen on loopback only, by a line that is loaded before it.",
			"Of its HTTP server, @hono/node-server, it has " + honoVersion + ": with the newest that its package allows every stream fails with status 500.",
			"As it is published its cache is off, and no field switches it on.",
		}},
		start: func(ctx context.Context, l *lab, s setup, addr string) (*proxy, error) {
			_, port, _ := net.SplitHostPort(addr)
			loopback := filepath.Join(l.dir, "loopback.cjs")
			if err := os.WriteFile(loopback, []byte(onLoopback), 0o600); err != nil {
				return nil, err
			}
			t := target{addr: addr, fields: "x-portkey-provider: openai\r\nx-portkey-custom-host: http://" + l.mockAddr + "/v1\r\n"}
			return l.startProxy(ctx, s, "portkey", t, "env", "NODE_ENV=production", node, "--require", loopback, filepath.Join(dir, portkeyStart), "--port="+port, "--headless")
		},
		files: func() ([]string, error) {
			all, err := withLibraries(node)
			return append(all, filepath.Join(dir, "node_modules"), certificates), err
		},
	}, nil
}

// onLoopback has servers that name no host listen on loopback.
const onLoopback = `const { Server } = require('net');
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  return typeof port === 'number' && typeof rest[0] !== 'string' ? listen.call(this, port, '127.0.0.1', ...rest.filter((a) => typeof a === 'function')) : listen.call(this, port, ...rest);
};
`

// rival makes a contender. The folder is for what has to be installed.
type rival func(ctx context.Context, cache string) (contender, error)

// rivals are those that can be named.
func rivals() map[string]rival {
	return map[string]rival{"nginx": nginxContender, "caddy": caddyContender, "portkey": portkeyContender}
}

// otherKey begins a part of what is said of another gateway.
var otherKey = [...]string{"name", "url", "pid", "header", "note"}

// parseOther reads name=…,url=…,pid=…[,header=NAME: VALUE]…[,note=…]…: a gateway that runs
// already. A comma belongs to the value unless a key and "=" follow it.
func parseOther(s string) (contender, error) {
	keys := regexp.MustCompile(`(?:^|,)(` + strings.Join(otherKey[:], "|") + `)=`)
	at := keys.FindAllStringSubmatchIndex(s, -1)
	if len(at) == 0 || at[0][0] != 0 {
		return contender{}, fmt.Errorf("%q does not begin with one of %s and =", s, strings.Join(otherKey[:], ", "))
	}
	c := contender{running: new(proxy)}
	for i, m := range at {
		end := len(s)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		if err := c.set(s[m[2]:m[3]], s[m[1]:end]); err != nil {
			return contender{}, err
		}
	}
	c.running.name = c.Name
	switch {
	case c.Name == "" || c.running.addr == "" || c.running.process == 0:
		return contender{}, fmt.Errorf("%q lacks name, url or pid", s)
	case len(c.Notes) == 0:
		c.Notes = []string{"Started by somebody else, and as they have set it up."}
	}
	return c, nil
}

// set takes one part of what is said of another gateway.
func (c *contender) set(key, value string) error {
	if strings.ContainsAny(value, "\r\n") {
		return fmt.Errorf("%s has more than a line: %q", key, value)
	}
	switch key {
	case "name":
		c.Name = value
	case "note":
		c.Notes = append(c.Notes, value)
	case "header":
		if name, _, ok := strings.Cut(value, ":"); !ok || name == "" {
			return fmt.Errorf("the header %q is no NAME: VALUE", value)
		}
		c.running.fields += value + "\r\n"
	case "pid":
		pid, err := strconv.Atoi(value)
		if err != nil || pid < 1 {
			return fmt.Errorf("%q is no pid", value)
		}
		c.running.process = pid
	case "url":
		u, err := url.Parse(value)
		if err != nil {
			return err
		}
		at, err := netip.ParseAddrPort(u.Host)
		if err != nil || !at.Addr().Is4() || u.Scheme != "http" || u.RawQuery != "" {
			return fmt.Errorf("%q is no http://IPV4:PORT/PATH, which is what clients of OpenAI's API call a base URL", value)
		}
		c.running.addr, c.running.path = at.String(), strings.TrimSuffix(u.EscapedPath(), "/")+"/chat/completions"
	}
	return nil
}
