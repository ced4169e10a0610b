package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"sluice/internal/llm"
)

func dialError(errno syscall.Errno, to string) error {
	addr, _ := net.ResolveTCPAddr("tcp", to)
	return &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", errno)}
}

// TestShortage: what the gateway itself lacks is no fault of the upstream's, by
// whichever way the connection was to be made.
func TestShortage(t *testing.T) {
	for _, c := range []struct {
		err  error
		lack syscall.Errno // 0: it is the upstream's fault
	}{
		{dialError(syscall.EMFILE, "127.0.0.1:1"), syscall.EMFILE},
		{dialError(syscall.ENFILE, "127.0.0.1:1"), syscall.ENFILE},
		{dialError(syscall.ENOMEM, "127.0.0.1:1"), syscall.ENOMEM},
		{dialError(syscall.ENOBUFS, "127.0.0.1:1"), syscall.ENOBUFS},
		{dialError(syscall.EADDRNOTAVAIL, "127.0.0.1:1"), syscall.EADDRNOTAVAIL},
		{fmt.Errorf("connect to proxy: %w", dialError(syscall.EMFILE, "127.0.0.1:1")), syscall.EMFILE},
		{fmt.Errorf("TLS handshake: %w", os.NewSyscallError("read", syscall.ENOBUFS)), syscall.ENOBUFS},
		{fmt.Errorf("connect through SOCKS proxy: %w", &net.OpError{Op: "socks", Err: dialError(syscall.EMFILE, "127.0.0.1:1")}), syscall.EMFILE},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "dial udp 127.0.0.1:53: socket: too many open files", Name: "x"}}, syscall.EMFILE},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "too many open files", Name: "x"}}, syscall.EMFILE},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}}, 0},
		{dialError(syscall.ECONNREFUSED, "127.0.0.1:1"), 0},
		{dialError(syscall.ENETUNREACH, "127.0.0.1:1"), 0},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, 0},
		{errors.New("too many open files"), 0}, // who knows whose
	} {
		client := newClient(t, "http://127.0.0.1:1", nil)
		e, ok := errors.AsType[*llm.Error](client.dialFailure(c.err))
		if !ok || !e.Unprocessed || !errors.Is(e, c.err) {
			t.Fatalf("%v: got %+v", c.err, e)
		}
		s := client.Shortage()
		if c.lack == 0 {
			if e.Code == "gateway_overloaded" || e.Upstream == "" || s != nil || client.stats.dialFailures.Load() != 1 {
				t.Errorf("%v: got %+v", c.err, e)
			}
			continue
		}
		if e.Status != 503 || e.Code != "gateway_overloaded" || e.Type != llm.TypeServer || e.Upstream != "" || e.RetryAfter == 0 || strings.Contains(e.Message, "upstream") {
			t.Errorf("%v: got %+v", c.err, e)
		}
		if s == nil || s.Lack != c.lack.Error() || s.Advice == "" || client.stats.dialFailures.Load() != 0 || client.stats.shortages.Load() != 1 {
			t.Errorf("%v: shortage %+v", c.err, s)
		}
	}
}

// TestShortageOfDescriptors takes all descriptors that there are, and gives them
// back.
func TestShortageOfDescriptors(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer up.Close()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Skip(err)
	}
	client := newClient(t, up.URL, nil)
	low := was
	low.Cur = 1 // those that are open stay
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Skip(err)
	}
	_, err := client.Do(t.Context(), &Call{Method: "GET", Target: "/"})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != "gateway_overloaded" {
		t.Errorf("got %v", err)
	}
	r, err := client.Do(t.Context(), &Call{Method: "GET", Target: "/"})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}
