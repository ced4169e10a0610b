package wire

import (
	"strings"
	"testing"

	"sluice/internal/front/engine"
	"sluice/internal/testkit"
)

// usual is a request as an SDK sends it.
const usual = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:8080\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n" +
	"Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.0\r\nx-stainless-lang: python\r\n" +
	"X-Stainless-Package-Version: 1.99.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n" +
	"X-Stainless-Runtime-Version: 3.12.3\r\nAuthorization: Bearer sk-0123456789abcdef0123456789abcdef\r\nX-Stainless-Async: false\r\n" +
	"x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: 600\r\n\r\n"

// looks is what is asked for of a header on the way of one request, about.
var looks = [...]string{"Authorization", "Content-Type", "Content-Encoding", "Accept", "Origin", "X-Request-Id", "Traceparent", "Idempotency-Key",
	"Cache-Control", "Pragma", "X-Forwarded-For", "X-Sluice-Priority", "Upgrade", "Connection", "User-Agent", "Expect"}

// framed is a body of 4 KiB in chunks of 256 bytes.
func framed() []byte {
	var b []byte
	for range 16 {
		b = AppendChunk(b, []byte(strings.Repeat("x", 256)))
	}
	return append(b, LastChunk...)
}

func replyHead() *engine.Head {
	h := &engine.Head{Status: 200, Length: -1}
	for _, name := range []string{"Content-Type", "Cache-Control", "X-Request-Id", "X-Accel-Buffering", "Server-Timing", "Openai-Model"} {
		h.Fields.Set(name, "some value of this field")
	}
	return h
}

// TestAllocations: a request's head costs its copy and nothing else, with the reply's
// head and both bodies nothing.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	h, body, out := new(Head), new(Body), make([]byte, 0, 8<<10)
	var q engine.Request
	for _, c := range []struct {
		name, text string
		most       float64
	}{
		{"usual", usual, 1},
		{"HTTP/1.0", "GET /healthz HTTP/1.0\r\nConnection: close, keep-alive, upgrade\r\nTrailer: a, b\r\nExpect: 100-continue\r\nHost: [2001:db8::1]:8080\r\n\r\n", 1},
		{"not whole", usual[:len(usual)-2], 0},
	} {
		b := []byte(c.text)
		if n := testing.AllocsPerRun(100, func() {
			h.Reset(Limits{})
			for i := 100; i < len(b); i += 200 { // in pieces
				_, _ = h.Parse(b[:i])
			}
			if _, err := h.Parse(b); err != nil {
				t.Fatal(err)
			}
			h.Request(&q)
			for _, name := range looks {
				_ = q.Header.Values(name)
			}
			h.Each(func(string, []string) bool { return true })
		}); n > c.most {
			t.Errorf("%s: %v allocations, want %v", c.name, n, c.most)
		}
	}

	chunks, head, given := framed(), replyHead(), 0
	whole := &Head{Length: -1}
	if n := testing.AllocsPerRun(100, func() {
		body.Begin(whole)
		for rest := chunks; !body.Whole(); {
			data, n, err := body.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			given += len(data)
			rest = rest[n:]
		}
		r := Reply{Minor: 1}
		out, _ = r.AppendHead(out[:0], head, date)
		out = append(AppendChunk(out, chunks), LastChunk...)
	}); n > 0 || given%(4<<10) != 0 {
		t.Errorf("%v allocations for a body and a reply, %d bytes given", n, given)
	}
}

func BenchmarkHead(b *testing.B) {
	h := new(Head)
	buf := []byte(usual)
	var q engine.Request
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		h.Reset(Limits{})
		if _, err := h.Parse(buf); err != nil {
			b.Fatal(err)
		}
		h.Request(&q)
	}
}

func BenchmarkValues(b *testing.B) {
	h := new(Head)
	if _, err := parse(h, usual, Limits{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, name := range looks {
			_ = h.Values(name)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	chunks, h, body := framed(), &Head{Length: -1}, new(Body)
	b.SetBytes(int64(len(chunks)))
	b.ReportAllocs()
	for b.Loop() {
		body.Begin(h)
		for rest := chunks; !body.Whole(); {
			_, n, err := body.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}

func BenchmarkReply(b *testing.B) {
	h, out := replyHead(), make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		r := Reply{Minor: 1}
		out, _ = r.AppendHead(out[:0], h, date)
	}
}
