// Package process starts, finds and watches the servers under test.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// APIKey is the key of all requests.
const APIKey = "bench-key"

// CPUTime is the user and system time of a process and its children that
// still run (nginx's worker). The kernel counts in ticks of 10 ms.
func CPUTime(pid int) (time.Duration, error) {
	var ticks int64
	for _, p := range Family(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			return 0, err
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		user, _ := strconv.ParseInt(f[11], 10, 64)
		sys, _ := strconv.ParseInt(f[12], 10, 64)
		ticks += user + sys
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// ResidentMiB is the resident size of a process and its children. One that has ended has
// none, which is an error, also while it waits for its parent.
func ResidentMiB(pid int) (mib float64, err error) {
	for _, p := range Family(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err == nil {
			var n float64
			n, err = resident(b)
			mib += n
		}
		if err != nil && p == pid { // a child may end at any time
			return 0, fmt.Errorf("resident memory of process %d: %w", pid, err)
		}
	}
	return mib, nil
}

// resident is how many MiB of a process are, by /proc/PID/status (proc(5)).
func resident(status []byte) (float64, error) {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			var kib float64
			_, err := fmt.Sscan(string(rest), &kib)
			return kib / 1024, err
		}
	}
	return 0, errors.New("it has ended")
}

// Family are a process and those that it started, and they, which still run.
func Family(pid int) []int {
	pids := []int{pid}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // any thread may have started one
	for _, file := range threads {
		b, _ := os.ReadFile(file)
		for f := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				pids = append(pids, Family(child)...)
			}
		}
	}
	return pids
}

// CPUTimes are those of several processes.
func CPUTimes(pids ...int) (all []time.Duration, err error) {
	for _, pid := range pids {
		t, err := CPUTime(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// FreeAddr is a loopback address that nothing listens on.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// WaitFor asks url until something answers 200 and returns when it did.
func WaitFor(ctx context.Context, url string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return time.Now(), err
		}
		req.Header.Set("Authorization", "Bearer "+APIKey)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Now(), nil
			}
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return time.Now(), fmt.Errorf("no answer from %s: %w", url, err)
		}
	}
}

// Page reads what a server under test, or the mock, tells of itself.
func Page(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+APIKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	return b, err
}

// Stop interrupts a process, and kills it when it is there after five seconds.
func Stop(cmd *exec.Cmd) {
	if cmd == nil || cmd.Process == nil {
		return
	}
	cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		cmd.Process.Kill()
		<-done
	}
}

// Build builds Sluice from the tree above, as a file of a folder: with the flags of
// "go build" that are given, and as "make build" does where there are none.
func Build(ctx context.Context, dir string, flags ...string) (binary string, err error) {
	binary = filepath.Join(dir, "sluice"+strings.Join(flags, ""))
	env := os.Environ()
	if len(flags) == 0 {
		flags, env = []string{"-ldflags", "-s -w"}, append(env, "CGO_ENABLED=0")
	}
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-trimpath", "-o", binary}, flags...), "./cmd/sluice")...)
	build.Dir, build.Env = "..", env
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return binary, nil
}
