package soak

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/bench/process"
)

// hardening is a load of everything that Sluice does on one process, while what it depends on
// fails, and with every reply held against what it must be.
type hardening struct {
	watch
	binary   string
	duration time.Duration
	rate     float64
	weather  float64
	race     bool
	limit    int // MiB that Sluice may use
	dir      string

	origins [2]*service
	redis   *service
	cmd     *exec.Cmd
	port    string
	plain   *http.Client // HTTP/1.1
	multi   *http.Client // HTTP/2
	tasks   sync.WaitGroup
	reloads atomic.Int64
	signals atomic.Int64 // by which it was told to read one again
	refused atomic.Int64 // configurations that are none

	ledger
	growth
	acts acts
}

// Hardening runs "bench hardening".
func Hardening(ctx context.Context, w io.Writer, args []string) (err error) {
	h := &hardening{plain: overHTTP(1), multi: overHTTP(2)}
	set := flag.NewFlagSet("bench hardening", flag.ExitOnError)
	set.StringVar(&h.binary, "sluice", "", "binary to load; built from the tree when empty")
	set.DurationVar(&h.duration, "for", 30*time.Minute, "duration")
	set.Float64Var(&h.rate, "rate", 60, "requests a second")
	set.Float64Var(&h.weather, "weather", 0.01, "part of the requests that services fail at by themselves; 20 times as many in bad spells")
	set.BoolVar(&h.race, "race", false, "build with the race detector, and do not judge how much memory is resident")
	set.IntVar(&h.limit, "limit", 128, "memory that Sluice may use, in MiB")
	set.StringVar(&h.dir, "dir", "", "folder of logs and configuration, which is kept; one that is removed when empty")
	samples := set.String("samples", "", "file that all samples are written to, as CSV")
	serve := set.String("origin", "", "address: be a service on it, which this command starts by itself")
	set.Parse(args)
	if *serve != "" {
		return Serve(ctx, *serve, h.weather)
	}
	if h.duration < 20*time.Second || h.rate <= 0 {
		return fmt.Errorf("%v at %v requests a second harden nothing", h.duration, h.rate)
	}
	if *samples != "" {
		f, err := os.Create(*samples)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		h.samples = f
	}
	if h.dir == "" {
		if h.dir, err = os.MkdirTemp("", "sluice-hardening-"); err != nil {
			return err
		}
		defer os.RemoveAll(h.dir)
	} else if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	return h.run(ctx, w)
}

// overHTTP is a client over a version of HTTP, in cleartext.
func overHTTP(version int) *http.Client {
	t := &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: 5 * time.Second, DisableCompression: true, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(version == 1)
	t.Protocols.SetUnencryptedHTTP2(version == 2)
	return &http.Client{Transport: t}
}

