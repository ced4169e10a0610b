package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// startTime is how long a child may take until it listens.
const startTime = 30 * time.Second

// child is a process of a run: this binary, started again. It ends when its standard
// input does, so that none outlives this process however that ends.
type child struct {
	name  string
	addr  string // host:port
	proc  *os.Process
	stdin *os.File
	log   string        // file of its standard error
	ended chan struct{} // closed when it has
}

// start starts a child and waits until it listens.
func (r *run) start(ctx context.Context, name string, env []string, args ...string) (*child, error) {
	r.started++
	c := &child{name: name, ended: make(chan struct{}), log: filepath.Join(r.dir, fmt.Sprintf("%d.log", r.started))}
	stdout, err := c.launch(r, env, args)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	listens := make(chan string, 1)
	go func() {
		defer close(c.ended)
		defer func() { _ = stdout.Close() }()
		for s := bufio.NewScanner(stdout); s.Scan(); {
			if _, url, ok := strings.Cut(s.Text(), "listens on http://"); ok {
				listens <- url
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		_, _ = c.proc.Wait() // its end of the pipe is closed
	}()
	select {
	case c.addr = <-listens:
		return c, nil
	case <-c.ended:
		err = fmt.Errorf("start %s: it ended%s", name, c.last())
	case <-time.After(startTime):
		err = fmt.Errorf("start %s: it did not listen within %v%s", name, startTime, c.last())
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.stop()
	return nil, err
}

// launch starts the process, and gives its standard output. It goes without os/exec,
// which would be 35 kB more in the binary.
func (c *child) launch(r *run, env, args []string) (stdout *os.File, err error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	stdout, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	defer func() { _ = out.Close() }()
	c.stdin = stdin
	c.proc, err = os.StartProcess(r.Executable, slices.Concat([]string{r.Executable, ChildCommand}, args), &os.ProcAttr{
		Dir: r.dir, Env: slices.Concat(r.env, env), Files: []*os.File{in, out, log},
	})
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), stdout.Close())
	}
	return stdout, nil
}

// stop ends a child, which holds nothing that is worth an orderly end, and waits for it.
func (c *child) stop() {
	_ = c.proc.Kill()
	<-c.ended
	_ = c.stdin.Close()
}

// alive gives an error where the child has ended.
func (c *child) alive() error {
	select {
	case <-c.ended:
		return fmt.Errorf("%s ended%s", c.name, c.last())
	default:
		return nil
	}
}

// last is the end of what the child wrote to its log.
func (c *child) last() string {
	const most = 2000
	b, err := os.ReadFile(c.log)
	if err != nil || len(b) == 0 {
		return ""
	}
	b = b[max(0, len(b)-most):]
	return ": " + strings.Join(strings.Fields(string(b)), " ")
}

func (c *child) pid() int { return c.proc.Pid }

// logged is how much the child has written to its log.
func (c *child) logged() (int64, error) {
	info, err := os.Stat(c.log)
	if err != nil {
		return 0, fmt.Errorf("read log of %s: %w", c.name, err)
	}
	return info.Size(), nil
}

// loggedSince is what it has written since.
func (c *child) loggedSince(at int64) ([]byte, error) {
	f, err := os.Open(c.log)
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", c.name, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.NewSectionReader(f, at, 1<<30))
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", c.name, err)
	}
	return b, nil
}

// childEnv is what children have of the environment: all but what would configure them.
func childEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "GOGC", "GOMEMLIMIT", "GODEBUG":
			return true
		}
		return strings.HasPrefix(name, "SLUICE_") || strings.HasPrefix(name, "OTEL_") ||
			strings.HasSuffix(name, "_API_KEY") || strings.HasSuffix(name, "_BASE_URL")
	})
}

// pauses are how long each collection of garbage stopped a program, in seconds, by what
// its runtime wrote with GODEBUG=gctrace=1: "gc 7 @1.2s 3%: 0.05+1.1+0.01 ms clock, …",
// of which the first and the third are times in which nothing else runs
// (https://pkg.go.dev/runtime#hdr-Environment_Variables).
func pauses(log []byte) (all []float64) {
	for line := range bytes.Lines(log) {
		if !bytes.HasPrefix(line, []byte("gc ")) {
			continue
		}
		_, rest, _ := bytes.Cut(line, []byte("%: "))
		clock, _, ok := bytes.Cut(rest, []byte(" ms clock"))
		if parts := strings.Split(string(clock), "+"); ok && len(parts) == 3 {
			var first, last float64
			if _, err := fmt.Sscan(parts[0]+" "+parts[2], &first, &last); err == nil {
				all = append(all, (first+last)/1000)
			}
		}
	}
	return all
}

// UntilEOF gives a context that ends when r does: a child's standard input, which ends
// with the process that started it.
func UntilEOF(ctx context.Context, r io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel(errEnded)
	}()
	return ctx, func() { cancel(context.Canceled) }
}

var errEnded = errors.New("the process that started this one has ended")
