package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/bench/process"
)

// kind is one of request.
type kind struct {
	name  string
	share int // of a hundred
	do    func(ctx context.Context, kind string, n int)
}

// patience is how long a client waits for an answer or an error. It is longer than all
// time-outs of the gateway one behind the other: what takes longer is lost.
const patience = 60 * time.Second

var (
	dialects = []string{"chat", "chat", "responses", "messages", "gemini"}
	models   = []string{"m-chat", "m-chat", "m-alias", "m-native", "m-claude", "m-gemini", "m-grpc", "m-proto"}
	callers  = []string{"m-chat", "m-native", "m-claude", "m-gemini"} // models that call tools
)

func oneOf(words []string) string { return words[rand.IntN(len(words))] }

// kinds are all kinds of requests.
func (h *hardening) kinds() []kind {
	return []kind{
		{"whole", 16, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("u", n), pieces: 1 + n%40, pace: 2 * time.Millisecond}, filler(n)), model: oneOf(models)}
		})},
		{"stream", 20, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("s", n), pieces: 1 + n%60, pace: 8 * time.Millisecond}, filler(n)), model: oneOf(models), stream: true}
		})},
		{"conversation", 5, h.talk(func(n int) say {
			c := asking(question{id: fmt.Sprint("u", n), pieces: 5, whole: true}, "")
			c.system = "You are number " + fmt.Sprint(n)
			c.turns = slices.Concat([]turn{{"user", "First " + filler(n)}, {"assistant", "Said."}, {"user", "Second"}, {"assistant", "Said again."}}, c.turns)
			return say{of: c, model: oneOf(models)}
		})},
		{"tool", 5, h.talk(func(n int) say {
			stream := n%2 == 0
			return say{of: asking(question{id: prefix(stream) + fmt.Sprint(n), pieces: 2 + n%10, pace: 2 * time.Millisecond, tool: true}, ""), model: oneOf(callers), stream: stream}
		})},
		{"asked before", 13, h.talk(func(n int) say {
			// Of a few hundred questions some are asked most of the time.
			i := int(200 * rand.Float64() * rand.Float64())
			return say{of: asking(question{id: fmt.Sprint("r", i), pieces: 3 + i%30, pace: time.Millisecond}, filler(i)), model: models[i%len(models)], dialect: dialects[i%len(dialects)], stream: i%3 == 0, key: keyOne}
		})},
		{"equal at once", 1, h.crowd},
		{"said twice", 3, h.talk(func(n int) say {
			c := asking(question{id: fmt.Sprint("u", n), pieces: 4}, "")
			file := lines(n, 40)
			c.system = "You are number " + fmt.Sprint(n)
			c.turns = slices.Concat([]turn{{"user", "Read this.\n" + file}, {"assistant", "I see:\n" + file}, {"user", "And this.\n" + file}, {"assistant", "Again:\n" + file}}, c.turns)
			return say{of: c, model: oneOf(models), dialect: oneOf([]string{"chat", "responses"}), fields: map[string]string{"X-Sluice-Dedup": "blocks"}}
		})},
		{"fault on purpose", 5, h.talk(func(n int) say {
			all := []string{faultBusy, faultLimit, faultRefused, faultFails, faultReset, faultCut, faultHangs, faultStalls, faultTells}
			fault, stream := all[n%len(all)], n%2 == 0
			if fault == faultTells {
				stream = true
			}
			return say{of: asking(question{id: prefix(stream) + fmt.Sprint(n), pieces: 12, pace: 5 * time.Millisecond, fault: fault, after: 4}, ""), model: "m-bad", stream: stream}
		})},
		{"leaves before the reply", 2, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("u", n), pieces: 50, pace: 20 * time.Millisecond}, filler(n)), model: oneOf(models), leaves: 300 * time.Millisecond}
		})},
		{"leaves in a stream", 3, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("s", n), pieces: 100, pace: 20 * time.Millisecond}, filler(n)), model: oneOf(models), stream: true, leaves: time.Second}
		})},
		{"slow body", 2, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("u", n), pieces: 3}, filler(5000)), model: oneOf(models), slowly: true}
		})},
		{"slow reader", 2, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("s", n), pieces: 3000}, ""), model: oneOf(models), stream: true, reads: 20 * time.Millisecond}
		})},
		{"large", 1, h.large(1<<20, 7<<20)},
		{"embeddings", 9, h.embed},
		{"completions", 4, h.complete},
		{"upload", 1, h.upload},
		{"protobuf", 3, h.transcode},
		{"bad", 2, h.bad},
		{"limited", 2, h.talk(func(n int) say {
			return say{of: asking(question{id: fmt.Sprint("u", n), pieces: 2}, ""), model: "m-chat", key: keyLimited}
		})},
		{"hostile", 1, h.hostile},
	}
}

