package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// seen is an observer that keeps copies.
type seen chan perf.Exchange

func (s seen) Observe(x *perf.Exchange) {
	c := *x
	c.Body, c.Reply = bytes.Clone(x.Body), bytes.Clone(x.Reply)
	s <- c
}

func (s seen) next(t testing.TB) perf.Exchange {
	t.Helper()
	select {
	case x := <-s:
		return x
	case <-time.After(patience):
		t.Fatal("no exchange was observed")
		return perf.Exchange{}
	}
}

// TestObserve has requests end in every way.
func TestObserve(t *testing.T) {
	seen := make(seen, 1)
	routes := []Route{{Method: "GET", Path: ownPath, Handler: saying(`{}`)}}
	s := startWith(t, func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		switch req.Model {
		case "fail":
			return &llm.Error{Status: 429, Code: "slow_down", Message: "Later.", Upstream: "up", Attempts: 3, Waited: time.Hour}
		case "panic":
			panic("boom")
		}
		if !req.Stream {
			return sendUnary(out, `{"a":1}`)
		}
		_ = startStream(out)
		_ = out.Send(events("data: 1\n\n"))
		switch req.Model {
		case "cut":
			return errors.New("cut")
		case "panic late":
			panic("boom")
		}
		return nil
	}, Options{Observers: []perf.Observer{seen}, KeepReplies: func() bool { return true }, Routes: routes}, withAdmin)
	for _, e := range engines {
		client := e.client(t, s)
		for _, c := range []struct {
			method, path, key, body string
			want                    perf.Exchange
		}{
			{"POST", chatPath, "key-team", chatBody, perf.Exchange{Op: llm.Chat, Tenant: "team", Model: "m", Status: 200, Upstream: "up", Reply: []byte(`{"a":1}`), BytesOut: 7, HasOverhead: true}},
			{"POST", chatPath, "key-team", streamBody, perf.Exchange{Op: llm.Chat, Tenant: "team", Model: "m", Status: 200, Upstream: "up", Stream: true, BytesOut: 9, HasOverhead: true}},
			{"POST", chatPath, "key-team", `{"model":"fail"}`, perf.Exchange{Op: llm.Chat, Tenant: "team", Model: "fail", Status: 429, Code: "slow_down", Upstream: "up", Attempts: 3}},
			{"POST", chatPath, "key-team", `{"model":"panic"}`, perf.Exchange{Op: llm.Chat, Tenant: "team", Model: "panic", Status: 500, Code: "internal_error"}},
			{"POST", chatPath, "key-team", `{"model":"cut","stream":true}`, perf.Exchange{Op: llm.Chat, Tenant: "team", Model: "cut", Status: 200, Code: "internal_error", Aborted: "internal", Late: 500, Upstream: "up", Stream: true, HasOverhead: true}},
			{"POST", chatPath, "key-team", `{"model":"panic late","stream":true}`, perf.Exchange{Op: llm.Chat, Tenant: "team", Model: "panic late", Status: 200, Code: "internal_error", Aborted: "internal", Late: 500, Upstream: "up", Stream: true, HasOverhead: true}},
			{"POST", chatPath, "key-else", "", perf.Exchange{Status: 401, Code: "invalid_api_key"}},
			{"GET", "/a%2fb", "key-team", "", perf.Exchange{Status: 404, Code: "unknown_url"}},
			{"GET", ownPath, "key-boss", "", perf.Exchange{Tenant: "boss", Status: 200, Own: true, BytesOut: 2}},
		} {
			req := newRequest(t, t.Context(), c.method, s.url(c.path), c.body)
			req.Header.Set("Authorization", "Bearer "+c.key)
			req.Header.Set("X-Request-Id", "mine")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			reply, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if (err != nil) != (c.want.Aborted != "") {
				t.Errorf("%s %s %s: %v", e.name, c.path, c.body, err)
			}
			got, want := seen.next(t), c.want
			if c.want.Code != "" {
				want.BytesOut = int64(len(reply))
				if !c.want.Stream {
					want.Reply = reply
				}
			}
			if got.ID != "mine" || got.Method != c.method || got.Path != c.path || got.Client == "" || got.Begun.IsZero() || got.Total <= 0 ||
				got.First <= 0 || got.First > got.Total || got.Receiving > got.First || got.Waiting > got.First || (got.Waiting > 0) != (got.Attempts > 0) || got.Overhead < 0 {
				t.Errorf("%s %s %s: %+v", e.name, c.path, c.body, got)
			}
			if want.Status != 401 && (string(got.Body) != c.body || got.BytesIn != int64(len(c.body))) {
				t.Errorf("%s %s: body %q of %d bytes", e.name, c.path, got.Body, got.BytesIn)
			}
			if got.Op != want.Op || got.Tenant != want.Tenant || got.Model != want.Model || got.Status != want.Status || got.Code != want.Code ||
				got.Aborted != want.Aborted || got.Late != want.Late || got.Own != want.Own || got.Stream != want.Stream || got.Upstream != want.Upstream ||
				got.Attempts != want.Attempts || got.BytesOut != want.BytesOut || got.HasOverhead != want.HasOverhead || !bytes.Equal(got.Reply, want.Reply) {
				t.Errorf("%s %s %s:\n got %+v\nwant %+v", e.name, c.path, c.body, got, want)
			}
		}
	}
}

