package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"sluice/bench/process"
)

// memoryWorth measures what memory management is worth: the same Sluice with it and, by
// the build tag unmanaged, without budget, kept buffers and a paced collector, which is
// then Go's with GOGC=100. Each load finds a fresh process.
func memoryWorth(ctx context.Context, w io.Writer, p plan) error {
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	off, err := process.Build(ctx, l.dir, "-tags=unmanaged")
	if err != nil {
		return err
	}
	both := []variant{{"without", off, ""}, {"with", l.variants[0].binary, ""}}
	fmt.Fprintf(w, "Sluice as a user starts it, without memory management and with it; mock %s, c=%d, %v per load, median of %d rounds\n\n", p.mockKind, p.conns, p.duration, p.rounds)
	t := newTable(w, "", []string{"without", "with"})
	const within = "memory: {limit_bytes: 134217728}\n"
	for _, at := range []struct {
		load
		sections string // of both configurations; what is not managed heeds no limit
	}{
		{load{name: "600 B request, 1 kB reply", body: freshBody(model1KB, false, firstSeed), fresh: true}, ""},
		{load{name: "600 B request, 16 kB reply", body: freshBody(model16KB, false, firstSeed), fresh: true}, ""},
		{load{name: fmt.Sprintf("stream of %d events", events), body: freshBody(model1KB, true, firstSeed), fresh: true}, ""},
		{load{name: "256 kB request, 1 kB reply, c=64", body: longBody(256 << 10), fresh: true, conns: 64}, ""},
		{load{name: "1 MB request, 1 kB reply, c=64, limit 128 MiB", body: longBody(1_000_000), fresh: true, conns: 64}, within},
	} {
		ld := at.load
		lines := []line{
			newLine("stop-the-world and assist, ns a request, "+ld.name, 0, len(both)), newLine("the collector's CPU µs a request", 2, len(both)),
			newLine("CPU µs a request", 1, len(both)), newLine("requests/s", 0, len(both)), newLine("peak resident MiB", 1, len(both)),
		}
		for range l.rounds {
			for i, v := range both {
				figures, err := l.underMemory(ctx, v, ld, at.sections)
				if err != nil {
					return fmt.Errorf("load %s: %w", v.name, err)
				}
				for k, f := range figures {
					lines[k].add(i, f)
				}
			}
		}
		t.print(lines...)
	}
	return nil
}

// longBody is a chat request whose system message has so many bytes.
func longBody(size int) string {
	long := strings.Repeat(question(512), size/512+1)[:size]
	return strings.Replace(freshBody(model1KB, false, firstSeed), "You are", long+" You are", 1)
}

// underMemory loads a fresh Sluice, and gives the figures of the lines.
func (l *lab) underMemory(ctx context.Context, v variant, ld load, sections string) (figures []float64, err error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	p, err := l.startSluice(ctx, setup{cpus: proxied, sections: sections}, addr, v)
	if err != nil {
		return nil, err
	}
	defer process.Stop(p.cmd)
	before, err := collected(ctx, p.addr)
	if err != nil {
		return nil, err
	}
	asked, err := l.served(ctx)
	if err != nil {
		return nil, err
	}
	m, err := l.measure(ctx, p, ld)
	if err != nil {
		return nil, err
	}
	after, err := collected(ctx, p.addr)
	if err != nil {
		return nil, err
	}
	answered, err := l.served(ctx)
	if err != nil {
		return nil, err
	}
	peak, err := peakKiB(p.pid())
	n := answered - asked // those of the warm-up too, as the peak and the collections
	return []float64{(after[0] - before[0] + after[1] - before[1]) * 1e9 / n, (after[2] - before[2]) * 1e6 / n, m.cpu, m.rate, peak / 1024}, err
}

// collected reads how many seconds the collector stopped the world, goroutines assisted
// it, and it took in all.
func collected(ctx context.Context, addr string) (all [3]float64, err error) {
	b, err := process.Page(ctx, "http://"+addr+"/metrics")
	if err != nil {
		return all, err
	}
	for i, name := range []string{"go_gc_pause_seconds_sum", "go_gc_assist_seconds_total", "go_gc_cpu_seconds_total"} {
		m := regexp.MustCompile(`(?m)^sluice_` + name + ` (\S+)$`).FindSubmatch(b)
		if m == nil {
			return all, fmt.Errorf("/metrics has no %s", name)
		}
		if all[i], err = strconv.ParseFloat(string(m[1]), 64); err != nil {
			return all, err
		}
	}
	return all, nil
}

// peakKiB is the most that a process had resident (VmHWM, proc(5)).
func peakKiB(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		return 0, fmt.Errorf("there is no VmHWM of %d", pid)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
