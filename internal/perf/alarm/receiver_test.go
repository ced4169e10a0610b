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
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sluice/internal/llm"
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
