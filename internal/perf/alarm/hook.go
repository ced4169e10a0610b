package alarm

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"

	"sluice/internal/perf"
)

// event is an alarm that was raised or cleared, or that a server is reminded of.
type event struct {
	Event string `json:"event"` // raised or cleared
	Status

	key   string    // of the alarm
	at    time.Time // of the change
	tried bool      // it was sent, and not taken
}

const (
	// queued bounds the alarms whose message waits for one webhook.
	queued = 64
	// patience is how long a webhook is tried until its messages are given up.
	patience = 5 * time.Minute
	// remindEvery is the time between two messages to Alertmanager of an alarm
	// that stays, which is Prometheus' own.
	remindEvery = time.Minute
)

// hook delivers to one webhook. Only the last change of an alarm waits: who learns
// late learns how it is, not how it was.
type hook struct {
	name   string // host
	config Webhook
	target string // where to POST
	body   encoder
	client *http.Client
	limit  *rate.Limiter
	log    *slog.Logger
	agent  string

	wake chan struct{}

	mu      sync.Mutex
	pending []event          // at most queued, one for each alarm
	firing  map[string]event // of which the server is to be reminded; nil where it is not
	trouble string           // why the last message was not taken, "" where it was

	delivered, failed, dropped, merged atomic.Uint64
	seconds                            perf.Histogram
}

func newHook(w Webhook, link string, o Options) *hook {
	h := &hook{
		config: w, target: w.URL.Reveal(), limit: rate.NewLimiter(rate.Every(cmp.Or(w.MinInterval, time.Second)), 1),
		log: o.Logger, agent: "sluice/" + o.Version, wake: make(chan struct{}, 1),
		body: encoder{version: o.Version, instance: o.Instance, link: link, format: cmp.Or(w.Format, FormatSluice)},
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: postTimeout}).DialContext, TLSHandshakeTimeout: postTimeout,
				MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
			},
			// What is signed for one server, and a URL with a token, is for no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	u, err := url.Parse(h.target)
	if err != nil { // not of a valid configuration; posting will say so
		return h
	}
	h.name = u.Host
	if h.body.format == FormatAlertmanager {
		h.firing = make(map[string]event)
		if u.Path == "" || u.Path == "/" {
			h.target = u.JoinPath("api/v2/alerts").String()
		}
	}
	return h
}

// put takes an event. It does not block.
func (h *hook) put(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.firing != nil {
		if e.Event == "raised" {
			h.firing[e.key] = e
		} else {
			delete(h.firing, e.key)
		}
	}
	h.queue(e)
}

// queue adds an event, in place of an earlier one of the same alarm.
func (h *hook) queue(e event) {
	i := slices.IndexFunc(h.pending, func(p event) bool { return p.key == e.key })
	switch {
	case i >= 0:
		h.pending[i] = e
		h.merged.Add(1)
	case len(h.pending) == queued:
		h.pending = append(slices.Delete(h.pending, 0, 1), e)
		h.dropped.Add(1)
	default:
		h.pending = append(h.pending, e)
	}
	select {
	case h.wake <- struct{}{}:
	default: // it is awake
	}
}

// drain empties the queue.
func (h *hook) drain() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	batch := h.pending
	h.pending = nil
	return batch
}

// restore puts back what was not taken, but for alarms that changed meanwhile.
func (h *hook) restore(batch []event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	newer := h.pending
	h.pending = batch
	for i := range batch {
		batch[i].tried = true
	}
	for _, e := range newer {
		h.queue(e)
	}
}

// run delivers until ctx is done, and drops what is pending then.
func (h *hook) run(ctx context.Context) {
	defer h.client.CloseIdleConnections()
	remind := time.NewTicker(remindEvery)
	defer remind.Stop()
	for {
		select {
		case <-ctx.Done():
			h.dropped.Add(uint64(len(h.drain())))
			return
		case <-remind.C:
			h.remind()
		case <-h.wake:
			if h.limit.Wait(ctx) == nil {
				h.send(ctx)
			}
		}
	}
}

// remind queues the alarms that are raised, of which the server hears regularly.
func (h *hook) remind() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(h.firing)) {
		if !slices.ContainsFunc(h.pending, func(p event) bool { return p.key == key }) {
			h.queue(h.firing[key])
		}
	}
}

// send delivers what is pending, with that which comes while it is tried again.
func (h *hook) send(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.Multiplier, pause.MaxInterval = time.Second, 2, time.Minute
	_, err := backoff.Retry(ctx, func() (int, error) { return h.try(ctx) },
		backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(patience),
		backoff.WithNotify(func(err error, wait time.Duration) {
			h.log.Debug("webhook is tried again", "webhook", h.name, "error", err, "in", wait)
		}))
	if err == nil || ctx.Err() != nil {
		return
	}
	h.log.Warn("webhook failed", "webhook", h.name, "error", err, "alarms", h.giveUp())
}

// try sends what is pending once.
func (h *hook) try(ctx context.Context) (int, error) {
	batch := h.drain()
	if len(batch) == 0 {
		return 0, nil
	}
	err := h.post(ctx, batch)
	h.mu.Lock()
	if h.trouble = ""; err != nil && ctx.Err() == nil {
		h.trouble = err.Error()
	}
	h.mu.Unlock()
	if err == nil {
		h.delivered.Add(uint64(len(batch)))
		return len(batch), nil
	}
	h.restore(batch)
	return 0, err
}

// giveUp drops what was tried in vain and names it.
func (h *hook) giveUp() (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = slices.DeleteFunc(h.pending, func(e event) bool {
		if e.tried {
			names = append(names, e.Name)
		}
		return e.tried
	})
	h.failed.Add(uint64(len(names)))
	return names
}

// permanent is an error that trying again does not mend.
func permanent(text string) error { return backoff.Permanent(errors.New(text)) }
