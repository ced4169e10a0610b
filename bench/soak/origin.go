package soak

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// origin is a service that speaks every dialect there is, on one address. What it answers
// follows from what it is asked; whether it does is up to the weather: some requests fail
// on purpose, and in bad spells half of them.
type origin struct {
	weather float64 // part of the requests that fail by themselves in good times
	begun   time.Time

	mu    sync.Mutex
	acted io.Writer // told the id of each question that is acted upon, before anything is sent
}

const (
	// Bad spells, and how long it is from one to the next.
	spell, spells = 3 * time.Second, 40 * time.Second
	// hangs is how long a service says nothing that hangs; gateways give it up before.
	hangs = 15 * time.Second
	// calls take so long that answer several items.
	callTime = 10 * time.Millisecond
	// longest is what a whole reply takes at most, however slowly its stream would come.
	longest = time.Second
)

// Serve is the command of an origin: it serves until ctx is done, or it is killed.
func Serve(ctx context.Context, addr string, weather float64) error {
	o := &origin{weather: weather, begun: time.Now(), acted: os.Stdout}
	s := &http.Server{Handler: o, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked has left
	}
	x := &exchange{origin: o, w: w, r: r, body: body}
	if path, ok := strings.CutPrefix(r.URL.Path, "/v1beta/models/"); ok {
		x.gemini(path)
		return
	}
	switch r.URL.Path {
	case "/v1/models":
		io.WriteString(w, `{"object":"list","data":[]}`)
	case "/v1/chat/completions":
		x.chat()
	case "/v1/responses":
		x.responses()
	case "/v1/messages":
		x.messages()
	case "/v1/embeddings":
		x.embeddings()
	case "/v1/completions":
		x.completions()
	case "/v1/audio/transcriptions":
		x.upload()
	case "/bench.Model/Complete", "/bench.Model/Chat":
		x.protobuf()
	default:
		x.refuse(http.StatusNotFound, "there is no "+r.URL.Path)
	}
}

// exchange is one request and its reply.
type exchange struct {
	*origin
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	q    question
}

// act says that work begins for a question.
func (x *exchange) act(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	fmt.Fprintln(x.acted, id)
}

// Faults: those that a question asks for, and those of the weather.
const (
	faultBusy    = "busy"    // 503, not acted upon
	faultLimit   = "limit"   // 429, not acted upon
	faultRefused = "refused" // 400
	faultFails   = "fails"   // 500
	faultReset   = "reset"   // the connection, before anything is said
	faultCut     = "cut"     // the connection is closed in the middle
	faultHangs   = "hangs"   // silence before anything is said
	faultStalls  = "stalls"  // silence in the middle
	faultTells   = "tells"   // an error as an event, in the middle of a stream
)

// weatherFaults are those that come by themselves. None of them refuses a request for what
// it is.
var weatherFaults = []string{faultBusy, faultBusy, faultLimit, faultFails, faultReset, faultCut, faultHangs, faultStalls}

// storm is what the weather does to a request.
func (o *origin) storm() string {
	p := o.weather
	if time.Since(o.begun)%spells > spells-spell {
		p = max(p, min(20*p, 0.5))
	}
	if rand.Float64() >= p {
		return ""
	}
	return weatherFaults[rand.IntN(len(weatherFaults))]
}

// failed does what goes wrong before anything is said, and reports whether that is all. What
// goes wrong later is up to whoever writes the pieces.
func (x *exchange) failed(ids ...string) bool {
	switch {
	case x.q.fault == "":
		x.q.fault, x.q.after = x.storm(), rand.IntN(max(x.q.pieces, 1))
	}
	switch x.q.fault {
	case faultBusy:
		x.refuse(http.StatusServiceUnavailable, originBusy)
		return true
	case faultLimit:
		x.w.Header().Set("Retry-After", "1")
		x.refuse(http.StatusTooManyRequests, originBusy)
		return true
	case faultRefused:
		x.refuse(http.StatusBadRequest, originRefuses)
		return true
	}
	for _, id := range ids {
		x.act(id)
	}
	switch x.q.fault {
	case faultFails:
		x.refuse(http.StatusInternalServerError, originFails)
	case faultReset:
		x.drop(true)
	case faultHangs:
		x.wait(hangs)
		x.drop(false)
	default:
		return false
	}
	return true
}

// What a service says when it fails on purpose, by which it is told from whoever passes it on.
const (
	originBusy    = "the origin has no room"
	originRefuses = "the origin refuses this"
	originFails   = "the origin fails"
)

