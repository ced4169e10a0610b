package ratelimit

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/monotonic"
	"sluice/internal/testkit"
)

const withUsage = `{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":12}}`

// answers makes a handler of a reply and of what it ends with.
func answers(head llm.Head, err error, events ...string) handler {
	return func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if head.Status == 0 {
			return err
		}
		if e := out.Start(&head); e != nil {
			return e
		}
		for _, text := range events {
			if e := out.Send([]llm.Event{{Raw: []byte(text)}}); e != nil {
				return e
			}
		}
		return err
	}
}

func failed(f llm.Fault, status int) *llm.Error {
	e := llm.UpstreamError("up", f, status, "x", "%s", nil)
	e.Unprocessed = f == llm.Busy || f == llm.Unreachable
	return e
}

// TestUsed: a call costs what its reply says it took; where it does not say, about
// what went in and came out; and nothing where nothing was sent or the upstream
// refused it.
func TestUsed(t *testing.T) {
	body := `{"model":"m","max_tokens":100,"messages":[{"content":"0123456789"}]}` // 17 and 100
	whole := llm.Head{Status: 200, Kind: llm.Unary}
	stream := llm.Head{Status: 200, Kind: llm.EventStream}
	pieces := llm.Head{Status: 200, Kind: llm.Pieces, Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	audio := llm.Head{Status: 200, Kind: llm.Pieces, Header: []llm.Field{{Name: "Content-Type", Value: "audio/mpeg"}}}
	delta := "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n"
	for what, c := range map[string]struct {
		op   llm.Operation
		next handler
		used float64
	}{
		"a whole reply":                       {llm.Chat, answers(whole, nil, withUsage), 42},
		"a whole reply that does not say":     {llm.Chat, answers(whole, nil, "0123456789abcdef"), 17 + 4},
		"an embedding":                        {llm.Embedding, answers(whole, nil, `{"data":[],"usage":{"prompt_tokens":9,"total_tokens":9}}`), 9},
		"an embedding that does not say":      {llm.Embedding, answers(whole, nil, `{"data":[1,2,3,4,5,6,7,8,9]}`), 17},
		"a stream that says at its end":       {llm.Chat, answers(stream, nil, delta, delta, "data: "+withUsage+"\n\n", "data: [DONE]\n\n"), 42},
		"a message whose input had a cache":   {llm.Messages, answers(stream, nil, "data: {\"message\":{\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":1000}}}\n\n", "data: {\"usage\":{\"input_tokens\":3,\"output_tokens\":20}}\n\n"), 1023},
		"a stream that never says":            {llm.Chat, answers(stream, nil, delta, delta, delta, delta, "data: [DONE]\n\n"), 17 + 5},
		"a stream that is cut":                {llm.Chat, answers(stream, failed(llm.Cut, 502), delta, delta), 17 + 2},
		"a stream whose client leaves":        {llm.Chat, answers(stream, context.Canceled, delta, delta, delta), 17 + 3},
		"pieces":                              {llm.Passthrough, answers(pieces, nil, withUsage[:20], withUsage[20:50], withUsage[50:]), 42},
		"pieces that do not say":              {llm.Passthrough, answers(pieces, nil, `{"a":`, `1}`), 117},
		"audio":                               {llm.Passthrough, answers(audio, nil, withUsage), 117},
		"an error that is handed on":          {llm.Passthrough, answers(llm.Head{Status: 400, Kind: llm.Pieces}, nil, `{}`), 0},
		"an upstream's refusal":               {llm.Chat, answers(llm.Head{}, failed(llm.Answered, 400)), 0},
		"an upstream's limit":                 {llm.Chat, answers(llm.Head{}, failed(llm.Answered, 429)), 0},
		"an upstream that is not there":       {llm.Chat, answers(llm.Head{}, failed(llm.Unreachable, 502)), 0},
		"an upstream that has enough to do":   {llm.Chat, answers(llm.Head{}, failed(llm.Busy, 503)), 0},
		"a refusal of the gateway's":          {llm.Chat, answers(llm.Head{}, llm.Errorf(404, "model_not_found", "x")), 0},
		"an upstream that does not answer":    {llm.Chat, answers(llm.Head{}, failed(llm.TimedOut, 504)), 17},
		"a reply that is nonsense":            {llm.Chat, answers(llm.Head{}, failed(llm.BadReply, 502)), 17},
		"an event that tells of an error":     {llm.Chat, answers(llm.Head{}, failed(llm.Told, 500)), 17},
		"a client that leaves before a reply": {llm.Chat, answers(llm.Head{}, context.Canceled), 17},
		"one that had waited for its turn":    {llm.Chat, answers(llm.Head{}, llm.After(context.Canceled, time.Second, 0, 0)), 17},
		"one that leaves before its turn":     {llm.Chat, answers(llm.Head{}, llm.After(llm.Unsent(context.Canceled), time.Second, 0, 0)), 0},
		"a fault":                             {llm.Chat, answers(llm.Head{}, io.ErrUnexpectedEOF), 17},
		"a fault after a wait":                {llm.Chat, answers(llm.Head{}, llm.After(io.ErrUnexpectedEOF, time.Second, 0, 0)), 17},
	} {
		synctest.Test(t, func(t *testing.T) {
			shared := &memory{clock: monotonic.New()}
			l, k := one(t, config(nil), 100, 10_000, Options{})
			l.store = shared
			req := &llm.Request{Op: c.op, Method: "POST", Body: []byte(body), Meter: k}
			_ = l.Stage(c.next).Serve(t.Context(), req, nothing{})
			_, tok := k.Left()
			if used := k.account.own[tokens]; used != c.used || tok.Left != 10_000-int64(c.used) || k.account.own[requests] != 1 {
				t.Errorf("%s: %v tokens and %v requests, not %v", what, used, k.account.own[requests], c.used)
			}
			if shared.levels[tokens]+k.account.owed[tokens] != c.used {
				t.Errorf("%s: others are told of %v and %v", what, shared.levels[tokens], k.account.owed[tokens])
			}
			if est, used := l.estimated.Load(), l.used.Load(); float64(used) != c.used || est < 17 {
				t.Errorf("%s: figures: %d estimated, %d used", what, est, used)
			}
		})
	}
}

