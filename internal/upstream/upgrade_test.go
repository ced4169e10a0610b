package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// switches is a server that goes over to the protocol "raw", in which it says
// hello and echoes, until its client ends; then it says bye.
func switches(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || r.Header.Get("Upgrade") != "raw" || r.Header.Get("Connection") != "Upgrade" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: RAW\r\nX-A: b\r\n\r\nhello ")
	_, _ = io.Copy(nc, rw.Reader)
	_, _ = io.WriteString(nc, "bye")
}

func upgrading() *Call { return &Call{Method: "GET", Target: "/v1/x", Upgrade: "raw"} }

func TestUpgrade(t *testing.T) {
	for name, change := range map[string]func(*httptest.Server){"plain": nil, "TLS": withTLS, "TLS with HTTP/2": withH2} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(switches))
			if change != nil {
				change(srv)
				srv.StartTLS()
			} else {
				srv.Start()
			}
			t.Cleanup(srv.Close)
			c := newClient(t, srv.URL, func(_ *Config, o *Options) {
				if change != nil {
					o.RootCAs = roots(srv)
				}
			})
			large := strings.Repeat("0123456789", 200_000)
			for range 2 { // each on a connection of its own
				r, err := c.Do(context.Background(), upgrading())
				if err != nil {
					t.Fatal(err)
				}
				if !r.Switched() || r.Get("X-A") != "b" {
					t.Fatalf("%+v", r)
				}
				go r.Pour(io.MultiReader(strings.NewReader("one "), strings.NewReader(large)))
				got, err := readAll(r)
				if err != nil || string(got) != "hello one "+large+"bye" {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				r.Close()
			}
			if p := c.pool.snapshot(); p.open != 0 || c.stats.ownOpen.Load() != 0 || c.stats.createdH1.Load() != 2 {
				t.Errorf("%+v, %d of its own", p, c.stats.ownOpen.Load())
			}
		})
	}
}

// A dead, a deaf and a refusing upstream, and a caller who leaves.
func TestUpgradeFails(t *testing.T) {
	heard := make(chan struct{})
	defer close(heard)
	url := listen(t, func(_ int, nc net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		say := func(s string) { _, _ = io.WriteString(nc, s) }
		const ok = "HTTP/1.1 101 x\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\n"
		switch req.URL.Path {
		case "/other":
			say("HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")
		case "/unnamed":
			say("HTTP/1.1 101 x\r\n\r\n")
		case "/body":
			say("HTTP/1.1 101 x\r\nUpgrade: raw\r\nContent-Length: 3\r\n\r\nabc")
		case "/refuses":
			say("HTTP/1.1 403 x\r\nContent-Length: 2\r\n\r\nno")
		case "/resets":
			say(ok + "a")
			_ = nc.(*net.TCPConn).SetLinger(0)
		case "/deaf":
			say(ok)
			<-heard
		default:
			say(ok)
			_, _ = io.Copy(io.Discard, nc)
		}
	})
	c := newClient(t, url, nil)
	for path, code := range map[string]string{"/other": "upstream_bad_reply", "/unnamed": "upstream_bad_reply", "/body": "upstream_bad_reply"} {
		call := upgrading()
		call.Target = path
		_, err := c.Do(context.Background(), call)
		wantError(t, err, 502, code, false)
	}
	call := upgrading()
	call.Target = "/refuses"
	if r, body, err := fetch(context.Background(), c, call); err != nil || r.Status != 403 || body != "no" || r.Switched() {
		t.Errorf("%+v %q %v", r, body, err)
	}
	for _, path := range []string{"/resets", "/deaf"} {
		call.Target = path
		r, err := c.Do(context.Background(), call)
		if err != nil {
			t.Fatal(err)
		}
		if path == "/deaf" { // the kernel tells of a reset once, a Write as well as a Read
			r.SetIdleTimeout(50 * time.Millisecond)
			go r.Pour(endless{})
		}
		if _, err := readAll(r); err == nil {
			t.Errorf("%s: a sound end", path)
		}
		r.Close()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	call.Target = "/"
	r, err := c.Do(ctx, call)
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	cancel(gone)
	if _, err := r.Next(); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	r.Close()
	if n := c.stats.ownOpen.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// endless gives bytes without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestUpgradeOverH2C(t *testing.T) {
	c := newH2Client(t, "http://127.0.0.1:1", nil)
	_, err := c.Do(context.Background(), upgrading())
	wantError(t, err, 501, "upgrade_not_supported", false)
}
