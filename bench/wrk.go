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
	"time"
)

// chatPath is what loads are sent to that name no other path.
const chatPath = "/v1/chat/completions"

// load is what wrk sends: requests with one body, or those of a script that goes
// on from there.
type load struct {
	name, body, script string
	path, contentType  string // "" for a chat request
}

// measured is what a proxy did under a load.
type measured struct {
	cpu  float64 // of the proxy, µs a request
	rate float64 // requests a second
}

// compare loads both proxies in turn and prints the medians.
func (l *lab) compare(ctx context.Context, loads []load) error {
	fmt.Printf("%-44s %10s %10s %7s | %10s %10s\n", "", "nginx µs", "sluice µs", "ratio", "nginx /s", "sluice /s")
	for _, ld := range loads {
		var cpu, rate [2][]float64
		var ratio []float64
		for range l.rounds {
			var ms [2]measured
			for i, p := range []*proxy{l.nginx, l.sluice} {
				var err error
				if ms[i], err = l.measure(ctx, p, ld); err != nil {
					return fmt.Errorf("load %s: %w", p.name, err)
				}
				cpu[i], rate[i] = append(cpu[i], ms[i].cpu), append(rate[i], ms[i].rate)
			}
			ratio = append(ratio, ms[1].cpu/ms[0].cpu)
		}
		fmt.Printf("%-44s %10.1f %10.1f %7.2f | %10.0f %10.0f\n", ld.name, median(cpu[0]), median(cpu[1]), median(ratio), median(rate[0]), median(rate[1]))
	}
	return nil
}

func (l *lab) writeScript(ld load) (file string, err error) {
	file = filepath.Join(l.dir, "wrk.lua")
	lua := fmt.Sprintf("wrk.method='POST'\nwrk.headers['Content-Type']='%s'\nwrk.headers['Authorization']='Bearer %s'\nwrk.body=%s\n%s",
		cmp.Or(ld.contentType, "application/json"), apiKey, luaString(ld.body), ld.script)
	return file, os.WriteFile(file, []byte(lua), 0o600)
}

// luaString is a literal for any bytes.
func luaString(s string) string {
	b := []byte{'"'}
	for _, c := range []byte(s) {
		b = fmt.Appendf(b, "\\%03d", c)
	}
	return string(append(b, '"'))
}

// measure loads a proxy from CPU 1.
func (l *lab) measure(ctx context.Context, p *proxy, ld load) (m measured, err error) {
	script, err := l.writeScript(ld)
	if err != nil {
		return m, err
	}
	wrk := func(d time.Duration) ([]byte, error) {
		return exec.CommandContext(ctx, "taskset", "-c", "1", "wrk", "-t1", "-c", strconv.Itoa(l.conns), "-d", d.String(), "-s", script, "http://"+p.addr+cmp.Or(ld.path, chatPath)).CombinedOutput()
	}
	if out, err := wrk(time.Second); err != nil {
		return m, fmt.Errorf("warm up: %w\n%s", err, out)
	}
	before, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return m, err
	}
	out, err := wrk(l.duration)
	if err != nil {
		return m, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return m, err
	}
	n, rate, err := counted(out)
	if err != nil {
		return m, err
	}
	return measured{cpu: float64((after - before).Microseconds()) / n, rate: rate}, nil
}

// counted reads wrk's report: how many requests succeeded, and how many a second.
func counted(out []byte) (n, rate float64, err error) {
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, 0, fmt.Errorf("some requests failed:\n%s", out)
	}
	m := regexp.MustCompile(`(?s)(\d+) requests in.*Requests/sec:\s+([\d.]+)`).FindSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("wrk printed no count:\n%s", out)
	}
	if n, err = strconv.ParseFloat(string(m[1]), 64); err != nil {
		return 0, 0, err
	}
	rate, err = strconv.ParseFloat(string(m[2]), 64)
	return n, rate, err
}
