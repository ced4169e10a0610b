package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sluice/bench/process"
)

// peers is the CPU of the mock, of the load and of this process, where nothing else
// is said; proxied that of the proxies.
const proxied, peers, both = "0", "1", "0,1"

// lab holds the processes of a run and the folder of their files.
type lab struct {
	plan
	dir       string
	self      string // this program
	files     uint64 // that a process may have open
	variants  []variant
	mockAddr  string
	mock      *exec.Cmd
	proxies   []*proxy // nginx is the first
	processes int      // that were started
	requests  int      // seeds that loads may have used
}

// newLab starts a mock. It takes CPU 1 for this process too.
func newLab(ctx context.Context, p *plan) (*lab, error) {
	for _, tool := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is missing: apt-get install wrk util-linux", tool)
		}
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{plan: *p, dir: dir}
	if err := l.prepare(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// labWith is a lab in which the proxies run.
func labWith(ctx context.Context, p *plan, s setup) (*lab, error) {
	l, err := newLab(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := l.serve(ctx, s); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) prepare(ctx context.Context) (err error) {
	if l.files, err = raiseFiles(); err != nil {
		return err
	}
	if len(l.binaries) == 0 {
		binary, err := process.Build(ctx, l.dir)
		if err != nil {
			return err
		}
		l.binaries = []string{binary}
	}
	l.variants = variants(l.binaries, l.engines)
	if err := pin(ctx, os.Getpid(), peers); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l.self = self
	l.mock, l.mockAddr, err = l.startMock(ctx, l.mockAt, 1)
	return err
}

// startMock starts one at an address, or a free one, whose models cost so many times
// what their names say.
func (l *lab) startMock(ctx context.Context, at string, slower int) (cmd *exec.Cmd, addr string, err error) {
	if addr = at; addr == "" {
		if addr, err = process.FreeAddr(); err != nil {
			return nil, "", err
		}
	}
	if cmd, _, err = l.start(peers, "mock", l.self, "mock", l.mockKind, addr, strconv.Itoa(slower)); err != nil {
		return nil, "", err
	}
	_, err = process.WaitFor(ctx, "http://"+addr+"/v1/models")
	return cmd, addr, err
}

// start runs a program on some CPUs. What it prints is added to a file.
func (l *lab) start(cpus, name string, argv ...string) (cmd *exec.Cmd, log string, err error) {
	l.processes++
	log = filepath.Join(l.dir, fmt.Sprintf("%s-%d.log", strings.ReplaceAll(name, " ", "-"), l.processes))
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	cmd = exec.Command("taskset", append([]string{"-c", cpus}, argv...)...)
	cmd.Stdout, cmd.Stderr = file, file
	return cmd, log, cmd.Start()
}

func (l *lab) close() {
	l.stopProxies()
	process.Stop(l.mock)
	os.RemoveAll(l.dir)
}

// pin has a process run on some CPUs only.
func pin(ctx context.Context, pid int, cpus string) error {
	out, err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", cpus, strconv.Itoa(pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pin to CPU %s: %w\n%s", cpus, err, out)
	}
	return nil
}

// served is how many chats the mock was asked for.
func (l *lab) served(ctx context.Context) (float64, error) {
	b, err := process.Page(ctx, "http://"+l.mockAddr+servedPath)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(b), 64)
}
