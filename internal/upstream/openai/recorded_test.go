package openai

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
	"sluice/internal/upstream/credentials"
)

// recording is a stream as a provider sent it.
type recording struct {
	file string
	op   llm.Operation
	body []byte
}

// recordings gives those whose provider speaks the OpenAI protocol.
func recordings(t testing.TB, streams testkit.Inputs) (all []recording) {
	t.Helper()
	ops := map[string]llm.Operation{
		"openai-chat": llm.Chat, "openai-completions": llm.Completion, "openai-responses": llm.Response,
	}
	for _, in := range streams.Streams(t) {
		if op, ok := ops[in.API]; ok {
			all = append(all, recording{in.Name, op, in.Body})
		}
	}
	return all
}

// replay serves one recording by its index, in pieces as mode says.
func replay(all []recording) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var i int
		_, _ = fmt.Sscan(r.Header.Get("X-Recording"), &i)
		w.Header().Set("Content-Type", "text/event-stream")
		rest, rnd := all[i].body, rand.New(rand.NewPCG(1, uint64(i)))
		for len(rest) > 0 {
			n := len(rest)
			switch r.Header.Get("X-Mode") {
			case "bytes":
				n = 1
			case "random":
				n = min(n, 1+rnd.IntN(400))
			}
			if _, err := w.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
			if r.Header.Get("X-Mode") != "whole" {
				w.(http.Flusher).Flush()
			}
		}
	}
}

func TestRecordedStreams(t *testing.T) { testkit.Each(t, testStreams) }

func testStreams(t *testing.T, in testkit.Inputs) {
	all := recordings(t, in)
	h := newHandler(t, server(t, replay(all)), nil)
	for _, mode := range []string{"whole", "random", "bytes"} {
		t.Run(mode, func(t *testing.T) {
			events, total := 0, 0
			for i, rec := range all {
				if mode == "bytes" && len(rec.body) > 4_000 {
					continue // each byte is a packet of its own; see TestRecordedStreamsByByte
				}
				req := chat(`{}`, true)
				req.Op = rec.op
				req.Header = append(req.Header, llm.Field{Name: "X-Recording", Value: fmt.Sprint(i)}, llm.Field{Name: "X-Mode", Value: mode})
				out, err := serve(t, h, req)
				if !sound(err) || out.head.Kind != llm.EventStream {
					t.Fatalf("%s: %v", rec.file, err)
				}
				if out.text() != string(rec.body) {
					t.Fatalf("%s: bytes differ", rec.file)
				}
				whole := new(sse.Splitter)
				want, err := whole.Feed(rec.body, nil)
				if err != nil {
					t.Fatal(err)
				}
				if n := len(want); len(out.events) < n || len(out.events) > n+1 {
					t.Errorf("%s: %d events, want %d", rec.file, len(out.events), n)
				}
				events, total = events+len(out.events), total+1
			}
			t.Logf("%d streams, %d events", total, events)
		})
	}
}

// bytewise is a body that comes in single bytes.
type bytewise struct{ rest []byte }

func (*bytewise) SetIdleTimeout(time.Duration) {}
func (*bytewise) Gather(time.Duration)         {}

func (b *bytewise) Next() ([]byte, error) {
	if len(b.rest) == 0 {
		return nil, io.EOF
	}
	piece := b.rest[:1]
	b.rest = b.rest[1:]
	return piece, nil
}

// sound reports whether a stream came to its end, be that an error that it tells of.
func sound(err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	return err == nil || ok && e.Fault == llm.Told && e.Ended
}

func TestRecordedStreamsByByte(t *testing.T) { testkit.Each(t, testStreamsByByte) }

func testStreamsByByte(t *testing.T, in testkit.Inputs) {
	for _, rec := range recordings(t, in) {
		s, out := &stream{api: known.StreamOf(rec.op), secrets: new(credentials.Secrets)}, new(sink)
		if err := s.run(&bytewise{rec.body}, out, "up"); !sound(err) || out.text() != string(rec.body) {
			t.Errorf("%s: bytes differ, %v", rec.file, err)
		}
	}
}

// TestRecordedStreamsCut cuts every recording inside its last third: none may
// be taken for whole.
func TestRecordedStreamsCut(t *testing.T) { testkit.Each(t, testStreamsCut) }

func testStreamsCut(t *testing.T, in testkit.Inputs) {
	all := recordings(t, in)
	for i := range all {
		all[i].body = all[i].body[:len(all[i].body)*2/3]
	}
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000000")
		replay(all)(w, r)
	})
	h := newHandler(t, base, nil)
	for i, rec := range all {
		req := chat(`{}`, true)
		req.Op = rec.op
		req.Header = append(req.Header, llm.Field{Name: "X-Recording", Value: fmt.Sprint(i)}, llm.Field{Name: "X-Mode", Value: "whole"})
		out, err := serve(t, h, req)
		wantError(t, out, err, 502, "upstream_cut")
		if got := out.text(); !strings.HasPrefix(string(rec.body), got) || got != "" && got[len(got)-1] != '\n' {
			t.Errorf("%s: %d of %d bytes sent", rec.file, len(got), len(rec.body))
		}
	}
}

func TestRecordedPairs(t *testing.T) { testkit.Each(t, testPairs) }

func testPairs(t *testing.T, in testkit.Inputs) {
	all := in.Pairs(t)
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		var i int
		_, _ = fmt.Sscan(r.Header.Get("X-Recording"), &i)
		if b, _ := io.ReadAll(r.Body); string(b) != all[i].Request {
			t.Errorf("pair %d: the request's bytes differ", i)
		}
		w.Header().Set("Content-Type", all[i].Header["content-type"])
		w.WriteHeader(all[i].Status)
		_, _ = io.WriteString(w, all[i].Response)
	})
	h := newHandler(t, base, nil)
	unary := 0
	for i, p := range all {
		if p.Status == 204 {
			continue
		}
		req := chat(p.Request, false)
		req.Header = append(req.Header, llm.Field{Name: "X-Recording", Value: fmt.Sprint(i)})
		out, err := serve(t, h, req)
		if p.Status >= 300 {
			if err == nil {
				t.Errorf("pair %d: status %d and no error", i, p.Status)
			}
			continue
		}
		if err != nil || out.text() != p.Response || out.head.Status != p.Status {
			t.Fatalf("pair %d: %d of %d bytes, %v", i, len(out.text()), len(p.Response), err)
		}
		if out.head.Kind == llm.Unary {
			unary++
		}
	}
	t.Logf("%d pairs, %d of them held whole", len(all), unary)
}
