package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// TestHealth asks a gateway that runs, one that drains, and one that does not run.
func TestHealth(t *testing.T) {
	p := start(t, "--port", "0")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "ready", func() bool {
		code, _, _ := call(t, nil, "", "health", "--ready", "--port", port)
		return code == exitOK
	})
	// From within a container a gateway that listens on all addresses is asked on loopback.
	if code, _, stderr := call(t, nil, "", "health", "--port", port, "--host", "0.0.0.0", "--insecure"); code != exitOK || stderr != "" {
		t.Errorf("code %d: %s", code, stderr)
	}
	p.stream(t)
	p.signal(t, syscall.SIGTERM)
	await(t, p.stderr, "finishing the requests under way")
	testkit.Until(t, "drains", func() bool {
		code, _, stderr := call(t, nil, "", "health", "--ready", "--port", port)
		return code == exitFailure && strings.Contains(stderr, "/readyz: status 503")
	})
	if code, _, stderr := call(t, nil, "", "health", "--port", port); code != exitOK {
		t.Errorf("while it drains: code %d: %s", code, stderr)
	}
	p.signal(t, syscall.SIGTERM)
	p.code(t)
	if code, _, stderr := call(t, nil, "", "health", "--port", port); code != exitFailure || !strings.Contains(stderr, "connection refused") {
		t.Errorf("after its end: code %d: %s", code, stderr)
	}
}

// TestHealthTimeout: a time in which nobody could answer is wrong usage.
func TestHealthTimeout(t *testing.T) {
	for _, long := range []string{"0", "0s", "-1s"} {
		if code, _, stderr := call(t, nil, "", "health", "--timeout", long); code != exitUsage || !strings.Contains(stderr, "is not a time above 0") {
			t.Errorf("%s: code %d: %s", long, code, stderr)
		}
	}
}

// TestNotify stands in for systemd.
func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "n") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{filepath.Join(dir, "s"), "@" + dir} {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		p := launch(t, exec.Command(binary, "serve", "--port", "0"), "HOME=/nonexistent", "NOTIFY_SOCKET="+name)
		states := func() string {
			b := make([]byte, 100)
			n, err := socket.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			return string(b[:n])
		}
		if got := states(); got != "READY=1" {
			t.Errorf("%s: %q", name, got)
		}
		p.signal(t, syscall.SIGTERM)
		if got := states(); got != "STOPPING=1" {
			t.Errorf("%s: %q", name, got)
		}
		if code := p.code(t); code != exitOK {
			t.Errorf("code %d", code)
		}
	}
	p := launch(t, exec.Command(binary, "serve", "--port", "0"), "HOME=/nonexistent", "NOTIFY_SOCKET="+filepath.Join(dir, "nobody"))
	await(t, p.stderr, "sluice: tell .*/nobody of READY=1: ")
	p.signal(t, syscall.SIGTERM)
	if code := p.code(t); code != exitOK {
		t.Errorf("code %d", code)
	}
}
