// Package e2e tests the binary as its users meet it: started as a process,
// spoken to over sockets by clients that were written by others.
package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testkit"
)

var (
	binary string // the sluice that is tested, with the race detector
	built  string // the folder of what tests build
)

func TestMain(m *testing.M) {
	var err error
	if built, err = os.MkdirTemp("", "sluice-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// make test has built it, for all that runs it.
	if binary = os.Getenv("SLUICE_TEST_BINARY"); binary == "" {
		binary = filepath.Join(built, "sluice")
		// Nobody debugs it: without symbols it is linked in less time.
		build := exec.Command("go", "build", "-race", "-tags", "poison", "-ldflags=-s -w", "-o", binary, "../cmd/sluice")
		build.Env = append(os.Environ(), "CGO_ENABLED=1") // which the race detector needs
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build sluice: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	// With the race detector a process waits a second at its end for reports of other threads.
	os.Setenv("GORACE", "atexit_sleep_ms=50")
	code := m.Run()
	os.RemoveAll(built)
	os.Exit(code)
}

// need skips a test whose precondition is missing, but never in CI.
func need(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// instance is a running sluice.
type instance struct {
	url string
	cmd *exec.Cmd
	log *testkit.Buffer
}

var listening = regexp.MustCompile(`listens on (https?://\S+)`)

// start runs `sluice serve` with a config, none when yaml is empty, and waits
// until it listens. The process is told to drain when the test ends, and
// anything but exit code 0 fails the test, a data race included. It has the engine
// SLUICE_TEST_ENGINE, or the default one, unless env says which.
func start(t *testing.T, yaml string, env ...string) *instance {
	t.Helper()
	return startBy(t, []string{binary}, yaml, env...)
}

// startBy is start by a command that ends in the binary.
func startBy(t *testing.T, command []string, yaml string, env ...string) *instance {
	t.Helper()
	args := append(slices.Clone(command[1:]), "serve", "--port", "0")
	if yaml != "" {
		file := filepath.Join(t.TempDir(), "sluice.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", file)
	}
	cmd := exec.Command(command[0], args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GORACE=" + os.Getenv("GORACE")}
	if engine := os.Getenv("SLUICE_TEST_ENGINE"); engine != "" {
		cmd.Env = append(cmd.Env, "SLUICE_ENGINE="+engine)
	}
	cmd.Env = append(cmd.Env, env...)
	in := &instance{cmd: cmd, log: new(testkit.Buffer)}
	cmd.Stderr = in.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.stop(t) })
	found := make(chan string, 1)
	go func() {
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			fmt.Fprintln(in.log, sc.Text())
			if m := listening.FindStringSubmatch(sc.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		io.Copy(in.log, stdout)
	}()
	select {
	case in.url = <-found:
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		t.Fatalf("sluice does not listen:\n%s", in.log)
	}
	return in
}

// stop drains the process, once.
func (in *instance) stop(t *testing.T) {
	t.Helper()
	if in.cmd.ProcessState != nil {
		return
	}
	in.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(60*time.Second, func() { in.cmd.Process.Kill() })
	err := in.cmd.Wait()
	timer.Stop()
	if err != nil {
		t.Errorf("sluice ended with %v:\n%s", err, in.log)
	}
	if strings.Contains(in.log.String(), "DATA RACE") {
		t.Errorf("data race:\n%s", in.log)
	}
}

// serve runs an upstream of the test's own on a loopback port.
func serve(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

// newLines reads lines of up to 16 MiB.
func newLines(r io.Reader) *bufio.Scanner {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	return sc
}
