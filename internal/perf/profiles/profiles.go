// Package profiles answers requests for what the Go runtime tells of the process: where
// its memory, goroutines, locks and CPU time are. `go tool pprof` and `go tool trace` read
// the replies, which have names of functions and no data of requests. The command line,
// which may hold keys, is not among them.
package profiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/internal/llm"
)

// Path begins the paths of all profiles; the name follows after a slash.
const Path = "/debug/pprof"

const (
	// maxSeconds and maxTrace are how long a profile, or a trace, may go on.
	maxSeconds, maxTrace = 60, 10
	// maxBytes bounds one: a trace of a busy process grows by megabytes a second.
	maxBytes = 64 << 20
	// blockRate is how many nanoseconds goroutines wait for each sample, mutexFraction
	// how many times they do, while block or mutex is being taken.
	blockRate, mutexFraction = 10_000, 100
)

const (
	binary = "application/octet-stream"
	text   = "text/plain; charset=utf-8"
)

// Profiles answers GET Path and GET Path/NAME. The zero value is ready for use.
type Profiles struct {
	// taking is held while what goes on for seconds is taken: one at a time.
	taking sync.Mutex
}

// Serve implements llm.Handler.
func (p *Profiles) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	name := strings.TrimPrefix(strings.TrimPrefix(req.Path, Path), "/")
	q, err := parse(name, req.RawQuery)
	if err != nil {
		return err
	}
	if req.Method == "HEAD" {
		return llm.SendWhole(out, q.mime(), nil)
	}
	b := &bounded{}
	if err := p.write(ctx, b, q); err != nil {
		return err
	}
	if b.full {
		return llm.Errorf(503, "profile_too_large", "The profile is larger than %d MiB. Ask for fewer seconds.", maxBytes>>20)
	}
	return llm.SendWhole(out, q.mime(), b.Bytes())
}

// query is what was asked for.
type query struct {
	name    string
	seconds int  // of profile, trace, block and mutex
	debug   int  // of the others: 0 for the binary form
	gc      bool // of heap: collect garbage first
}

func (q *query) mime() string {
	if q.name == "" || q.debug > 0 {
		return text
	}
	return binary
}

// most is how many seconds a profile may go on, 0 where it is taken at once, and usual
// how many where nothing is said.
func most(name string) (most, usual int) {
	switch name {
	case "profile":
		return maxSeconds, 30
	case "block", "mutex":
		return maxSeconds, 5
	case "trace":
		return maxTrace, 1
	}
	return 0, 0
}

func parse(name, raw string) (*query, error) {
	q := &query{name: name}
	longest, usual := most(name)
	q.seconds = usual
	if name != "" && name != "profile" && name != "trace" && pprof.Lookup(name) == nil {
		return nil, llm.Errorf(404, "no_such_profile", "There is no profile of that name. GET %s lists them.", Path)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, llm.Errorf(400, "invalid_query", "The query cannot be read: %v.", err)
	}
	for key, list := range values {
		n, err := strconv.Atoi(list[0])
		wrong := err != nil || len(list) > 1
		switch {
		case key == "seconds" && longest > 0 && !wrong && n >= 1 && n <= longest:
			q.seconds = n
		case key == "debug" && longest == 0 && name != "" && !wrong && n >= 0 && n <= 2:
			q.debug = n
		case key == "gc" && name == "heap" && !wrong && n >= 0 && n <= 1:
			q.gc = n == 1
		case key == "seconds" && longest > 0:
			return nil, llm.Errorf(400, "invalid_query", "seconds is a number from 1 to %d.", longest)
		default:
			return nil, llm.Errorf(400, "invalid_query", "It takes no such %q: seconds for profile, trace, block and mutex, debug=1 or 2 for the others, gc=1 for heap.", key)
		}
	}
	return q, nil
}

func (p *Profiles) write(ctx context.Context, b *bounded, q *query) error {
	switch {
	case q.name == "":
		index(b)
		return nil
	case q.seconds > 0:
		return p.take(ctx, b, q)
	}
	if q.gc {
		runtime.GC()
	}
	if err := pprof.Lookup(q.name).WriteTo(b, q.debug); err != nil && !b.full {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

// take takes what goes on for some time. It ends early where ctx does.
func (p *Profiles) take(ctx context.Context, b *bounded, q *query) error {
	if !p.taking.TryLock() {
		return llm.Errorf(409, "profile_running", "Another profile is being taken. Try again when it has ended.")
	}
	defer p.taking.Unlock()
	stop, err := start(b, q.name)
	if err != nil {
		return fmt.Errorf("start profile: %w", err)
	}
	timer := time.NewTimer(time.Duration(q.seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	err = stop()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !b.full:
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

// start begins what stop ends.
func start(b *bounded, name string) (stop func() error, err error) {
	lookup := func() error { return pprof.Lookup(name).WriteTo(b, 0) }
	switch name {
	case "profile":
		return func() error { pprof.StopCPUProfile(); return nil }, pprof.StartCPUProfile(b)
	case "trace":
		return func() error { trace.Stop(); return nil }, trace.Start(b)
	case "block":
		runtime.SetBlockProfileRate(blockRate)
		return func() error { runtime.SetBlockProfileRate(0); return lookup() }, nil
	default:
		runtime.SetMutexProfileFraction(mutexFraction)
		return func() error { runtime.SetMutexProfileFraction(0); return lookup() }, nil
	}
}

// index lists the profiles.
func index(b *bounded) {
	_, _ = fmt.Fprintf(b, "profiles of the process, for go tool pprof:\n\n")
	for _, p := range pprof.Profiles() {
		if longest, usual := most(p.Name()); longest > 0 {
			_, _ = fmt.Fprintf(b, "%s/%s?seconds=%d\tof the times that they were asked for\n", Path, p.Name(), usual)
			continue
		}
		_, _ = fmt.Fprintf(b, "%s/%s\t%d (?debug=1 as text)\n", Path, p.Name(), p.Count())
	}
	_, _ = fmt.Fprintf(b, "%s/profile?seconds=30\tCPU time, up to %d s\n%s/trace?seconds=1\tfor go tool trace, up to %d s\n", Path, maxSeconds, Path, maxTrace)
}

// errFull ends a profile that is too large.
var errFull = errors.New("the profile is too large")

// bounded is a buffer that takes no more than maxBytes.
type bounded struct {
	bytes.Buffer
	full bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.full || b.Len()+len(p) > maxBytes {
		b.full = true
		b.Reset()
		return 0, errFull
	}
	return b.Buffer.Write(p)
}
