// Package soak loads one Sluice for long, and judges what became of it.
package soak

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/bench/process"
	"sluice/internal/simulator"
)

const (
	// flatSlope is the growth of resident memory in the last two thirds of a soak that
	// still is flat, in KiB a minute: 3 MiB in half an hour, where memory that is given
	// back and taken again moves by as much from minute to minute.
	flatSlope = 100
)

// soak is a long load of all kinds of requests, sound ones and others, on one Sluice.
type soak struct {
	binary   string
	duration time.Duration
	rate     float64
	leak     string // what 1 % of requests leak, "" for nothing
	slope    float64

	watch
	client *http.Client
	tasks  sync.WaitGroup
	status map[string]int
}

// Run runs "bench soak".
func Run(ctx context.Context, w io.Writer, args []string) (err error) {
	s := &soak{status: map[string]int{}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}}
	set := flag.NewFlagSet("bench soak", flag.ExitOnError)
	set.StringVar(&s.binary, "sluice", "", "binary to load; built from the tree when empty")
	set.DurationVar(&s.duration, "for", 30*time.Minute, "duration")
	set.Float64Var(&s.rate, "rate", 100, "requests a second")
	set.Float64Var(&s.slope, "slope", flatSlope, "growth of resident memory in the last two thirds that is still flat, in KiB a minute")
	leak := set.Bool("leak", false, "have 1 % of requests leak, which is to be found (builds with the tag leaktest)")
	set.StringVar(&s.leak, "leaking", "goroutine", "what they leak: goroutine, heap or file")
	samples := set.String("samples", "", "file that all samples are written to, as CSV")
	set.Parse(args)
	if !*leak {
		s.leak = ""
	}
	if s.duration < time.Minute || s.rate <= 0 {
		return fmt.Errorf("%v at %v requests a second are no soak", s.duration, s.rate)
	}
	if *samples != "" {
		f, err := os.Create(*samples)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		s.samples = f
	}
	return s.run(ctx, w)
}

func (s *soak) run(ctx context.Context, w io.Writer) error {
	dir, err := os.MkdirTemp("", "sluice-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	model := simulator.New(simulator.Config{})
	addr, err := model.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer model.Close()
	go model.Serve()
	if s.binary == "" {
		var flags []string
		if s.leak != "" {
			flags = append(flags, "-tags=leaktest")
		}
		if s.binary, err = process.Build(ctx, dir, flags...); err != nil {
			return err
		}
	}
	cmd, err := s.start(ctx, dir, addr)
	if err != nil {
		return err
	}
	defer process.Stop(cmd)
	fmt.Fprintf(w, "%v at %.0f requests a second of all kinds, sound and not\n\n", s.duration, s.rate)
	fmt.Fprint(w, heading)
	flows, err := s.load(ctx, w)
	if err != nil {
		return err
	}
	return s.judge(ctx, w, flows)
}

// start starts Sluice with a cache that is full after some minutes.
func (s *soak) start(ctx context.Context, dir string, model net.Addr) (*exec.Cmd, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "server: {port: %s}\nupstreams:\n  - {name: mock, base_url: \"http://%s/v1\"}\ncache: {max_bytes: 16MiB}\n", port, model), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "sluice.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.binary, "serve", "--config", conf)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "SLUICE_LEAKTEST="+s.leak)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.base, s.pid = "http://"+addr, cmd.Process.Pid
	if _, err := process.WaitFor(ctx, s.base+"/readyz"); err != nil {
		process.Stop(cmd)
		return nil, err
	}
	return cmd, nil
}

// load asks and looks until the time is up or, where something leaks, that is found.
func (s *soak) load(ctx context.Context, w io.Writer) (flows []flow, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.tasks.Wait()
	}()
	s.tasks.Go(func() { s.ask(ctx) })
	begun := time.Now()
	for next := begun.Add(sampled); ; next = next.Add(sampled) {
		select {
		case <-ctx.Done():
			return flows, ctx.Err()
		case <-time.After(time.Until(next)):
		}
		f, err := s.look(ctx, time.Since(begun))
		if err != nil {
			return flows, err
		}
		flows = append(flows, f)
		over := f.at >= s.duration || s.leak != "" && f.verdict >= 2
		if f.at%told < sampled || over {
			s.tell(w, f)
		}
		if over {
			return flows, nil
		}
	}
}

// judge says what came of it.
func (s *soak) judge(ctx context.Context, w io.Writer, flows []flow) error {
	fmt.Fprintln(w)
	for _, status := range slices.Sorted(func(yield func(string) bool) {
		for k := range s.status {
			if !yield(k) {
				return
			}
		}
	}) {
		fmt.Fprintf(w, "%d × %s\n", s.status[status], status)
	}
	if err := s.answered(); err != nil {
		return err
	}
	rest := flows[len(flows)/3:]
	slope := slopeOf(rest)
	fmt.Fprintf(w, "resident memory grew by %.1f KiB a minute in the last two thirds\n", slope)
	state, why, err := s.health(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "process/leaks is %s: %s\n", state, cmp.Or(why, "nothing to tell"))
	verdict := verdicts(flows[len(flows)-1].verdict)
	switch {
	case s.leak != "" && verdict != "leak":
		return fmt.Errorf("the leak was not found: the verdict is %s", verdict)
	case s.leak == "file" && !strings.Contains(why, os.DevNull), s.leak != "" && s.leak != "file" && !strings.Contains(why, "leaktest"):
		return errors.New("the leak was found, and not named")
	case s.leak != "":
		fmt.Fprintf(w, "found after %v\n", flows[len(flows)-1].at.Round(time.Second))
	case verdict != "none":
		return fmt.Errorf("the verdict is %s", verdict)
	case slope > s.slope:
		return fmt.Errorf("resident memory is not flat: it grew by %.1f KiB a minute, more than %.1f", slope, s.slope)
	}
	return nil
}