func (h *hardening) run(ctx context.Context, w io.Writer) (err error) {
	if h.binary == "" {
		var flags []string
		if h.race {
			flags = append(flags, "-race")
		}
		if h.binary, err = process.Build(ctx, h.dir, flags...); err != nil {
			return err
		}
	}
	defer h.stop()
	if err := h.services(ctx); err != nil {
		return err
	}
	if err := h.start(ctx); err != nil {
		return err
	}
	atRest, err := h.rest(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%v at %.0f requests a second of all kinds, before services that fail and with %d MiB\n\n%s", h.duration, h.rate, h.limit, heading)
	flows, err := h.load(ctx, w)
	if err != nil {
		return err
	}
	return h.judge(ctx, w, flows, atRest)
}

// services starts what Sluice depends on.
func (h *hardening) services(ctx context.Context) error {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("redis-server is missing: apt-get install redis-server: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range h.origins {
		addr, err := process.FreeAddr()
		if err != nil {
			return err
		}
		argv := []string{self, "hardening", "-origin", addr, "-weather", strconv.FormatFloat(h.weather, 'g', -1, 64)}
		h.origins[i] = &service{name: fmt.Sprintf("origin-%d", i), addr: addr, argv: argv, dir: h.dir, acts: &h.acts}
	}
	addr, err := process.FreeAddr()
	if err != nil {
		return err
	}
	argv := []string{"redis-server", "--bind", "127.0.0.1", "--port", portOf(addr), "--save", "", "--appendonly", "no", "--dir", h.dir, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"}
	h.redis = &service{name: "redis", addr: addr, argv: argv, dir: h.dir}
	for _, s := range append(h.origins[:], h.redis) {
		if err := s.start(); err != nil {
			return err
		}
	}
	for _, o := range h.origins {
		if _, err := process.WaitFor(ctx, "http://"+o.addr+"/v1/models"); err != nil {
			return err
		}
	}
	return nil
}

// start starts Sluice.
func (h *hardening) start(ctx context.Context) error {
	addr, err := process.FreeAddr()
	if err != nil {
		return err
	}
	h.port = portOf(addr)
	if err := os.WriteFile(filepath.Join(h.dir, "codec.proto"), []byte(schema), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.dir, "mapping.yaml"), []byte(mapping), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(h.file(), []byte(h.configuration(0)), 0o600); err != nil {
		return err
	}
	log, err := os.Create(h.log())
	if err != nil {
		return err
	}
	defer log.Close()
	h.cmd = exec.Command(h.binary, "serve", "--config", h.file())
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.base, h.pid = "http://"+addr, h.cmd.Process.Pid
	if _, err = process.WaitFor(ctx, h.base+"/readyz"); err != nil {
		text, _ := os.ReadFile(h.log())
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

func (h *hardening) file() string { return filepath.Join(h.dir, "sluice.yaml") }
func (h *hardening) log() string  { return filepath.Join(h.dir, "sluice.log") }

func (h *hardening) stop() {
	process.Stop(h.cmd)
	for _, s := range append(h.origins[:], h.redis) {
		if s != nil {
			s.kill()
		}
	}
}

// load asks, troubles and looks until the time is up, and waits until all is answered.
func (h *hardening) load(ctx context.Context, w io.Writer) (flows []flow, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var trouble, asking sync.WaitGroup
	troubled, calm := context.WithCancel(ctx)
	defer trouble.Wait()
	defer calm()
	for _, make := range h.troubles() {
		trouble.Go(func() { make(troubled) })
	}
	enough, stop := context.WithCancel(ctx)
	defer asking.Wait()
	defer stop()
	asking.Go(func() { h.ask(ctx, enough) })
	begun := time.Now()
	for next := begun.Add(sampled); ; next = next.Add(sampled) {
		select {
		case <-ctx.Done():
			return flows, ctx.Err()
		case <-time.After(time.Until(next)):
		}
		f, err := h.look(ctx, time.Since(begun))
		if err != nil {
			return flows, fmt.Errorf("%w; %s", err, h.lastWords())
		}
		flows = append(flows, f)
		over := f.at >= h.duration
		if f.at%min(told, h.duration/4) < sampled || over {
			h.tell(w, f)
		}
		if over {
			break
		}
	}
	stop()
	asking.Wait()
	h.tasks.Wait()
	calm()
	trouble.Wait()
	return flows, nil
}

// ask makes requests that come at random until there are enough.
func (h *hardening) ask(ctx, enough context.Context) {
	var all []kind
	for _, k := range h.kinds() {
		for range k.share {
			all = append(all, k)
		}
	}
	for range arrivals(enough, h.rate) {
		h.mu.Lock()
		h.asked++
		n := h.asked
		h.mu.Unlock()
		k := all[rand.IntN(len(all))]
		h.tasks.Go(func() { k.do(ctx, k.name, n) })
	}
}

// service is a process that others depend on. It is killed and started again.
type service struct {
	name, addr string
	argv       []string
	dir        string
	acts       *acts // what it says that it does; nil where it says nothing

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (s *service) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, s.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	s.cmd.Stderr = log
	if s.acts == nil {
		s.cmd.Stdout = log
		return s.cmd.Start()
	}
	said, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.acts.readers.Go(func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			s.acts.add(lines.Text())
		}
	})
	return s.cmd.Start()
}

// kill ends it as a machine does that loses its power.
func (s *service) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	s.cmd.Process.Kill()
	s.cmd.Process.Wait() // what it said is read by others
	s.cmd = nil
}

// freeze has it do nothing for a while.
func (s *service) freeze(ctx context.Context, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGSTOP)
	pause(ctx, d)
	s.cmd.Process.Signal(syscall.SIGCONT)
}

// acts counts how often services began to work on each question.
type acts struct {
	readers sync.WaitGroup
	mu      sync.Mutex
	times   map[string]int
}

func (a *acts) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.times == nil {
		a.times = map[string]int{}
	}
	a.times[id]++
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
