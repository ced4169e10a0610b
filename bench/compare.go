package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/bench/compare"
)

// comparison is a run of "bench compare".
type comparison struct {
	*lab
	run        *compare.Run
	contenders []contender // Sluice is the first
	idling     time.Duration
}

// comparing is what a comparison is asked for.
type comparing struct {
	plan
	compare.Settings
	idle          time.Duration
	with          []string
	others        []contender
	cache         string
	write, render string
}

// parseComparing reads flags.
func parseComparing(args []string) (*comparing, error) {
	c := &comparing{with: []string{"nginx", "caddy", "portkey"}}
	c.engines, c.mockKind, c.only = []string{""}, mockLean, regexp.MustCompile("")
	flags := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	flags.Func("with", "what Sluice is compared with: nginx, caddy, portkey, separated by commas; none when empty (default all)", func(s string) error {
		if c.with = nil; s != "" {
			c.with = strings.Split(s, ",")
		}
		for _, name := range c.with {
			if rivals()[name] == nil {
				return fmt.Errorf("%q is none of them", name)
			}
		}
		return nil
	})
	flags.Func("other", "a gateway that runs already, whose upstream is -mock-addr: name=NAME,url=http://127.0.0.1:PORT/v1,pid=PID[,header=NAME: VALUE]...[,note=TEXT]...; any number of times", func(s string) error {
		other, err := parseOther(s)
		c.others = append(c.others, other)
		return err
	})
	flags.Func("sluice", "the binary to measure; built from the tree when empty", func(s string) error {
		c.binaries = []string{s}
		return nil
	})
	flags.StringVar(&c.mockAt, "mock-addr", "", "where the mock listens, IPV4:PORT; any free port when empty")
	flags.IntVar(&c.rounds, "rounds", 5, "rounds; medians are printed, with the least and the most")
	flags.DurationVar(&c.duration, "d", 4*time.Second, "duration of one load")
	flags.IntVar(&c.conns, "c", 32, "connections of a load")
	flags.IntVar(&c.calls, "calls", 200, "calls a round of which latencies are taken, one after the other")
	flags.Float64Var(&c.Rate, "rate", 100, "calls a second where they come at a constant rate")
	flags.IntVar(&c.Streams, "streams", 2000, "streams that are open at once")
	flags.DurationVar(&c.idle, "idle", 30*time.Second, "how long a process has done nothing when its idle memory is read")
	flags.StringVar(&c.cache, "cache", "", "where Caddy and Portkey are installed; a folder of the user's cache when empty")
	flags.StringVar(&c.write, "write", "", "the document whose marked sections are written, and beside which the figures are kept as JSON")
	flags.StringVar(&c.render, "render", "", "measure nothing, and write the sections of this document from the figures beside it")
	flags.Func("run", "regular expression of what is measured: "+strings.Join(partNames(), ", ")+"; not with -write", func(s string) (err error) {
		c.only, err = regexp.Compile(s)
		return err
	})
	quick := flags.Bool("quick", false, "one round of short loads, which says whether all works and little else")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *quick {
		c.rounds, c.duration, c.calls, c.Streams, c.idle = 1, time.Second, 50, min(c.Streams, 200), 2*time.Second
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag", flags.Arg(0))
	case c.write != "" && c.only.String() != "":
		return nil, errors.New("-run and -write: a document has all lines")
	case !slices.ContainsFunc(partNames(), c.only.MatchString):
		return nil, fmt.Errorf("-run matches none of %s", strings.Join(partNames(), ", "))
	case c.Rate < 1 || c.Streams < 1 || c.idle < 0 || c.Rate*c.duration.Seconds() < 10:
		return nil, fmt.Errorf("%v calls a second, %d streams and %v idle measure nothing", c.Rate, c.Streams, c.idle)
	}
	c.Rounds, c.Seconds, c.Connections, c.Calls, c.IdleSeconds = c.rounds, c.duration.Seconds(), c.conns, c.calls, c.idle.Seconds()
	return c, c.check()
}

// compared measures Sluice beside others, prints the tables, and writes them into a
// document if it is asked to.
func compared(ctx context.Context, w io.Writer, args []string) error {
	c, err := parseComparing(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.render != "" {
		run, err := figuresBeside(c.render)
		if err != nil {
			return err
		}
		return writeSections(c.render, run)
	}
	run, err := c.measure(ctx)
	if run != nil {
		for _, name := range []string{"setup", "figures", "ratios", "notes"} {
			fmt.Fprintln(w, run.Sections()[name])
		}
	}
	if err != nil || c.write == "" {
		return err
	}
	b, err := run.JSON()
	if err != nil {
		return err
	}
	if err := os.WriteFile(besideOf(c.write), b, 0o644); err != nil {
		return err
	}
	return writeSections(c.write, run)
}

// besideOf is where a document's figures are.
func besideOf(document string) string {
	return strings.TrimSuffix(document, filepath.Ext(document)) + ".json"
}

func figuresBeside(document string) (*compare.Run, error) {
	b, err := os.ReadFile(besideOf(document))
	if err != nil {
		return nil, err
	}
	return compare.Parse(b)
}

func writeSections(document string, run *compare.Run) error {
	b, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text, err := compare.Replace(string(b), run.Sections())
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(text), 0o644)
}

// measure does all that is to be measured. Where something of Sluice's fails, what was
// measured before comes with the error.
func (c *comparing) measure(ctx context.Context) (*compare.Run, error) {
	if c.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		c.cache = filepath.Join(dir, "sluice-bench")
	}
	m := &comparison{run: &compare.Run{Date: time.Now().Format(time.DateOnly), Settings: c.Settings}, idling: c.idle}
	var found []contender
	for _, name := range c.with {
		r, err := rivals()[name](ctx, c.cache)
		if err != nil {
			log.Printf("%s is left out: %v", name, err)
			m.run.Absent = append(m.run.Absent, compare.Absent{Name: name, Why: firstLine(err)})
			continue
		}
		found = append(found, r)
	}
	built := len(c.binaries) == 0
	l, err := newLab(ctx, &c.plan)
	if err != nil {
		return nil, err
	}
	defer l.close()
	m.lab = l
	sluice, err := l.contender(ctx, built)
	if err != nil {
		return nil, err
	}
	m.contenders = append(append([]contender{sluice}, found...), c.others...)
	for _, contender := range m.contenders {
		m.run.Proxies = append(m.run.Proxies, contender.Proxy)
	}
	if m.run.Machine, err = machine(); err != nil {
		return nil, err
	}
	for _, p := range parts() {
		if !c.only.MatchString(p.name) {
			continue
		}
		if err := p.measure(m, ctx); err != nil {
			return m.run, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return m.run, nil
}

// machine says where this runs.
func machine() (compare.Machine, error) {
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return compare.Machine{}, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	return compare.Machine{CPU: cpuName(cpus), CPUs: runtime.NumCPU(), Kernel: strings.TrimSpace(string(kernel)), Go: runtime.Version()}, err
}

// cpuName is the name of the first CPU in /proc/cpuinfo (proc(5)), or what else is said of it.
func cpuName(info []byte) string {
	m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(info)
	if m == nil {
		return runtime.GOARCH
	}
	return string(bytes.TrimSpace(m[1]))
}

// loadAverage is the machine's over one minute.
func loadAverage() (float64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	one, _, _ := strings.Cut(string(b), " ")
	return strconv.ParseFloat(one, 64)
}

// firstLine is the first line of an error, and of a length for a cell.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	const most = 120
	if runes := []rune(line); len(runes) > most {
		line = string(runes[:most]) + "…"
	}
	return cmp.Or(line, "it failed")
}
