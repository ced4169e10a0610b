package cache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// TestKeyOfAlt: how an answer is written is in its key, how it is delivered is not.
func TestKeyOfAlt(t *testing.T) {
	k := newKeyer()
	keyOf := func(query string) Key {
		key, ok := k.key(chat("hi", func(r *llm.Request) { r.Op, r.RawQuery = llm.GenerateContent, query }), ScopeKey, [32]byte{}, false)
		if !ok {
			t.Fatalf("%q has no key", query)
		}
		return key
	}
	plain := keyOf("x=1")
	for query, same := range map[string]bool{
		"x=1&alt=json": true, "$alt=sse&x=1": true, "x=1&$alt=json;enum-encoding=int": false, "x=1&alt=sse%3Benum-encoding%3Dint": false,
	} {
		if (keyOf(query) == plain) != same {
			t.Errorf("%s: the same key is %v", query, !same)
		}
	}
}

// A request that has passed gateways may be refused for them, which is nobody's affair who has
// not: they share no call, and do share a reply.
func TestRefusedForItsHops(t *testing.T) {
	for name, req := range map[string]func(...func(*llm.Request)) *llm.Request{
		"chat": func(o ...func(*llm.Request)) *llm.Request { return chat("hi", o...) },
		"embedding": func(o ...func(*llm.Request)) *llm.Request {
			r := embed(`["a","b"]`)
			for _, f := range o {
				f(r)
			}
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				looped := llm.Errorf(508, "loop_detected", "x")
				f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
					time.Sleep(time.Second)
					switch {
					case r.Get(llm.LoopField) == "sluice-b":
						return looped
					case r.Op == llm.Embedding:
						return embedded("")(ctx, n, r, out)
					default:
						return answer(out, chatReply("x"))
					}
				}
				hops := func(hops string) func(*llm.Request) {
					return func(r *llm.Request) {
						if hops != "" {
							r.Header = append(r.Header, llm.Field{Name: llm.LoopField, Value: hops})
						}
					}
				}
				var all sync.WaitGroup
				for i, said := range []string{"sluice-b", "sluice-b", "", "", "sluice-a"} {
					all.Go(func() {
						time.Sleep(time.Duration(i) * time.Millisecond)
						err := f.stage.Serve(context.Background(), req(hops(said)), &client{})
						if refused := errors.Is(err, looped); refused != (said == "sluice-b") || err != nil && !refused {
							t.Errorf("caller %d, %q: %v", i, said, err)
						}
					})
				}
				all.Wait()
				if c := f.ask(t, req(hops("sluice-b"))); f.up.count() != 3 || c.head.Cache != llm.CacheHit {
					t.Errorf("%d calls, then %v", f.up.count(), c.head.Cache)
				}
			})
		})
	}
}

// A stream that ends without saying that it is whole is cut for who reads what the gateway
// closes, and passes for others: they share its reply once it is known, and no call.
func TestClosedSharesNoCall(t *testing.T) {
	k := newKeyer()
	keys := func(closed bool) (stored, shared Key) {
		req := chat("hi", func(r *llm.Request) { r.Op, r.Closed = llm.GenerateContent, closed })
		stored, ok := k.key(req, ScopeKey, [32]byte{}, false)
		if !ok {
			t.Fatal("no key")
		}
		return stored, k.sharedKey(stored, req)
	}
	open, openShared := keys(false)
	closed, closedShared := keys(true)
	if open != closed || openShared != open || closedShared == openShared {
		t.Errorf("keys %x, %x, shared calls %x, %x", open[:4], closed[:4], openShared[:4], closedShared[:4])
	}
}
