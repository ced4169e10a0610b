package protobuf

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sluice/internal/grpc"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// TestMemory: what becomes of a request, and of a reply, is reserved before it is there.
// It is refused as memory is elsewhere, and all is given back.
func TestMemory(t *testing.T) {
	b := new(memory.Budget)
	b.Resize(1 << 20)
	account := b.Account("buffers")
	h, s := grok(t, &memory.Buffers{Account: account})
	chat := func(content string) *llm.Request {
		return &llm.Request{Op: llm.Chat, Stream: true, ID: "req_1", Model: "grok", Body: []byte(`{"messages":[{"role":"user","content":"` + content + `"}]}`)}
	}
	parts := `{"messages":[{"role":"user","content":[` + strings.Repeat(`{"type":"text","text":"x"},`, 20_000) + `{}]}]}`
	for _, one := range []struct {
		name string
		work func(x *exchange) error
		lack bool
	}{
		{"a request", func(x *exchange) error { return x.compose(s, chat("Hi")) }, false},
		{"a large request", func(x *exchange) error { return x.compose(s, chat(strings.Repeat("x", 100<<10))) }, false},
		{"a request of many parts", func(x *exchange) error {
			r := chat("")
			r.Body = []byte(parts)
			return x.compose(s, r)
		}, true},
		{"a message", func(x *exchange) error { return x.chunk([]byte{2<<3 | 2, 0}) }, false},
		{"a message of many parts", func(x *exchange) error { return x.chunk(bytes.Repeat([]byte{2<<3 | 2, 0}, 1<<20)) }, true},
	} {
		x := new(exchange)
		x.begin(h, s.stream, chat(""))
		err := one.work(x)
		if e := llm.AsError(err); one.lack != (err != nil) || one.lack && (e.Status != 503 || e.Fault != llm.Lacking || e.Code != "gateway_overloaded") {
			t.Errorf("%s: %v", one.name, err)
		}
		x.end()
		if n := account.Held(); n != 0 {
			t.Errorf("%s: %d bytes are still reserved", one.name, n)
		}
	}
}

// TestMemoryOfCompressed: so is what a message was before it was compressed.
func TestMemoryOfCompressed(t *testing.T) {
	packed, err := grpc.Compress(bytes.Repeat([]byte("x"), 3<<20))
	if err != nil {
		t.Fatal(err)
	}
	frame := append(appendFrameHead(nil, len(packed), true), packed...)
	for _, c := range []struct {
		budget int64
		most   int
		want   string
	}{
		{1 << 20, 4 << 20, "gateway_overloaded"},
		{16 << 20, 4 << 20, ""},
		{16 << 20, 2 << 20, "a message is larger than max"},
	} {
		b := new(memory.Budget)
		b.Resize(c.budget)
		account := b.Account("buffers")
		f := &frames{most: c.most, coding: codingGzip, kept: kept{buffers: &memory.Buffers{Account: account}}}
		pieces := [][]byte{frame, frame}
		message, err := f.next(func() ([]byte, error) {
			p := pieces[0]
			pieces = pieces[1:]
			return p, nil
		})
		e, _ := errors.AsType[*llm.Error](err)
		if c.want == "" && (err != nil || len(message) != 3<<20) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) && (e == nil || e.Code != c.want)) {
			t.Errorf("%d bytes, %v, want %s", len(message), err, c.want)
		}
		if c.want == "" {
			kept, message, err := f.retain(message)
			if _, again := f.next(func() ([]byte, error) { return frame, nil }); err != nil || again != nil || len(message) != 3<<20 || bytes.Count(message, []byte("x")) != 3<<20 {
				t.Errorf("%d bytes, %v, %v", len(message), err, again)
			}
			f.buffers.Put(kept)
		}
		if f.drop(); account.Held() != 0 {
			t.Errorf("%d bytes are still reserved", account.Held())
		}
	}
}