func prefix(stream bool) string {
	if stream {
		return "s"
	}
	return "u"
}

// filler makes texts of different lengths.
func filler(n int) string { return strings.Repeat(fmt.Sprint("word", n%100, " "), n%397) }

// lines are a file that others do not have.
func lines(n, count int) string {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, "line %d of the file %d, which says nothing\n", i, n)
	}
	return b.String()
}

// say is a conversation, and how a client has it.
type say struct {
	of      conversation
	dialect string // one at random when empty
	model   string
	stream  bool
	key     string // one at random when empty
	fields  map[string]string
	leaves  time.Duration // after which the client does; 0 for never
	slowly  bool          // the body comes bit by bit
	reads   time.Duration // between two reads of the reply
}

// operations are those of dialects, as /metrics calls them.
var operations = map[string]string{"chat": "chat", "responses": "responses", "messages": "messages", "gemini": "generate_content"}

// talk has conversations.
func (h *hardening) talk(of func(n int) say) func(context.Context, string, int) {
	return func(ctx context.Context, kind string, n int) { h.have(ctx, kind, of(n)) }
}

// have has one conversation, and notes what became of it.
func (h *hardening) have(ctx context.Context, kind string, s say) {
	if s.dialect == "" {
		s.dialect = oneOf(dialects)
	}
	usage := !s.stream || rand.IntN(2) == 0 || s.dialect != "chat"
	path, body := s.of.request(s.dialect, s.model, s.stream, usage)
	op := operations[s.dialect]
	r := h.send(ctx, s, path, "application/json", body)
	if r.resp == nil {
		h.without(kind, op, s, r)
		return
	}
	defer r.close()
	what := fmt.Sprintf("%s of %s, stream %v, id %s: ", s.dialect, s.model, s.stream, r.resp.Header.Get("X-Request-Id"))
	if r.resp.StatusCode != http.StatusOK {
		h.refusedWith(kind, op, s.dialect, s, r, what)
		return
	}
	a := s.of.answer()
	var got heard
	var err error
	if media := r.resp.Header.Get("Content-Type"); s.stream != strings.HasPrefix(media, eventStream) {
		h.wrong(kind, "another type: "+what+media)
	}
	if s.stream {
		got, err = hearStream(s.dialect, r.body)
	} else {
		var b []byte
		if b, err = io.ReadAll(r.body); err != nil {
			err = fmt.Errorf("%w: %w", errBroken, err)
		} else {
			got, err = hearWhole(s.dialect, b)
		}
	}
	broken := errors.Is(err, errBroken)
	class := "2xx"
	switch fault := ""; {
	case r.left(err):
		class = classLeft
		h.ended(kind, "left")
		if fault = got.begins(a); fault != "" {
			h.wrong(kind, "wrong answer: "+what+fault)
		}
	case broken && r.ctx.Err() != nil:
		class = classLeft
		h.wrong(kind, "lost: "+what+"nothing more came: "+err.Error())
	case err != nil && !broken:
		h.wrong(kind, "unsound: "+what+err.Error())
	case broken || got.failed != "":
		class = classBroken
		fault := got.begins(a)
		switch {
		case s.stream && got.failed == "":
			fault = "cut without a word, " + fault
		case got.ended:
			fault = "an error, and the end, " + fault
		}
		if fault != "" {
			h.wrong(kind, "broken wrongly: "+what+fault+" "+got.failed)
			break
		}
		h.ended(kind, "cut")
	case s.stream && !got.ended:
		h.wrong(kind, "ends without an end: "+what+fmt.Sprintf("%+.300v", got))
	case s.of.q.fault != "":
		h.wrong(kind, "answered in spite of a fault: "+what+s.of.q.fault)
	default:
		if fault = got.is(a, s.dialect, usage); fault != "" {
			h.wrong(kind, "wrong answer: "+what+fault+" "+r.resp.Header.Get("X-Cache"))
			break
		}
		h.ended(kind, "answered")
		if r.resp.Header.Get("X-Sluice-Lossy") != "" {
			h.wrong(kind, "lossy: "+what+r.resp.Header.Get("X-Sluice-Lossy"))
		}
	}
	h.counted(op, class)
}

