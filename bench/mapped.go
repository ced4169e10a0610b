package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// What the mapped upstreams of "bench mapped" speak.
const (
	mappedSchema = `syntax = "proto3";
package bench;
service Model { rpc Chat(Ask) returns (stream Chunk); }
message Ask { string model = 1; repeated Line lines = 2; optional float temperature = 3; }
message Line { string role = 1; string text = 2; }
message Chunk { repeated Choice choices = 1; int64 heard = 2; int64 said = 3; }
message Choice { int32 index = 1; string text = 2; string end = 3; }
`
	mappedMapping = `model:
  call: {stream: bench.Model/Chat}
  request:
    model: =upstream_model
    temperature: =req.?temperature
    lines: {$each: m in req.messages, role: =m.role, text: =m.content}
  response:
    choices: {$each: c in r.choices, index: =c.index, text: =c.text, finish: {$enum: =c.end, stop: stop}}
    usage: {prompt: =r.heard, completion: =r.said}
`
)

// mappedChunk is a message of the stream, with usage as services send it with each.
func mappedChunk(text string, said uint64) []byte {
	choice := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), text)
	b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), choice)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), 12)
	return protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), said)
}

// paced answers each request with so many events at a distance.
func paced(events int, apart time.Duration, kind string, event func(i int) []byte, end string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		if kind == "application/grpc" {
			w.Header().Set("Trailer", "Grpc-Status")
		}
		tick := time.NewTicker(apart)
		defer tick.Stop()
		flush := w.(http.Flusher)
		for i := range events {
			w.Write(event(i))
			flush.Flush()
			<-tick.C
		}
		io.WriteString(w, end)
		w.Header().Set("Grpc-Status", "0")
	})
}

// mapped compares what an event of a stream costs the gateway that comes as protobuf with
// one that comes as OpenAI's.
func mapped(ctx context.Context, w io.Writer, args []string) error {
	p := plan{mockKind: mockNetHTTP}
	flags := flag.NewFlagSet("bench mapped", flag.ExitOnError)
	p.flags(flags)
	events, apart := 400, 10*time.Millisecond
	flags.IntVar(&events, "events", events, "events of a stream")
	flags.DurationVar(&apart, "apart", apart, "time between two of them")
	flags.Parse(args)
	if err := p.check(); err != nil {
		return err
	}
	p.only = regexp.MustCompile("")
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	word := func(i int) string { return " word" + fmt.Sprint(i%100) }
	frame := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...) }
	chunk := func(i int) []byte { return mappedChunk(word(i), uint64(i)) }
	var entries []string
	kinds := []struct {
		name, protocol string
		h              http.Handler
	}{
		{"openai", "protocol: openai", paced(events, apart, "text/event-stream", func(i int) []byte {
			return fmt.Appendf(nil, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":%q},"logprobs":null,"finish_reason":null}]}`+"\n\n", word(i))
		}, "data: [DONE]\n\n")},
		{"grpc", "protocol: grpc", paced(events, apart, "application/grpc", func(i int) []byte { return frame(chunk(i)) }, "")},
		{"protobuf-http", "protocol: protobuf-http, stream_reply: sse-base64", paced(events, apart, "text/event-stream", func(i int) []byte {
			return fmt.Appendf(nil, "data: %s\n\n", base64.StdEncoding.EncodeToString(chunk(i)))
		}, "data: [DONE]\n\n")},
	}
	files := map[string]string{"bench.proto": mappedSchema, "bench.yaml": mappedMapping}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, k := range kinds {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s := &http.Server{Handler: k.h, Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		go s.Serve(listener)
		defer s.Close()
		more := ""
		if k.name != "openai" {
			more = fmt.Sprintf(", mapping: %q, schema: %q", filepath.Join(l.dir, "bench.yaml"), filepath.Join(l.dir, "bench.proto"))
		}
		entries = append(entries, fmt.Sprintf("  - {name: %s, %s, base_url: \"http://%s\", models: [%s]%s}\n", k.name, k.protocol, listener.Addr(), k.name, more))
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	set := l.passing()
	set.cpus, set.upstreams = proxied, strings.Join(entries, "")
	sluice, err := l.startSluice(ctx, set, addr, l.variants[0])
	if err != nil {
		return err
	}
	defer stop(sluice.cmd)
	fmt.Fprintf(w, "CPU of the whole gateway for an event of a stream; %d streams at a time of %d events, %v apart; median of %d rounds\n\n", p.conns, events, apart, p.rounds)
	var base float64
	costs := make([][]float64, len(kinds))
	for round := range p.rounds {
		for i, k := range kinds {
			c, err := streamed(ctx, sluice.pid(), "http://"+addr, k.name, round, p.conns, events)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			costs[i] = append(costs[i], c)
		}
	}
	for i, k := range kinds {
		m := median(costs[i])
		if i == 0 {
			base = m
		}
		fmt.Fprintf(w, "%-14s %6.2f µs   %.2f ×\n", k.name, m, m/base)
	}
	return nil
}

// streamed is what an event costs a process, in µs, of so many streams at a time, which are
// others in each round.
func streamed(ctx context.Context, pid int, url, model string, round, streams, events int) (float64, error) {
	before, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	var all sync.WaitGroup
	faults := make([]error, streams)
	for i := range streams {
		all.Go(func() {
			body := fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"stream %d of round %d of %s"}]}`, model, i, round, strings.Repeat("many ", 100))
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				faults[i] = err
				return
			}
			req.Header.Set("Authorization", "Bearer "+apiKey)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				faults[i] = err
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if n := bytes.Count(b, []byte(`"content":" word`)); err != nil || n != events {
				faults[i] = fmt.Errorf("status %d, %d of %d events: %w", resp.StatusCode, n, events, err)
			}
		})
	}
	all.Wait()
	for _, err := range faults {
		if err != nil {
			return 0, err
		}
	}
	after, err := cpuTime(pid)
	return float64((after - before).Microseconds()) / float64(streams*events), err
}