// drop ends the connection, or over HTTP/2 the stream.
func (x *exchange) drop(reset bool) {
	if x.r.ProtoMajor == 1 {
		if conn, _, err := x.w.(http.Hijacker).Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok && reset {
				tcp.SetLinger(0)
			}
			conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// wait waits, and reports whether anybody is there still.
func (x *exchange) wait(d time.Duration) bool {
	if d <= 0 {
		return x.r.Context().Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.r.Context().Done():
		return false
	case <-t.C:
		return true
	}
}

// refuse answers with an error, in the words of the dialect that is spoken.
func (x *exchange) refuse(status int, text string) {
	switch path := x.r.URL.Path; {
	case strings.HasPrefix(path, "/bench."):
		x.refuseProtobuf(status, text)
		return
	case path == "/v1/messages":
		kind := map[int]string{400: "invalid_request_error", 429: "rate_limit_error", 503: "overloaded_error"}[status]
		if kind == "" {
			kind = "api_error"
		}
		x.json(status, object{"type": "error", "error": object{"type": kind, "message": text}})
	case strings.HasPrefix(path, "/v1beta/"):
		word := map[int]string{400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}[status]
		if word == "" {
			word = "INTERNAL"
		}
		x.json(status, object{"error": object{"code": status, "message": text, "status": word}})
	default:
		x.json(status, object{"error": object{"message": text, "type": "origin_error", "code": nil, "param": nil}})
	}
}

type object = map[string]any

// json answers with a body, or with half of it where that is to be cut.
func (x *exchange) json(status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // what is written here is what this program made
	}
	x.whole(status, "application/json", b)
}

// whole answers with a body, or with a part of it where something goes wrong in the middle.
func (x *exchange) whole(status int, kind string, b []byte) {
	x.w.Header().Set("Content-Type", kind)
	x.w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	x.w.WriteHeader(status)
	if x.q.fault != faultCut && x.q.fault != faultStalls {
		x.w.Write(b)
		return
	}
	x.w.Write(b[:len(b)/2])
	x.w.(http.Flusher).Flush()
	if x.q.fault == faultStalls {
		x.wait(hangs)
	}
	x.drop(false)
}

// events answers with a stream: begin, an event for each piece, end. What goes wrong in the
// middle does so behind so many pieces.
func (x *exchange) events(kind string, a answer, begin func(), piece func(i int), fails, end func()) {
	x.w.Header().Set("Content-Type", kind)
	flush := x.w.(http.Flusher)
	begin()
	for i := range a.pieces {
		if i == x.q.after {
			switch x.q.fault {
			case faultCut:
				flush.Flush()
				x.drop(false)
				return
			case faultStalls:
				flush.Flush()
				x.wait(hangs)
				x.drop(false)
				return
			case faultTells:
				fails()
				return
			}
		}
		piece(i)
		flush.Flush()
		if !x.wait(a.pace) {
			return
		}
	}
	end()
}

// asked answers a conversation, whole or as a stream, unless it fails.
func (x *exchange) asked(t talk, whole, stream func(answer)) {
	a, err := answerTo(t)
	if err != nil {
		x.refuse(http.StatusUnprocessableEntity, err.Error())
		return
	}
	x.q = a.question
	if x.failed(a.id) {
		return
	}
	if stream != nil {
		stream(a)
		return
	}
	if x.wait(min(a.pace*time.Duration(a.pieces), longest)) {
		whole(a)
	}
}

// embeddings answers with a vector for each text; a text has tokensOf.
func (x *exchange) embeddings() {
	var req struct {
		Model    string
		Input    any
		Encoding string `json:"encoding_format"`
	}
	texts, ok := x.items(&req, &req.Input)
	if !ok || x.failed() || !x.wait(callTime) {
		return
	}
	var data []any
	tokens := 0
	for i, text := range texts {
		v := vectorOf(text)
		var vector any = v
		if req.Encoding == "base64" {
			vector = base64.StdEncoding.EncodeToString(littleEndian(v))
		}
		data = append(data, object{"object": "embedding", "index": i, "embedding": vector})
		tokens += tokensOf(text)
	}
	x.json(http.StatusOK, object{"object": "list", "model": req.Model, "data": data, "usage": object{"prompt_tokens": tokens, "total_tokens": tokens}})
}

// completions goes on with each prompt, which has tokensOf.
func (x *exchange) completions() {
	var req struct {
		Model  string
		Prompt any
	}
	prompts, ok := x.items(&req, &req.Prompt)
	if !ok || x.failed() || !x.wait(callTime) {
		return
	}
	var choices []any
	tokens := 0
	for i, p := range prompts {
		choices = append(choices, object{"index": i, "text": completionOf(p), "finish_reason": "stop", "logprobs": nil})
		tokens += tokensOf(p)
	}
	out := completionTokens * len(prompts)
	x.json(http.StatusOK, object{"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": req.Model, "choices": choices,
		"usage": object{"prompt_tokens": tokens, "completion_tokens": out, "total_tokens": tokens + out}})
}

// items reads a request for several of them, of which one may come as a text.
func (x *exchange) items(req, of any) (texts []string, ok bool) {
	err := json.Unmarshal(x.body, req)
	switch v := (*of.(*any)).(type) {
	case string:
		texts = []string{v}
	case []any:
		for _, t := range v {
			s, _ := t.(string)
			texts = append(texts, s)
		}
	}
	if err != nil || len(texts) == 0 {
		x.refuse(http.StatusUnprocessableEntity, fmt.Sprintf("no items: %v", err))
		return nil, false
	}
	return texts, true
}

// upload says what was in a form's file.
func (x *exchange) upload() {
	x.r.Body = io.NopCloser(strings.NewReader(string(x.body)))
	file, _, err := x.r.FormFile("file")
	if err != nil {
		x.refuse(http.StatusUnprocessableEntity, err.Error())
		return
	}
	b, err := io.ReadAll(file)
	if err != nil {
		x.refuse(http.StatusUnprocessableEntity, err.Error())
		return
	}
	if !x.failed(fmt.Sprintf("%x", sha256.Sum256(b))) {
		x.json(http.StatusOK, object{"text": digestOf(b)})
	}
}