// reply is what came of a request, or why none did.
type reply struct {
	ctx    context.Context // ends with the client's patience
	cancel func()
	leaves bool
	err    error
	resp   *http.Response
	body   io.Reader
	over   string // which connection
}

func (r *reply) close() {
	r.cancel()
	if r.resp != nil {
		r.resp.Body.Close()
	}
}

// left reports whether an error is the client's own leaving.
func (r *reply) left(err error) bool { return r.leaves && err != nil && r.ctx.Err() != nil }

// send sends a request, over HTTP/1.1 or HTTP/2.
func (h *hardening) send(ctx context.Context, s say, path, kind string, body []byte) *reply {
	wait := patience
	if s.leaves > 0 {
		wait = s.leaves
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	r := &reply{ctx: ctx, cancel: cancel, leaves: s.leaves > 0}
	var from io.Reader = bytes.NewReader(body)
	if s.slowly {
		from = &slowBody{ctx, bytes.NewReader(body)}
	}
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		r.over = fmt.Sprintf("%v, idle for %v", i.Conn.LocalAddr(), i.IdleTime)
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), "POST", h.base+path, from)
	if err != nil {
		r.err = err
		return r
	}
	if s.slowly {
		req.ContentLength = int64(len(body))
	}
	req.Header.Set("Content-Type", kind)
	for k, v := range s.fields {
		req.Header.Set(k, v)
	}
	key := s.key
	if key == "" {
		key = oneOf([]string{keyOne, keyOne, keyTwo, process.APIKey})
	}
	switch s.dialect {
	case "messages":
		req.Header.Set("X-Api-Key", key)
	case "gemini":
		req.Header.Set("X-Goog-Api-Key", key)
	default:
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := h.plain
	if rand.IntN(3) == 0 {
		client = h.multi
	}
	if r.resp, r.err = client.Do(req); r.err != nil {
		cancel()
		return r
	}
	r.body = r.resp.Body
	if s.reads > 0 {
		r.body = &slowReader{r.resp.Body, s.reads}
	}
	if id := r.resp.Header.Get("X-Request-Id"); !h.identified(id) {
		h.wrong("ids", "not another one: "+id)
	}
	return r
}

// slowReader takes a little at a time.
type slowReader struct {
	io.Reader
	every time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.every)
	return r.Reader.Read(p[:min(len(p), 4<<10)])
}

// without notes a request that had no reply.
func (h *hardening) without(kind, op string, s say, r *reply) {
	h.counted(op, classLeft) // nobody knows what the gateway has seen of it
	if s.leaves > 0 && r.ctx.Err() != nil && errors.Is(r.err, context.DeadlineExceeded) {
		h.ended(kind, "left")
		return
	}
	h.wrong(kind, fmt.Sprintf("lost: %s, %s of %s, stream %v, over %s: %v", time.Now().UTC().Format(time.TimeOnly+".000"), s.dialect, s.model, s.stream, r.over, r.err))
}

