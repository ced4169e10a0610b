package alarm

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

func TestDelivery(t *testing.T) {
	for _, c := range []struct {
		name   string
		reply  func(n int, w http.ResponseWriter)
		tries  int
		counts [4]uint64
		log    string
	}{
		{"taken", func(int, http.ResponseWriter) {}, 1, [4]uint64{1}, ""},
		{"500 twice", func(n int, w http.ResponseWriter) {
			if n < 3 {
				w.WriteHeader(500)
			}
		}, 3, [4]uint64{1}, ""},
		{"refused", func(_ int, w http.ResponseWriter) {
			w.WriteHeader(403)
			io.WriteString(w, "invalid_token\n")
		}, 1, [4]uint64{0, 1}, `error="status 403: \"invalid_token\\n\"" alarms=[slow]`},
		{"redirect", func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
		}, 1, [4]uint64{0, 1}, "redirects are not followed"},
		{"huge reply", func(_ int, w http.ResponseWriter) {
			w.WriteHeader(400)
			for range 1000 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, 1, [4]uint64{0, 1}, "status 400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, c.reply)
			bubble(t, func(t *testing.T) {
				h := newHooked(r.URL+"/T/hidden", nil)
				stop := h.running(t)
				h.put(sample("slow", "raised"))
				time.Sleep(patience)
				stop()
				if r.count() != c.tries || h.counts() != c.counts {
					t.Errorf("%d tries, counts %v", r.count(), h.counts())
				}
				if log := h.log.String(); !strings.Contains(log, c.log) || c.log == "" && log != "" || strings.Contains(log, "hidden") {
					t.Errorf("log:\n%s", log)
				}
				if len(h.log.String()) > 2000 {
					t.Error("the log has the reply")
				}
			})
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.Header().Set("Retry-After", "77")
			w.WriteHeader(429)
		}
	})
	bubble(t, func(t *testing.T) {
		h := newHooked(r.URL, nil)
		stop := h.running(t)
		h.put(sample("slow", "raised"))
		time.Sleep(3 * time.Minute)
		stop()
		if h.counts() != [4]uint64{1} {
			t.Fatalf("counts %v", h.counts())
		}
		if got := r.at[1].Sub(r.at[0]); got != 77*time.Second {
			t.Errorf("tried again after %v", got)
		}
	})
}

// TestDeadServer checks that messages for a server that is not there are given up
// after a bounded number of tries, and that later ones are then tried.
func TestDeadServer(t *testing.T) {
	address := testkit.Vacant(t)
	url := "http://" + address + "/T/hidden"
	bubble(t, func(t *testing.T) {
		h := newHooked(url, nil)
		stop := h.running(t)
		h.put(sample("slow", "raised"))
		time.Sleep(time.Minute)
		var c perf.Condition
		h.examine(func(x perf.Condition) { c = x })
		if c.State != perf.Degraded || !strings.Contains(c.Error, "connection refused") || c.Component != "webhook/"+address {
			t.Errorf("health is %+v", c)
		}
		time.Sleep(patience)
		stop()
		if h.counts() != [4]uint64{0, 1} || strings.Count(h.log.String(), "webhook failed") != 1 || strings.Contains(h.log.String(), "hidden") {
			t.Errorf("counts %v, log:\n%s", h.counts(), h.log)
		}
		if n := h.seconds.Distribution().Count; n < 5 || n > 15 {
			t.Errorf("%d tries", n)
		}
	})
}

// TestSilentServer has a server that accepts and says nothing: each try ends, and
// the end of Run waits for none.
func TestSilentServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHooked("http://server.example/", nil)
		var dials atomic.Int32
		h.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}
		stop := h.running(t)
		h.put(sample("slow", "raised"))
		time.Sleep(postTimeout + 5*time.Second)
		if n := dials.Load(); n != 2 {
			t.Errorf("%d tries", n)
		}
		h.put(sample("other", "raised"))
		before := time.Now()
		stop()
		if time.Since(before) != 0 || h.counts() != [4]uint64{0, 0, 2} {
			t.Errorf("stopped after %v with counts %v", time.Since(before), h.counts())
		}
	})
}

// TestWrongCertificate has a server whose certificate nobody trusts.
func TestWrongCertificate(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it got the message") }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()
	h := newHooked(srv.URL+"/T/hidden", nil)
	err := h.post(t.Context(), []event{sample("slow", "raised")})
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}

func TestHeaders(t *testing.T) {
	r := newReceiver(t, func(int, http.ResponseWriter) {})
	h := newHooked(r.URL, func(w *Webhook) { w.Headers = map[string]string{"authorization": "Bearer x"} })
	if err := h.post(t.Context(), []event{sample("slow", "raised")}); err != nil {
		t.Fatal(err)
	}
	got := r.heads[0]
	if got.Get("Content-Type") != "application/json" || got.Get("User-Agent") != "sluice/1.2" || got.Get("Authorization") != "Bearer x" || got.Get(signatureHeader) == "" {
		t.Errorf("got %v", got)
	}
}

// TestSetTellsHooks raises an alarm of a Set and clears it.
func TestSetTellsHooks(t *testing.T) {
	r := newReceiver(t, func(int, http.ResponseWriter) {})
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(nil), func(c *Config) {
			c.Webhooks = []Webhook{{URL: llm.NewSecret(r.URL)}, {URL: llm.NewSecret(r.URL), Format: FormatSlack}}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		f.set("wait_seconds", 2, 100)
		time.Sleep(time.Minute)
		f.set("wait_seconds", 0.5, 100)
		time.Sleep(2 * time.Minute)
		cancel()
		<-done
		if r.count() != 4 {
			t.Fatalf("%d messages", r.count())
		}
		got := collected{}
		f.Figures(got)
		host := strings.TrimPrefix(r.URL, "http://")
		for _, name := range []string{host, host + "#2"} {
			if n := got["webhook_deliveries_total{webhook="+name+"}{result=delivered}"]; n != 2 {
				t.Errorf("%s got %v of 2", name, n)
			}
		}
	})
}

// TestConnectionEnds checks that no connection outlives Run.
func TestConnectionEnds(t *testing.T) {
	idle, closed := make(chan bool, 1), make(chan bool, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateIdle:
			idle <- true
		case http.StateClosed:
			closed <- true
		}
	}
	srv.Start()
	h := newHooked(srv.URL, nil)
	stop := h.running(t)
	h.put(sample("slow", "raised"))
	<-idle
	stop()
	<-closed
	srv.Close()
}