// TestLeft: a client that has left before its call went out pays nothing for it.
func TestLeft(t *testing.T) {
	l, k := one(t, config(nil), 100, 10_000, Options{})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	err := l.Stage(handler(func(context.Context, *llm.Request, llm.Sink) error {
		t.Error("it was sent")
		return nil
	})).Serve(ctx, &llm.Request{Op: llm.Chat, Method: "POST", Body: []byte(`{"max_tokens":9}`), Meter: k}, nothing{})
	if !errors.Is(err, context.Canceled) || k.account.own[tokens] != 0 {
		t.Errorf("%v, and %v tokens are used", err, k.account.own[tokens])
	}
}

// TestFree: what has no meter, and lists of models, are not counted; what is refused
// goes no further.
func TestFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, k := one(t, config(nil), 1, 0, Options{})
		n := 0
		h := l.Stage(handler(func(context.Context, *llm.Request, llm.Sink) error { n++; return nil }))
		for _, req := range []*llm.Request{
			{Op: llm.Chat}, {Op: llm.ListModels, Meter: k}, {Op: llm.GetModel, Meter: k}, {Op: llm.Chat, Meter: k},
		} {
			if err := h.Serve(t.Context(), req, nothing{}); err != nil {
				t.Error(err)
			}
		}
		if err := h.Serve(t.Context(), &llm.Request{Op: llm.Passthrough, Method: "GET", Meter: k}, nothing{}); refusal(err) == nil || n != 4 {
			t.Errorf("%v, and %d were sent", err, n)
		}
		time.Sleep(time.Minute)
		if err := h.Serve(t.Context(), &llm.Request{Op: llm.Passthrough, Method: "GET", Meter: k}, nothing{}); err != nil || n != 5 {
			t.Errorf("%v, and %d were sent", err, n)
		}
	})
}

// TestCountsAreFree: to ask how many tokens a request has takes a request and no tokens,
// however large it is.
func TestCountsAreFree(t *testing.T) {
	for _, op := range []llm.Operation{llm.CountTokens, llm.CountContentTokens, llm.CountInputTokens} {
		l, k := one(t, config(nil), 1, 10, Options{})
		h := l.Stage(answers(llm.Head{Status: 200, Kind: llm.Unary}, nil, `{"input_tokens":30,"totalTokens":30,"usage":{"input_tokens":30}}`))
		req := &llm.Request{Op: op, Method: "POST", Body: []byte(`{"max_tokens":100,"messages":"` + strings.Repeat("word ", 1000) + `"}`), Meter: k}
		if err := h.Serve(t.Context(), req, nothing{}); err != nil || k.account.own[tokens] != 0 || k.account.own[requests] != 1 {
			t.Errorf("%v: %v, %v tokens and %v requests", op, err, k.account.own[tokens], k.account.own[requests])
		}
		if err := h.Serve(t.Context(), req, nothing{}); refusal(err) == nil {
			t.Errorf("%v: the second is not refused: %v", op, err)
		}
	}
}

// check has one call of a key go through the stage.
func check(tb testing.TB, l *Limits, k *Key) func() {
	reply := []llm.Event{{Raw: []byte(withUsage)}}
	head := &llm.Head{Status: 200, Kind: llm.Unary}
	h := l.Stage(handler(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(head); err != nil {
			return err
		}
		return out.Send(reply)
	}))
	req := &llm.Request{Op: llm.Chat, Method: "POST", Body: []byte(`{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"tell me more"}]}`)}
	if k != nil {
		req.Meter = k
	}
	return func() {
		if err := h.Serve(tb.Context(), req, nothing{}); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestAllocations: a call of a key costs nothing on the heap, limited or not.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	l, k := one(t, config(nil), maxPerMinute, maxPerMinute, Options{})
	for what, of := range map[string]*Key{"limited": k, "not limited": nil} {
		if n := testing.AllocsPerRun(1000, check(t, l, of)); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	l, k := one(b, config(nil), maxPerMinute, maxPerMinute, Options{})
	_, requestsOnly := one(b, config(nil), maxPerMinute, 0, Options{})
	for what, of := range map[string]*Key{"limited": k, "requests": requestsOnly, "none": nil} {
		b.Run(what, func(b *testing.B) {
			f := check(b, l, of)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
