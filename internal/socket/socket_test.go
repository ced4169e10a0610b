//go:build linux

package socket

import (
	"bytes"
	"syscall"
	"testing"

	"sluice/internal/testkit"
)

// pair gives two sockets that do not block, connected to each other.
func pair(t testing.TB) (a, b uintptr) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = syscall.Close(fds[0]), syscall.Close(fds[1]) })
	return uintptr(fds[0]), uintptr(fds[1])
}

func TestReadAndWrite(t *testing.T) {
	testkit.Simulation(t) // with the race detector it is package syscall's calls
	a, b := pair(t)
	got := make([]byte, 2*most)
	if n, err := Read(b, got); n != 0 || err != syscall.EAGAIN {
		t.Errorf("read of nothing: %d, %v", n, err)
	}
	if n, err := Write(a, nil); n != 0 || err != nil {
		t.Errorf("write of nothing: %d, %v", n, err)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 2*most/16)
	n, err := Write(a, sent)
	if n != most || err != nil {
		t.Fatalf("write: %d, %v; want %d at most at once", n, err, most)
	}
	have := 0
	for have < n {
		m, err := Read(b, got[have:])
		if m == 0 || err != nil {
			t.Fatalf("read of %d: %d, %v", n-have, m, err)
		}
		have += m
	}
	if !bytes.Equal(got[:n], sent[:n]) {
		t.Error("it is not what was written")
	}
	for err = nil; err == nil; {
		_, err = Write(a, sent)
	}
	if err != syscall.EAGAIN {
		t.Errorf("write to a full socket: %v", err)
	}
}

func TestEnds(t *testing.T) {
	testkit.Simulation(t)
	a, b := pair(t)
	if err := syscall.Shutdown(int(b), syscall.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if n, err := Read(a, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if n, err := Write(a, []byte("x")); n != 0 || err != syscall.EPIPE {
		t.Errorf("write after the end: %d, %v", n, err)
	}
	if n, err := Read(^uintptr(0), nil); n != 0 || err != syscall.EBADF {
		t.Errorf("read of no socket: %d, %v", n, err)
	}
}

func TestAllocations(t *testing.T) {
	a, b := pair(t)
	p := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Write(a, p); err != nil {
			t.Fatal(err)
		}
		_, _ = Read(b, p)
		_, _ = Read(b, p) // nothing
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReadOfNothing(b *testing.B) {
	_, fd := pair(b)
	p := make([]byte, 16<<10)
	for b.Loop() {
		_, _ = Read(fd, p)
	}
}