// refusedWith notes an error. It may be one of those that the trouble explains, in the words
// of the client's dialect.
func (h *hardening) refusedWith(kind, op, dialect string, s say, r *reply, what string) {
	status := r.resp.StatusCode
	h.counted(op, fmt.Sprintf("%dxx", status/100))
	b, err := io.ReadAll(r.body)
	if r.left(err) {
		h.ended(kind, "left")
		return
	}
	if err != nil {
		h.wrong(kind, "broken error: "+what+err.Error())
		return
	}
	message, code, err := refusal(dialect, b)
	what += fmt.Sprintf("%d %s %s", status, code, message)
	if err != nil {
		h.wrong(kind, fmt.Sprintf("no error of the dialect: %s: %v", what, err))
		return
	}
	if !expected(status, message, s) {
		h.wrong(kind, "an error that nothing explains: "+what)
		return
	}
	h.ended(kind, fmt.Sprint(status))
}

// expected reports whether an error is one that may be: the services' own words, that they
// cannot be reached, that there are too many requests or too little memory.
func expected(status int, message string, s say) bool {
	switch status {
	case http.StatusBadRequest:
		return s.of.q.fault == faultRefused && strings.Contains(message, originRefuses)
	case http.StatusInternalServerError:
		return strings.Contains(message, originFails)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		return s.large() || s.slowly
	}
	return false
}

func (s say) large() bool { return len(s.of.turns) > 0 && len(s.of.turns[0].text) > 256<<10 }

// large sends conversations of so many bytes.
func (h *hardening) large(least, most int) func(context.Context, string, int) {
	return h.talk(func(n int) say {
		text := strings.Repeat(fmt.Sprintf("%09d ", n), (least+rand.IntN(most-least))/10)
		return say{of: asking(question{id: fmt.Sprint("u", n), pieces: 3}, text), dialect: "chat", model: "m-chat"}
	})
}

// crowd asks the same several times at once.
func (h *hardening) crowd(ctx context.Context, kind string, n int) {
	stream := n%2 == 0
	s := say{of: asking(question{id: fmt.Sprint("r-crowd", n), pieces: 20, pace: 10 * time.Millisecond}, filler(n)), dialect: "chat", model: oneOf(models), key: keyOne, stream: stream}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { h.have(ctx, kind, s) })
	}
	all.Wait()
}

// bad sends what no dialect allows, which is refused.
func (h *hardening) bad(ctx context.Context, kind string, n int) {
	dialect := dialects[n%len(dialects)]
	c := asking(question{id: fmt.Sprint("u", n), pieces: 1}, "")
	path, body := c.request(dialect, "m-chat", false, false)
	want := []int{http.StatusBadRequest}
	switch n / len(dialects) % 6 {
	case 0:
		body = body[:len(body)/2]
	case 1:
		path, body = c.request(dialect, fmt.Sprint("none-", n%10), false, false)
		want = []int{http.StatusNotFound}
	case 2:
		body = []byte(strings.Repeat("[", 100_000))
	case 3:
		body = []byte("{\"model\": \"m-chat\", \"messages\": \"\xff\xfe\"}")
	case 4:
		body = nil
	case 5:
		body = bytes.Repeat([]byte("x"), 9<<20)
		want = []int{http.StatusRequestEntityTooLarge, http.StatusBadRequest, http.StatusServiceUnavailable, http.StatusTooManyRequests}
	}
	r := h.send(ctx, say{dialect: dialect, key: keyTwo}, path, "application/json", body)
	if r.resp == nil {
		h.without(kind, operations[dialect], say{dialect: dialect}, r)
		return
	}
	defer r.close()
	h.counted(operations[dialect], fmt.Sprintf("%dxx", r.resp.StatusCode/100))
	b, err := io.ReadAll(r.body)
	if err == nil {
		_, _, err = refusal(dialect, b)
	}
	// What has no memory for a request, or for one more of its key, need not look at what is wrong with it.
	short := r.resp.StatusCode == http.StatusServiceUnavailable || r.resp.StatusCode == http.StatusTooManyRequests
	if !slices.Contains(want, r.resp.StatusCode) && !short || err != nil {
		h.wrong(kind, fmt.Sprintf("not refused as it should be: %s %.100q: %d, %.300q, %v", path, body, r.resp.StatusCode, b, err))
		return
	}
	h.ended(kind, fmt.Sprint(r.resp.StatusCode))
}
