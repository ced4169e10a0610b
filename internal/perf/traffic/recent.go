package traffic

import (
	"encoding/json"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/perf"
)

// Request is what is known of one of the last requests: metadata, and nothing of
// what was said.
type Request struct {
	Time       time.Time `json:"time"`
	ID         string    `json:"id"`
	Trace      string    `json:"trace,omitempty"`
	Tenant     string    `json:"tenant,omitempty"`
	Operation  string    `json:"operation"`
	Model      string    `json:"model,omitempty"`
	Upstream   string    `json:"upstream,omitempty"`
	Stream     bool      `json:"stream"`
	Status     int       `json:"status"` // 0: the client left before a reply
	Code       string    `json:"code,omitempty"`
	Aborted    string    `json:"aborted,omitempty"`
	Error      string    `json:"error,omitempty"` // the class, "" where nothing went wrong
	Failed     bool      `json:"failed"`
	Cache      string    `json:"cache,omitempty"`
	Attempts   int       `json:"attempts,omitempty"`
	Duration   float64   `json:"duration_seconds"`
	FirstEvent *float64  `json:"first_event_seconds,omitempty"`
	Waiting    *float64  `json:"upstream_seconds,omitempty"`
	Queued     *float64  `json:"queue_seconds,omitempty"`
	Overhead   *float64  `json:"overhead_seconds,omitempty"`
	BytesIn    int64     `json:"bytes_in"`
	BytesOut   int64     `json:"bytes_out"`
	Input      *int64    `json:"input_tokens,omitempty"`
	Output     *int64    `json:"output_tokens,omitempty"`
}

// recent is a ring of the last requests. Adding one allocates nothing, so names
// are cut to what a slot has room for.
type recent struct {
	next  atomic.Uint64
	slots [Kept]slot
}

type slot struct {
	mu     sync.Mutex
	number uint64 // of the request, from 1; 0 for none
	x      perf.Exchange
	texts  [6]text
	class  perf.Class
}

// text is a short string with memory of its own.
type text struct {
	n int
	b [perf.MaxLabel]byte
}

func (t *text) set(s string) { t.n = copy(t.b[:], s) }
func (t *text) get() string  { return string(t.b[:t.n]) }

func (r *recent) add(x *perf.Exchange, c perf.Class) {
	n := r.next.Add(1)
	s := &r.slots[n%Kept]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.number > n { // a later one has come round before this
		return
	}
	s.number, s.x, s.class = n, *x, c
	for i, v := range [...]*string{&s.x.ID, &s.x.Tenant, &s.x.Model, &s.x.Upstream, &s.x.Code, &s.x.Aborted} {
		s.texts[i].set(*v)
		*v = "" // it is the request's
	}
	s.x.Client, s.x.Method, s.x.Path, s.x.Body, s.x.Reply = "", "", "", nil, nil
}

// Recent returns the last requests that have ended, the last one first.
func (t *Traffic) Recent() []Request {
	type numbered struct {
		n uint64
		Request
	}
	var list []numbered
	for i := range t.recent.slots {
		s := &t.recent.slots[i]
		s.mu.Lock()
		if s.number > 0 {
			list = append(list, numbered{s.number, s.request()})
		}
		s.mu.Unlock()
	}
	sort.Slice(list, func(i, j int) bool { return list[i].n > list[j].n })
	out := make([]Request, len(list))
	for i := range list {
		out[i] = list[i].Request
	}
	return out
}

// request is what is told of a slot, which is locked.
func (s *slot) request() Request {
	x := &s.x
	r := Request{
		Time: x.Begun.UTC(), ID: s.texts[0].get(), Tenant: s.texts[1].get(), Operation: x.Op.String(), Model: s.texts[2].get(),
		Upstream: s.texts[3].get(), Stream: x.Stream, Status: x.Status, Code: s.texts[4].get(), Aborted: s.texts[5].get(), Error: s.class.String(), Failed: s.class.Failed(),
		Cache: x.Cache.String(), Attempts: x.Attempts, Duration: x.Total.Seconds(), BytesIn: x.BytesIn, BytesOut: x.BytesOut,
	}
	if x.Trace.ID != (perf.TraceID{}) {
		r.Trace = x.Trace.ID.String()
	}
	seconds := func(d time.Duration) *float64 { return new(d.Seconds()) }
	if x.Stream && x.First > 0 {
		r.FirstEvent = seconds(x.First)
	}
	if r.Upstream != "" && !remembered(x) && x.Waiting > 0 {
		r.Waiting = seconds(x.Waiting)
	}
	if x.Queued > 0 {
		r.Queued = seconds(x.Queued)
	}
	if x.HasOverhead {
		r.Overhead = seconds(x.Overhead)
	}
	if x.Usage.Known {
		r.Input, r.Output = new(x.Usage.Input), new(x.Usage.Output)
	}
	return r
}

// RecentJSON is Recent as an OpenAI list.
func (t *Traffic) RecentJSON() ([]byte, error) {
	b, err := json.Marshal(struct {
		Object string    `json:"object"`
		Data   []Request `json:"data"`
	}{"list", t.Recent()})
	if err != nil {
		return nil, fmt.Errorf("write requests: %w", err)
	}
	return append(b, '\n'), nil
}