// answered gives an error where sound requests were not: what is refused leaks nothing.
func (s *soak) answered() error {
	for _, k := range kindsOfTraffic() {
		all := 0
		for status, n := range s.status {
			if strings.HasPrefix(status, k.name+": ") && !strings.HasSuffix(status, "left") { // the last ones are given up
				all += n
			}
		}
		if good := s.status[k.name+": 200"]; k.sound && (good == 0 || float64(good) < leastSound*float64(all)) {
			return fmt.Errorf("%d of %d requests were answered of the kind %s", good, all, k.name)
		}
	}
	return nil
}

// leastSound is the part of the sound requests that has to be answered.
const leastSound = 0.95

// traffic is a kind of request.
type traffic struct {
	name   string
	sound  bool // it is to be answered with 200
	share  int  // of a hundred
	path   string
	body   func(n int) string
	leaves time.Duration // after which the client does; 0 for never
	slowly bool          // the body comes bit by bit
}

func chatOf(model, more string) func(int) string {
	return func(n int) string {
		return fmt.Sprintf(`{"model":"mock/%s","messages":[{"role":"user","content":"question %d %s"}]%s}`, model, n, strings.Repeat("word ", n%997), more)
	}
}

// kindsOfTraffic are all, with the faults that upstreams and clients have.
func kindsOfTraffic() []traffic {
	const chat, stream = "/v1/chat/completions", `,"stream":true`
	again := chatOf("sim-chat", "")
	return []traffic{
		{name: "unary", sound: true, share: 36, path: chat, body: chatOf("sim-chat?latency=50ms", "")},
		{name: "asked before", sound: true, share: 16, path: chat, body: func(n int) string { return again(n % 100) }},
		{name: "stream", sound: true, share: 14, path: chat, body: chatOf("sim-chat?tokens=40&pace=10ms", stream)},
		{name: "long stream", sound: true, share: 3, path: chat, body: chatOf("sim-chat?tokens=200&pace=50ms", stream)},
		{name: "embeddings", sound: true, share: 10, path: "/v1/embeddings", body: func(n int) string {
			return fmt.Sprintf(`{"model":"mock/sim-embed","input":["text %d","text %d","text %d"]}`, n, n%50, n%7)
		}},
		{name: "left before the reply", share: 4, path: chat, body: chatOf("sim-chat?latency=2s", ""), leaves: 300 * time.Millisecond},
		{name: "left in a stream", share: 4, path: chat, body: chatOf("sim-chat?tokens=100&pace=50ms", stream), leaves: time.Second},
		{name: "no JSON", share: 2, path: chat, body: func(int) string { return `{"model":` }},
		{name: "no such model", share: 1, path: chat, body: func(n int) string { return fmt.Sprintf(`{"model":"none-%d","messages":[]}`, n%10) }},
		{name: "upstream error", share: 3, path: chat, body: chatOf("sim-chat?status=500", "")},
		{name: "upstream busy", share: 1, path: chat, body: chatOf("sim-chat?status=429", "")},
		{name: "reset", share: 1, path: chat, body: chatOf("sim-chat?reset=1", "")},
		{name: "cut stream", share: 2, path: chat, body: chatOf("sim-chat?tokens=40&cut=5", stream)},
		{name: "hanging stream", share: 1, path: chat, body: chatOf("sim-chat?tokens=40&stall=3", stream), leaves: 20 * time.Second},
		{name: "slow body", sound: true, share: 2, path: chat, body: chatOf("sim-chat", ""), slowly: true},
	}
}

// arrivals comes round for each of the requests that come at random, so many a second
// (Poisson's), until ctx is done.
func arrivals(ctx context.Context, rate float64) func(yield func() bool) {
	return func(yield func() bool) {
		for next := time.Now(); ; {
			next = next.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(next)):
			}
			if !yield() {
				return
			}
		}
	}
}

// ask makes requests that come at random until ctx is done.
func (s *soak) ask(ctx context.Context) {
	var all []traffic
	for _, k := range kindsOfTraffic() {
		for range k.share {
			all = append(all, k)
		}
	}
	for range arrivals(ctx, s.rate) {
		s.mu.Lock()
		s.asked++
		n := s.asked
		s.mu.Unlock()
		k := all[rand.IntN(len(all))]
		s.tasks.Go(func() {
			what := s.once(ctx, k, n)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.status[k.name+": "+what]++
		})
	}
}

// once makes a request and says what became of it.
func (s *soak) once(ctx context.Context, k traffic, n int) string {
	if k.leaves > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.leaves)
		defer cancel()
	}
	text := k.body(n)
	var body io.Reader = strings.NewReader(text)
	if k.slowly {
		body = &slowBody{ctx, bytes.NewReader([]byte(text))}
	}
	req, err := http.NewRequestWithContext(ctx, "POST", s.base+k.path, body)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return s.ending(ctx, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Sprintf("%d, %s", resp.StatusCode, s.ending(ctx, err))
	}
	return strconv.Itoa(resp.StatusCode)
}

func (*soak) ending(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "left"
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return "cut"
	}
	return err.Error()
}

// slowBody gives a few bytes at a time.
type slowBody struct {
	ctx  context.Context
	rest *bytes.Reader
}

func (b *slowBody) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(50 * time.Millisecond):
	}
	return b.rest.Read(p[:min(len(p), 500)])
}
