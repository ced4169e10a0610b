package alarm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// receiver is a server that keeps what it gets. It is made outside a bubble; its
// connections end with each reply, since one that is waited on stops a bubble's
// clock.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	at     []time.Time // by the signature
}

// newReceiver answers the nth message, from 1, as reply does.
func newReceiver(t *testing.T, reply func(n int, w http.ResponseWriter)) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		var unix int64
		var sum string
		if _, err := fmt.Sscanf(req.Header.Get(signatureHeader), "t=%d,v1=%s", &unix, &sum); err == nil {
			mac := hmac.New(sha256.New, []byte("key"))
			fmt.Fprintf(mac, "%d.%s", unix, body)
			if sum != hex.EncodeToString(mac.Sum(nil)) {
				t.Error("the signature is wrong")
			}
		}
		r.mu.Lock()
		r.bodies, r.heads = append(r.bodies, string(body)), append(r.heads, req.Header)
		r.at = append(r.at, time.Unix(unix, 0))
		n := len(r.bodies)
		r.mu.Unlock()
		reply(n, w)
	}))
	r.Config.SetKeepAlivesEnabled(false)
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

// hooked is a hook with its log.
type hooked struct {
	*hook
	log *bytes.Buffer
}

func newHooked(url string, change func(*Webhook)) *hooked {
	w := Webhook{URL: llm.NewSecret(url), Secret: llm.NewSecret("key")}
	if change != nil {
		change(&w)
	}
	log := new(bytes.Buffer)
	return &hooked{newHook(w, "", Options{Logger: slog.New(slog.NewTextHandler(log, nil)), Version: "1.2"}), log}
}

// running delivers until stop is called.
func (h *hooked) running(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.run(ctx) }()
	return func() { cancel(); <-done }
}

// counts gives delivered, failed, dropped and merged.
func (h *hooked) counts() [4]uint64 {
	return [4]uint64{h.delivered.Load(), h.failed.Load(), h.dropped.Load(), h.merged.Load()}
}

func sample(name, what string) event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return event{Event: what, key: name, at: at.Add(time.Hour), Status: Status{
		Name: name, Kind: kindThreshold, State: firing, Severity: Warning, Figure: "wait_seconds", Stat: "p99", Labels: map[string]string{"upstream": "a"},
		Window: "5m", Value: new(2.5), Direction: Above, Threshold: new(1.0), Since: at, RaisedAt: &at, Message: "p99 is 2.5 s, above 1 s", Advice: "Look at <a> & b.",
	}}
}

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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String() + "/T/hidden"
	l.Close()
	bubble(t, func(t *testing.T) {
		h := newHooked(url, nil)
		stop := h.running(t)
		h.put(sample("slow", "raised"))
		time.Sleep(time.Minute)
		var c perf.Condition
		h.examine(func(x perf.Condition) { c = x })
		if c.State != perf.Degraded || !strings.Contains(c.Error, "connection refused") || c.Component != "webhook/"+l.Addr().String() {
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
		dials := 0
		h.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			dials++
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}
		stop := h.running(t)
		h.put(sample("slow", "raised"))
		time.Sleep(postTimeout + 5*time.Second)
		if dials != 2 {
			t.Errorf("%d tries", dials)
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

// TestQueue checks that what waits is bounded, and the last of each alarm.
func TestQueue(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(503)
		}
	})
	bubble(t, func(t *testing.T) {
		h := newHooked(r.URL, nil)
		for i := range queued + 3 {
			h.put(sample(fmt.Sprintf("alarm%d", i), "raised"))
		}
		h.put(sample("alarm9", "cleared"))
		stop := h.running(t)
		time.Sleep(100 * time.Millisecond) // the first message was refused
		synctest.Wait()
		h.put(sample("alarm20", "cleared"))
		h.put(sample("late", "raised"))
		time.Sleep(time.Minute)
		stop()
		if want := [4]uint64{queued, 0, 4, 2}; h.counts() != want {
			t.Errorf("counts %v, want %v", h.counts(), want)
		}
		if r.count() != 2 {
			t.Fatalf("%d messages", r.count())
		}
		last := r.bodies[1]
		for part, n := range map[string]int{`"event":`: queued, `"event":"cleared"`: 2, `"name":"alarm3"`: 0, `"name":"alarm4"`: 1, `"name":"late"`: 1} {
			if got := strings.Count(last, part); got != n {
				t.Errorf("%s is there %d times, want %d", part, got, n)
			}
		}
	})
}

func TestMinInterval(t *testing.T) {
	r := newReceiver(t, func(int, http.ResponseWriter) {})
	bubble(t, func(t *testing.T) {
		h := newHooked(r.URL, func(w *Webhook) { w.MinInterval = 20 * time.Second })
		stop := h.running(t)
		for i := range 60 { // an alarm that comes and goes every second
			h.put(sample("slow", map[bool]string{true: "raised", false: "cleared"}[i%2 == 0]))
			time.Sleep(time.Second)
		}
		stop()
		if n := r.count(); n != 3 {
			t.Errorf("%d messages", n)
		}
		if c := h.counts(); c[0] != 3 || c[0]+c[2]+c[3] != 60 {
			t.Errorf("counts %v", c)
		}
	})
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

func TestRetryAfterValues(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		field string
		want  time.Duration
		ok    bool
	}{
		{"5", 5 * time.Second, true}, {"0", 0, true}, {"86400", longestPause, true}, {"99999999999999999999999", longestPause, true},
		{"Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second, true}, {"Fri, 02 Jan 2026 03:00:00 GMT", 0, true}, {"Fri, 02 Jan 2099 03:00:00 GMT", longestPause, true},
		{"", 0, false}, {"-5", 0, false}, {"soon", 0, false},
	} {
		if got, ok := retryAfter(c.field, now); got != c.want || ok != c.ok {
			t.Errorf("%q: %v, %v", c.field, got, ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("5")
	f.Add("Fri, 02 Jan 2026 03:04:35 GMT")
	f.Fuzz(func(t *testing.T, field string) {
		if d, _ := retryAfter(field, time.Unix(1e9, 0)); d < 0 || d > longestPause {
			t.Fatalf("%q is %v", field, d)
		}
	})
}
