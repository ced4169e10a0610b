package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sluice/bench/process"
)

// chatPath is what loads are sent to that name no other path.
const chatPath, embeddingsPath = "/v1/chat/completions", "/v1/embeddings"

// load is what wrk sends: requests with one body, or those of a script that goes
// on from there.
type load struct {
	name, body, script string
	path, contentType  string // "" for a chat request
	fresh              bool   // the body is a freshBody, of which each request has its own
	conns              int    // those of the plan when 0
	cpus               string // where wrk runs; peers when empty
}

// measured is what a proxy did under a load.
type measured struct {
	cpu, mock float64 // of the proxy and of the mock, µs a request
	asked     float64 // how many requests got as far as the mock, of each
	rate      float64 // requests a second
	p99       time.Duration
}

// compare loads the proxies in turn, and gives what a request cost and how many a
// second there were.
func (l *lab) compare(ctx context.Context, ld load) (cost, rate line, err error) {
	cost, rate = newLine("CPU µs, "+ld.name, 1, len(l.proxies)), newLine("requests/s, "+ld.name, 0, len(l.proxies))
	for range l.rounds {
		for i, p := range l.proxies {
			m, err := l.measure(ctx, p, ld)
			if err != nil {
				return cost, rate, fmt.Errorf("load %s: %w", p.name, err)
			}
			cost.add(i, m.cpu)
			rate.add(i, m.rate)
			if i == 0 {
				cost.mock = append(cost.mock, m.mock)
			}
		}
	}
	return cost, rate, nil
}

// measure loads a proxy.
func (l *lab) measure(ctx context.Context, p *proxy, ld load) (m measured, err error) {
	if p.log != "" { // a line a request adds up
		if err := os.Truncate(p.log, 0); err != nil {
			return m, err
		}
	}
	if out, err := l.wrk(ctx, p, ld, time.Second); err != nil {
		return m, fmt.Errorf("warm up: %w\n%s", err, out)
	}
	before, err := process.CPUTimes(p.pid(), l.mock.Process.Pid)
	if err != nil {
		return m, err
	}
	asked, err := l.served(ctx)
	if err != nil {
		return m, err
	}
	out, err := l.wrk(ctx, p, ld, l.duration)
	if err != nil {
		return m, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := process.CPUTimes(p.pid(), l.mock.Process.Pid)
	if err != nil {
		return m, err
	}
	n, rate, p99, err := counted(out)
	if err != nil {
		return m, err
	}
	answered, err := l.served(ctx)
	if err != nil {
		return m, err
	}
	if ld.fresh && answered-asked < n {
		return m, fmt.Errorf("%.0f of %.0f requests got as far as the mock", answered-asked, n)
	}
	per := func(i int) float64 { return float64((after[i] - before[i]).Microseconds()) / n }
	return measured{cpu: per(0), mock: per(1), asked: (answered - asked) / n, rate: rate, p99: p99}, nil
}

// wrk has it load a proxy for a while and gives its report.
func (l *lab) wrk(ctx context.Context, p *proxy, ld load, d time.Duration) ([]byte, error) {
	script, err := l.writeScript(p.target, ld)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, "taskset", "-c", cmp.Or(ld.cpus, peers), "wrk", "--latency", "--timeout", "10s", "-t1", "-c", strconv.Itoa(cmp.Or(ld.conns, l.conns)), "-d", fmt.Sprintf("%.0fs", d.Seconds()), "-s", script, "http://"+p.addr+cmp.Or(ld.path, p.path, chatPath)).CombinedOutput()
}

// maxRequests is more than one run of wrk sends.
const maxRequests = 10_000_000

func (l *lab) writeScript(t target, ld load) (file string, err error) {
	file = filepath.Join(l.dir, "wrk.lua")
	body, script := ld.body, ld.script
	if ld.fresh {
		body, script = reseeded(body, firstSeed+l.requests), countUp
		l.requests += maxRequests
	}
	lua := fmt.Appendf(nil, "wrk.method='POST'\nwrk.headers['Content-Type']='%s'\nwrk.body=%s\n", cmp.Or(ld.contentType, "application/json"), luaString(body))
	for line := range strings.Lines(t.allFields()) {
		name, value, _ := strings.Cut(line, ":")
		lua = fmt.Appendf(lua, "wrk.headers[%s]=%s\n", luaString(name), luaString(strings.TrimSpace(value)))
	}
	return file, os.WriteFile(file, append(lua, script...), 0o600)
}

// reseeded gives a freshBody another seed.
func reseeded(body string, seed int) string {
	digits := strconv.Itoa(seed)
	return body[:len(body)-1-len(digits)] + digits + "}"
}

// countUp is a script that sends a freshBody whose seed counts up, so that each
// request is new to all that remembers any. It counts in the bytes of the request,
// which takes less than making one.
const countUp = `local ffi = require("ffi")
local bytes, size
function init()
  local r = wrk.format()
  size = #r
  bytes = ffi.new("uint8_t[?]", size)
  ffi.copy(bytes, r, size)
end
function request()
  local i = size - 2
  while bytes[i] == 57 do
    bytes[i] = 48
    i = i - 1
  end
  bytes[i] = bytes[i] + 1
  return ffi.string(bytes, size)
end
`

// luaString is a literal for any bytes.
func luaString(s string) string {
	b := []byte{'"'}
	for _, c := range []byte(s) {
		b = fmt.Appendf(b, "\\%03d", c)
	}
	return string(append(b, '"'))
}

// counted reads wrk's report: how many requests succeeded, how many a second, and
// how long 99 % of them took at most.
func counted(out []byte) (n, rate float64, p99 time.Duration, err error) {
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, 0, 0, fmt.Errorf("some requests failed:\n%s", out)
	}
	m := regexp.MustCompile(`(?s)\n\s+99%\s+(\S+) *\n.*?(\d+) requests in.*Requests/sec:\s+([\d.]+)`).FindSubmatch(out)
	if m == nil {
		return 0, 0, 0, fmt.Errorf("wrk printed no count:\n%s", out)
	}
	if p99, err = time.ParseDuration(string(m[1])); err != nil {
		return 0, 0, 0, err
	}
	if n, err = strconv.ParseFloat(string(m[2]), 64); err != nil {
		return 0, 0, 0, err
	}
	rate, err = strconv.ParseFloat(string(m[3]), 64)
	return n, rate, p99, err
}
