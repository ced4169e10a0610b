package translate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

const asked = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Is it?"}]}`

// request is one in the Messages API.
func request(body string) *llm.Request {
	return &llm.Request{ID: "r", Op: llm.Messages, Method: "POST", Path: "/v1/messages", Model: "m", UpstreamModel: "m", Body: []byte(body), BodyLen: int64(len(body))}
}

func events(t *testing.T, out llm.Sink, raw ...string) {
	t.Helper()
	for _, e := range raw {
		if err := out.Send([]llm.Event{{Raw: []byte(e + "\n\n")}}); err != nil {
			t.Error(err)
		}
	}
}

const (
	begins = `data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"content":"It is."},"finish_reason":null}]}`
	stops  = `data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	done   = "data: [DONE]"
)

// TestRequestIsLetGo: once the head of a stream says that the request is not looked at any
// more nothing of it is held, and when the stream has ended nothing at all, also where its
// client repeats the request.
func TestRequestIsLetGo(t *testing.T) {
	budget := new(memory.Budget)
	budget.Resize(64 << 20)
	account := budget.Account("buffers")
	body := strings.Replace(asked, "Is it?", strings.Repeat("Is it? ", 50_000), 1)
	for op, most := range map[llm.Operation]int64{llm.Messages: 16 << 10, llm.Response: 4 << 20} {
		heard := int64(-1)
		h := New(llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
			if got := account.Held(); got < int64(len(body)) {
				t.Errorf("%d bytes are reserved while a request of %d is sent", got, len(body))
			}
			if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1, Sent: true}); err != nil {
				t.Error(err)
			}
			events(t, out, begins)
			heard = account.Held()
			events(t, out, stops, done)
			return nil
		}), Options{To: llm.Chat, MaxReply: 1 << 20, Buffers: &memory.Buffers{Account: account}, Account: account})
		req := request(body)
		if req.Op, req.Stream = op, true; op == llm.Response {
			req.Path, req.Body = "/v1/responses", []byte(strings.Replace(body, `"messages"`, `"input"`, 1))
			req.BodyLen = int64(len(req.Body))
		}
		reply := testkit.Ask(t, h, req)
		if heard < 0 || heard > most || account.Held() != 0 {
			t.Errorf("%v: %d bytes are reserved in the stream, %d after it", op, heard, account.Held())
		}
		if !strings.Contains(string(reply.Body), "It is.") {
			t.Errorf("%v: %s", op, reply.Body)
		}
	}
}

// TestLargeEventsAreReserved: what is written of a large event, such as one with an image, is in the
// budget while it is there, and where there is no room for it the stream ends for want of memory.
func TestLargeEventsAreReserved(t *testing.T) {
	const text = `data: {"candidates":[{"content":{"parts":[{"text":"So"}]}}]}`
	image := `data: {"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"` + strings.Repeat("AAAA", 256<<10) + `"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}`
	for size, fault := range map[int64]llm.Fault{64 << 20: llm.Declined, 512 << 10: llm.Lacking} {
		budget := new(memory.Budget)
		budget.Resize(size)
		account := budget.Account("translate")
		h := New(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
			if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1}); err != nil {
				return err
			}
			for _, e := range []string{text, image} {
				if err := out.Send([]llm.Event{{Raw: []byte(e + "\n\n")}}); err != nil {
					return err
				}
				if held := account.Held(); held > 16<<10 {
					t.Errorf("%d bytes are reserved between events", held)
				}
			}
			return nil
		}), Options{To: llm.GenerateContent, MaxReply: 32 << 20, Buffers: new(memory.Buffers), Account: account})
		req := request(asked)
		req.Op, req.Path, req.Stream = llm.Chat, "/v1/chat/completions", true
		most := int64(0)
		reply := watched{onSend: func() { most = max(most, account.Held()) }}
		err := h.Serve(t.Context(), req, &reply)
		var e *llm.Error
		if errors.As(err, &e); (e == nil) != (fault == llm.Declined) || e != nil && e.Fault != fault {
			t.Errorf("in %d: %v", size, err)
		}
		if e == nil && most < int64(len(image)) {
			t.Errorf("%d bytes are reserved while an event of %d is sent", most, len(image))
		}
	}
}

// watched is a sink that looks at what is held when something is sent.
type watched struct {
	testkit.Reply
	onSend func()
}

func (w *watched) Send(events []llm.Event) error {
	w.onSend()
	return w.Reply.Send(events)
}