// TestObserveLeft: a client that leaves has no status before a reply has begun,
// and keeps it after.
func TestObserveLeft(t *testing.T) {
	seen := make(seen, 1)
	s := startWith(t, func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		if req.Stream {
			return held(nil)(ctx, req, out)
		}
		<-ctx.Done()
		return ctx.Err()
	}, Options{Observers: []perf.Observer{seen}})
	for _, e := range engines {
		client := e.client(t, s)
		ctx, leave := context.WithCancel(t.Context())
		resp := s.open(t, ctx, e, chatPath)
		nextEvent(t, bufio.NewReader(resp.Body))
		leave()
		if x := seen.next(t); x.Status != 200 || x.Aborted != "client_left" || !x.Stream {
			t.Errorf("%s, after the reply began: %+v", e.name, x)
		}
		ctx, leave = context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, leave)
		if _, err := client.Do(newRequest(t, ctx, "POST", s.url(chatPath), chatBody)); err == nil {
			t.Error("there was a reply")
		}
		if x := seen.next(t); x.Status != 0 || x.First != 0 || x.HasOverhead || x.Aborted != "" {
			t.Errorf("%s, before the reply: %+v", e.name, x)
		}
	}
}

// TestRepliesAreCopiedOnlyWhenWanted, and none that is large.
func TestRepliesAreCopiedOnlyWhenWanted(t *testing.T) {
	wanted, seen, body := false, make(seen, 1), ""
	s := startWith(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		b := []byte(body)
		err := sendUnary(out, string(b))
		clear(b) // they are the handler's again
		return err
	}, Options{Observers: []perf.Observer{seen}, KeepReplies: func() bool { return wanted }})
	client := h1(t, s)
	for _, c := range []struct {
		size   int
		wanted bool
		kept   int
	}{{100, false, 0}, {100, true, 100}, {maxKeptReply, true, maxKeptReply}, {maxKeptReply + 1, true, 0}} {
		wanted, body = c.wanted, strings.Repeat("x", c.size)
		do(t, client, newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
		if x := seen.next(t); string(x.Reply) != body[:c.kept] || x.BytesOut != int64(c.size) {
			t.Errorf("%+v: %d bytes kept of %d", c, len(x.Reply), x.BytesOut)
		}
	}
}

// A client that has all of its reply may leave, whatever becomes of the handler.
func TestDeliveredIsNotLeft(t *testing.T) {
	for _, c := range []struct {
		name, said string
		stream     bool
		class      perf.Class
	}{
		{"whole", "", false, perf.Sound},
		{"stream", "data: [DONE]\n\n", true, perf.Sound},
		{"stream that goes on", "data: 1\n\n", true, perf.ClientLeft},
	} {
		for _, e := range engines {
			seen := make(seen, 1)
			s := startWith(t, func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				var err error
				if c.stream {
					err = errors.Join(startStream(out), out.Send(events(c.said)))
				} else {
					h := llm.Head{Status: 200, Length: int64(len(largeReply)), Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
					err = errors.Join(out.Start(&h), out.Send(events(largeReply)))
				}
				if err != nil {
					return err
				}
				<-ctx.Done()
				return ctx.Err()
			}, Options{Observers: []perf.Observer{seen}})
			n := len(c.said)
			if !c.stream {
				n = len(largeReply)
			}
			ctx, leave := context.WithCancel(t.Context())
			client := e.client(t, s)
			res, err := client.Do(newRequest(t, ctx, "POST", s.url(chatPath), streamBody))
			if err == nil {
				_, err = io.ReadFull(res.Body, make([]byte, n))
				leave()
				res.Body.Close()
				client.CloseIdleConnections() // where the client took the reply for whole too
			}
			if err != nil {
				t.Errorf("%s %s: %v", e.name, c.name, err)
			}
			leave()
			if x := seen.next(t); x.Class() != c.class || x.Status != 200 {
				t.Errorf("%s %s: of class %q, status %d, aborted %q", e.name, c.name, x.Class(), x.Status, x.Aborted)
			}
		}
	}
}

// largeReply does not fit into net/http's buffer, and so leaves before the handler
// returns.
var largeReply = `{"a":"` + strings.Repeat("x", 3*engineBuffer) + `"}`
