package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/testkit"
)

func sending(s *Sending) *Call { return &Call{Method: "POST", Target: "/", Sending: s, Trailers: true} }

// answering answers each piece of the body as it comes, the head before all of
// them, and at the body's end with a trailer.
func answering(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	if r.ProtoMajor == 2 {
		_ = rc.Flush()
	}
	b := make([]byte, 64<<10)
	var held []byte
	for {
		n, err := r.Body.Read(b)
		if r.ProtoMajor == 2 {
			_, _ = fmt.Fprintf(w, "<%s>", b[:n])
			_ = rc.Flush()
		} else {
			held = append(held, b[:n]...)
		}
		if err != nil {
			_, _ = w.Write(held)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", map[bool]string{true: "0", false: "13"}[err == io.EOF])
			return
		}
	}
}

// TestSending writes a body message by message. Over HTTP/2 each is answered
// before the next is written, so none waits for another one.
func TestSending(t *testing.T) {
	eachProtocol(t, http.HandlerFunc(answering), nil, func(t *testing.T, c *Client, _ func() int64) {
		s, large := NewSending(), bytes.Repeat([]byte("x"), 300_000)
		if c.cfg.H2C || c.dialer.tls != nil {
			r, err := c.Do(context.Background(), sending(s)) // with no message yet
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for i := range 50 {
				message := fmt.Sprintf("message %d", i)
				if err := s.Send([]byte(message)); err != nil {
					t.Fatal(err)
				}
				if p, err := r.Next(); err != nil || string(p) != "<"+message+">" {
					t.Fatalf("%q %v", p, err)
				}
			}
			sent := make(chan error, 1)
			go func() {
				err := s.Send(large)
				s.Close()
				sent <- err
			}()
			got, err := readAll(r)
			if n := bytes.Count(got, []byte("x")); n != len(large) || err != nil || <-sent != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if text(r.Trailer) != "Grpc-Status: 0" {
				t.Errorf("trailers %q", text(r.Trailer))
			}
			if err := s.Send([]byte("late")); err == nil {
				t.Error("a message after the end is taken")
			}
			return
		}
		go func() {
			for range 3 {
				_ = s.Send([]byte("message "))
			}
			_ = s.Send(nil)
			_ = s.Send(large)
			s.Close()
		}()
		r, got, err := fetch(context.Background(), c, sending(s))
		if err != nil || got != strings.Repeat("message ", 3)+string(large) || text(r.Trailer) != "Grpc-Status: 0" {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if r, got, err := fetch(context.Background(), c, post("next")); err != nil || !strings.HasPrefix(got, "next") || r.Status != 200 {
			t.Errorf("the next call: %q %v", got, err)
		}
	})
}

// TestSendingLeavesAtOnce: over HTTP/1.1 too no message waits for another one,
// nor for the end.
func TestSendingLeavesAtOnce(t *testing.T) {
	pieces := make(chan string, 10)
	url := listen(t, func(_ int, nc net.Conn) {
		b := make([]byte, 64<<10)
		for {
			n, err := nc.Read(b)
			if err != nil {
				return
			}
			pieces <- string(b[:n])
			if strings.HasSuffix(string(b[:n]), "0\r\n\r\n") {
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	})
	c, s := newClient(t, url, nil), NewSending()
	go func() {
		for _, m := range []string{"one", "two"} {
			_ = s.Send([]byte(m))
			if p := <-pieces; !strings.HasSuffix(p, "0003\r\n"+m+"\r\n") {
				t.Errorf("the upstream has %q", p)
			}
		}
		s.Close()
	}()
	if _, got, err := fetch(context.Background(), c, sending(s)); err != nil || got != "ok" {
		t.Errorf("%q %v", got, err)
	}
}

// sender sends until that fails, and tells of it.
func sender(s *Sending) <-chan error {
	failed := make(chan error, 1)
	go func() {
		for {
			if err := s.Send([]byte("message")); err != nil {
				failed <- err
				return
			}
		}
	}()
	return failed
}

// TestSendingEnds: whichever side leaves, nobody is left waiting in Send, the
// upstream hears of it, and the next call is served.
func TestSendingEnds(t *testing.T) {
	came, gone := make(chan struct{}), make(chan error, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refuse":
			http.Error(w, "no", http.StatusForbidden)
		case "/abort":
			b := make([]byte, 3)
			_, _ = io.ReadFull(r.Body, b)
			panic(http.ErrAbortHandler)
		case "/done": // answers in full and lets the rest be
			if r.ProtoMajor == 2 {
				_, _ = io.WriteString(w, "ok")
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
		case "/read":
			if _, err := r.Body.Read(make([]byte, 1)); err == nil {
				came <- struct{}{}
				_, err = io.Copy(io.Discard, r.Body)
				gone <- err
			}
		default:
			answering(w, r)
		}
	}
	fault := errors.New("the client went away")
	eachProtocol(t, h, func(cfg *Config) { cfg.ResponseHeaderTimeout = time.Hour }, func(t *testing.T, c *Client, _ func() int64) {
		isH2 := c.cfg.H2C || c.dialer.tls != nil
		told := func(what string, failed <-chan error) {
			t.Helper()
			select {
			case <-failed:
			case <-time.After(time.Minute):
				t.Fatalf("%s: Send waits for ever", what)
			}
		}
		left := func(what string) {
			t.Helper()
			select {
			case err := <-gone:
				if err == nil {
					t.Errorf("%s: the upstream took the body for complete", what)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s: the upstream was not told", what)
			}
		}
		t.Run("refused", func(t *testing.T) {
			s := NewSending()
			failed, call := sender(s), sending(s)
			call.Target = "/refuse"
			if r, body, err := fetch(context.Background(), c, call); err != nil || r.Status != 403 || body != "no\n" {
				t.Errorf("%q %v", body, err)
			}
			told("refused", failed)
		})
		t.Run("cut", func(t *testing.T) {
			s := NewSending()
			failed, call := sender(s), sending(s)
			call.Target = "/abort"
			_, _, err := fetch(context.Background(), c, call)
			wantError(t, err, 502, "upstream_cut", false)
			told("cut", failed)
		})
		t.Run("done", func(t *testing.T) {
			if !isH2 {
				return // there the body ends before the reply
			}
			s := NewSending()
			call := sending(s)
			call.Target = "/done"
			if _, body, err := fetch(context.Background(), c, call); err != nil || body != "ok" {
				t.Errorf("%q %v", body, err)
			}
			told("done", sender(s))
		})
		t.Run("failed", func(t *testing.T) {
			s := NewSending()
			call := sending(s)
			call.Target = "/read"
			go func() {
				_ = s.Send([]byte("some"))
				<-came
				s.Fail(fault)
			}()
			if _, _, err := fetch(context.Background(), c, call); !errors.Is(err, fault) {
				t.Errorf("%v", err)
			}
			left("failed")
			told("failed", sender(s))
		})
		// The caller leaves: amid the body, and with nothing sent at all.
		for _, messages := range []int{0, 1} {
			t.Run(fmt.Sprint("cancelled after ", messages), func(t *testing.T) {
				s := NewSending()
				call := sending(s)
				call.Target = "/read"
				ctx, cancel := context.WithCancelCause(context.Background())
				go func() {
					for range messages {
						_ = s.Send([]byte("message"))
						<-came
					}
					cancel(fault)
				}()
				if _, _, err := fetch(ctx, c, call); !errors.Is(err, fault) {
					t.Errorf("%v", err)
				}
				told("cancelled", sender(s))
				if messages > 0 {
					left("cancelled")
				}
			})
		}
		t.Run("closed", func(t *testing.T) {
			if !isH2 {
				return
			}
			s := NewSending()
			r, err := c.Do(context.Background(), sending(s))
			if err != nil {
				t.Fatal(err)
			}
			failed := sender(s)
			if _, err := r.Next(); err != nil {
				t.Error(err)
			}
			r.Close()
			told("closed", failed)
		})
		t.Run("no connection", func(t *testing.T) {
			s := NewSending()
			failed := sender(s)
			if _, err := c.Do(cancelled(), sending(s)); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			told("no connection", failed)
		})
		testkit.Until(t, "nothing in use", func() bool { p := c.pool.snapshot(); return p.open == p.idle })
		if _, got, err := fetch(context.Background(), c, post("next")); err != nil || !strings.Contains(got, "next") {
			t.Errorf("the next call: %q %v", got, err)
		}
	})
}

// TestSendingToSilence: an upstream that takes all messages and says nothing
// has its time from the last one on, and no more.
func TestSendingToSilence(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	short := func(cfg *Config) {
		cfg.ResponseHeaderTimeout, cfg.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
	}
	eachProtocol(t, http.HandlerFunc(h), short, func(t *testing.T, c *Client, _ func() int64) {
		for _, target := range []string{"/", "/body"} {
			if target == "/body" && c.dialer.tls == nil && !c.cfg.H2C {
				continue // net/http would refuse to read on
			}
			s := NewSending()
			call := sending(s)
			call.Target = target
			go func() {
				_ = s.Send([]byte("message"))
				s.Close()
			}()
			_, _, err := fetch(context.Background(), c, call)
			wantError(t, err, 504, "upstream_timeout", false)
		}
	})
}

// TestWaitForStream: a wait begins anew with each piece that leaves, and a piece
// that leaves while nobody waits begins none.
func TestWaitForStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		b := &h2Body{cancel: cancel}
		b.await(time.Minute)
		for range 3 {
			time.Sleep(50 * time.Second)
			b.moved()
		}
		b.rest()
		time.Sleep(time.Hour)
		b.moved()
		time.Sleep(time.Hour)
		b.await(time.Second)
		time.Sleep(900 * time.Millisecond)
		b.moved()
		time.Sleep(900 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("ended although the upstream had its time yet")
		}
		time.Sleep(200 * time.Millisecond)
		if !errors.Is(context.Cause(ctx), errStalled) {
			t.Errorf("%v", context.Cause(ctx))
		}
	})
}

// TestSendingIsSentOnce: a call may be sent again as long as nothing of its body
// was taken, and never after that, whatever the upstream says of it.
func TestSendingIsSentOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		early bool // the call is refused before its first message
		want  string
	}{"before the first message": {true, "1"}, "after it": {false, ""}} {
		t.Run(name, func(t *testing.T) {
			refused, calls := make(chan struct{}), make(chan int, 10)
			url := listenH2(t, nil, func(n int, p *peer) {
				if n == 0 { // makes the connection a used one
					s, err := p.request()
					if err != nil {
						return
					}
					p.reply(s, "200", "first", true)
				}
				for {
					f, err := p.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.SettingsFrame:
						if !f.IsAck() {
							_ = p.WriteSettingsAck()
						}
					case *http2.PingFrame:
						_ = p.WritePing(true, f.Data)
					case *http2.HeadersFrame:
						calls <- n
						if n == 0 && tt.early {
							_ = p.WriteGoAway(1, http2.ErrCodeNo, nil)
							close(refused)
						}
					case *http2.DataFrame:
						if n == 0 {
							_ = p.WriteGoAway(1, http2.ErrCodeNo, nil)
						} else if f.StreamEnded() {
							p.reply(f.StreamID, "200", fmt.Sprint(n), true)
						}
					}
				}
			})
			c := newH2Client(t, url, nil)
			if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
				t.Fatal(err)
			}
			s := NewSending()
			go func() {
				if tt.early {
					<-refused
					if n := <-calls; n != 0 {
						t.Errorf("sent on connection %d", n)
					}
					if n := <-calls; n != 1 { // the message is for the second
						t.Errorf("sent again on connection %d", n)
					}
				}
				if s.Send([]byte("once")) == nil {
					s.Close()
				}
			}()
			_, got, err := fetch(context.Background(), c, sending(s))
			if tt.early {
				if err != nil || got != tt.want {
					t.Errorf("%q %v", got, err)
				}
				return
			}
			wantError(t, err, 502, "upstream_refused", true) // so that routing may
			if n := len(calls); n != 1 {
				t.Errorf("it was sent %d times", n)
			}
		})
	}
}