// TestWhatCountsAsMissing: a service lacks a route where it says so and answers the same
// request translated, be that with an error of its own; not where it could not be asked, where
// the model is what it lacks, or where only tokens were to be counted.
func TestWhatCountsAsMissing(t *testing.T) {
	answered := func(status int) error { return &llm.Error{Fault: llm.Answered, Status: status} }
	for name, c := range map[string]struct {
		op   llm.Operation
		chat error
		want int // requests in the client's dialect, of two
	}{
		"answered":           {llm.Messages, nil, 1},
		"answered, an error": {llm.Messages, answered(429), 1},
		"no such model":      {llm.Messages, answered(404), 2},
		"not reached":        {llm.Messages, &llm.Error{Fault: llm.Unreachable, Status: 502}, 2},
		"counted":            {llm.CountTokens, nil, 2},
	} {
		native := 0
		o := Options{To: llm.Chat, MaxReply: 1 << 20}
		o.Perhaps[llm.Messages], o.Perhaps[llm.CountTokens] = true, true
		h := New(llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
			if req.Op != llm.Chat {
				native++
				return answered(404)
			}
			if c.chat != nil {
				return c.chat
			}
			if err := out.Start(&llm.Head{Status: 200, Kind: llm.Unary}); err != nil {
				t.Error(err)
			}
			return out.Send([]llm.Event{{Raw: []byte(`{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}`)}})
		}), o)
		for range 2 {
			req := request(asked)
			req.Op = c.op
			if err := h.Serve(t.Context(), req, new(testkit.Reply)); (err == nil) != (c.chat == nil) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if native != c.want {
			t.Errorf("%s: asked %d times in the client's dialect, want %d", name, native, c.want)
		}
	}
}

// TestStreamsThatEndTooEarly: what ends without saying why it ends was cut, whatever its
// service's connection looks like.
func TestStreamsThatEndTooEarly(t *testing.T) {
	var calls strings.Builder
	for i := range 4097 {
		fmt.Fprintf(&calls, `%.*s{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}`, min(i, 1), ",", i, i)
	}
	for name, c := range map[string]struct {
		events []string
		fault  llm.Fault
		ended  bool // the client was told by an event
	}{
		"whole":                {[]string{begins, stops, done}, llm.Declined, false},
		"without a last event": {[]string{begins, stops}, llm.Declined, false},
		"nothing":              {nil, llm.Cut, false},
		"cut":                  {[]string{begins}, llm.Cut, false},
		"not JSON":             {[]string{begins, `data: {"choices":[{"ind`, stops, done}, llm.BadReply, false},
		"not JSON at first":    {[]string{`data: <html>`, begins, stops, done}, llm.BadReply, false},
		"too many calls":       {[]string{begins, `data: {"choices":[{"index":0,"delta":{"tool_calls":[` + calls.String() + `]}}]}`, stops, done}, llm.TooLarge, false},
		"failed at once":       {[]string{`data: {"error":{"message":"No."}}`}, llm.Told, false},
		"failed":               {[]string{begins, `data: {"error":{"message":"No."}}`}, llm.Told, true},
	} {
		for _, stream := range []bool{true, false} {
			h := New(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1}); err != nil {
					return err
				}
				for _, e := range c.events {
					if err := out.Send([]llm.Event{{Raw: []byte(e + "\n\n")}}); err != nil {
						return err
					}
				}
				return nil
			}), Options{To: llm.Chat, MaxReply: 1 << 20})
			req := request(asked)
			req.Stream = stream
			err := h.Serve(t.Context(), req, new(testkit.Reply))
			var e *llm.Error
			if errors.As(err, &e); (e == nil) != (c.fault == llm.Declined) || e != nil && (e.Fault != c.fault || e.Ended != (c.ended && stream)) {
				t.Errorf("%s, streamed %v: %+v", name, stream, e)
			}
		}
	}
}

// TestWholeRepliesThatAreNone: what says nothing of what was asked is no reply, be it JSON, and
// is not made one.
func TestWholeRepliesThatAreNone(t *testing.T) {
	calls := strings.Repeat(`{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},`, 4096)
	for body, want := range map[string]llm.Fault{
		`{}`: llm.BadReply, `[]`: llm.BadReply, `7`: llm.BadReply, `{"detail":"quota"}`: llm.BadReply, `{"choices":[],"content":[],"output":[],"candidates":[]}`: llm.BadReply,
		`{"choices":[7],"content":7,"output":"x","candidates":[7]}`: llm.BadReply, `{"choices":{},"content":{},"output":{},"candidates":{}}`: llm.BadReply,
		`{"choices":[{"message":{"content":null}}]}`: llm.BadReply, `{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}`: llm.Declined,
		`{"choices":[{"message":{"content":"a"}}]}`: llm.Declined,
		`{"choices":[{"message":{"tool_calls":[` + calls + calls[:len(calls)/4096-1] + `]},"finish_reason":"tool_calls"}]}`: llm.TooLarge,
	} {
		for op := range llm.Operations {
			if d := known.Of(op); d == nil || op != llm.Chat && want != llm.BadReply {
				continue
			}
			for _, stream := range []bool{false, true} {
				req := request(asked)
				if req.Stream = stream; op == llm.Messages {
					req.Op, req.Body = llm.Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"Is it?"}]}`)
				}
				h := New(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
					if err := out.Start(&llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(body))}); err != nil {
						return err
					}
					return out.Send([]llm.Event{{Raw: []byte(body)}})
				}), Options{To: op, MaxReply: 1 << 20})
				err := h.Serve(t.Context(), req, new(testkit.Reply))
				var e *llm.Error
				if errors.As(err, &e); (e == nil) != (want == llm.Declined) || e != nil && e.Fault != want {
					t.Errorf("%v, streamed %v, %.80s: %v", op, stream, body, err)
				}
			}
		}
	}
}
