package main

import (
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
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/bench/process"
)

// What the mapped upstreams of "bench mapped" speak.
const (
	mappedSchema = `syntax = "proto3";
package bench;
service Model { rpc Chat(Ask) returns (stream Chunk); rpc Complete(Ask) returns (Chunk); }
message Ask { string model = 1; repeated Line lines = 2; optional float temperature = 3; }
message Line { string role = 1; string text = 2; }
message Chunk { repeated Choice choices = 1; int64 heard = 2; int64 said = 3; }
message Choice { int32 index = 1; string text = 2; string end = 3; }
`
	mappedMapping = `model:
  call: {unary: bench.Model/Complete, stream: bench.Model/Chat}
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

// mappedReply is the whole reply to a call that is no stream, of 400 bytes of text.
func mappedReply() []byte { return mappedChunk(" word"+strings.Repeat(" and more", 44), 100) }

// frame puts a message into a frame of gRPC.
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// paced answers each request with so many events at a distance, one for a call that is no
// stream with a reply.
func paced(events int, apart time.Duration, kind string, event func(i int) []byte, end string) http.Handler {
	reply := frame(mappedReply())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		if kind == "application/grpc" {
			w.Header().Set("Trailer", "Grpc-Status")
		}
		defer w.Header().Set("Grpc-Status", "0")
		if strings.HasSuffix(r.URL.Path, "/Complete") {
			w.Write(reply)
			return
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
	})
}

// mappedKind is a way in which events come.
type mappedKind struct {
	name, protocol string
	h              http.Handler
}

func mappedKinds(events int, apart time.Duration) []mappedKind {
	word := func(i int) string { return " word" + fmt.Sprint(i%100) }
	chunk := func(i int) []byte { return mappedChunk(word(i), uint64(i)) }
	return []mappedKind{
		{"openai", "protocol: openai", paced(events, apart, "text/event-stream", func(i int) []byte {
			return fmt.Appendf(nil, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":%q},"logprobs":null,"finish_reason":null}]}`+"\n\n", word(i))
		}, "data: [DONE]\n\n")},
		{"grpc", "protocol: grpc", paced(events, apart, "application/grpc", func(i int) []byte { return frame(chunk(i)) }, "")},
		{"protobuf-http", "protocol: protobuf-http, unary_reply: binary, stream_reply: sse-base64", paced(events, apart, "text/event-stream", func(i int) []byte {
			return fmt.Appendf(nil, "data: %s\n\n", base64.StdEncoding.EncodeToString(chunk(i)))
		}, "data: [DONE]\n\n")},
	}
}

// mapped compares what an event of a stream costs the gateway that comes as protobuf with
// one that comes as OpenAI's, and what vanguard takes for the same server's messages.
func mapped(ctx context.Context, w io.Writer, args []string) error {
	p := plan{mockKind: mockNetHTTP}
	flags := flag.NewFlagSet("bench mapped", flag.ExitOnError)
	p.flags(flags)
	events, apart := 400, 10*time.Millisecond
	flags.IntVar(&events, "events", events, "events of a stream")
	flags.DurationVar(&apart, "apart", apart, "time between two of them")
	p.calls = 100
	flags.IntVar(&p.calls, "calls", p.calls, "calls without a stream that each connection makes in a round")
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
	sluice, grpc, err := l.startMapped(ctx, mappedKinds(events, apart))
	if err != nil {
		return err
	}
	defer process.Stop(sluice.cmd)
	other, err := l.startVanguard(ctx, grpc)
	if err != nil {
		return err
	}
	defer process.Stop(other.cmd)
	streams := []mappedLine{
		{"`openai`", sluice, openAIAsker("openai", true)}, {"`grpc`", sluice, openAIAsker("grpc", true)},
		{"`protobuf-http`", sluice, openAIAsker("protobuf-http", true)}, {"vanguard, Connect's JSON from gRPC", other, connectAsker(true)},
	}
	if err := p.compare(ctx, w, "event of a stream", streams, 1, events); err != nil {
		return err
	}
	fmt.Fprintln(w)
	calls := []mappedLine{{"`grpc`", sluice, openAIAsker("grpc", false)}, {"vanguard, Connect's JSON from gRPC", other, connectAsker(false)}}
	return p.compare(ctx, w, "call without a stream", calls, p.calls, 1)
}

// mappedLine is a line of a table.
type mappedLine struct {
	name string
	*proxy
	*asker
}

// compare prints what a reply costs each, of so many requests of each connection with so
// many replies.
func (p *plan) compare(ctx context.Context, w io.Writer, what string, lines []mappedLine, requests, replies int) error {
	costs := make([][]float64, len(lines))
	ratios := make([][]float64, len(lines))
	for round := range p.rounds {
		for i, line := range lines {
			c, err := askedEach(ctx, line.proxy, line.asker, round, p.conns, requests, replies)
			if err != nil {
				return err
			}
			costs[i] = append(costs[i], c)
			ratios[i] = append(ratios[i], c/costs[0][round])
		}
	}
	fmt.Fprintf(w, "| %s | CPU µs | beside the first, in the same round |\n| --- | ---: | ---: |\n", what)
	for i, line := range lines {
		fmt.Fprintf(w, "| %s | %.1f | %.2f (%.2f–%.2f) |\n", line.name, median(costs[i]), median(ratios[i]), slices.Min(ratios[i]), slices.Max(ratios[i]))
	}
	return nil
}

// startMapped starts a Sluice with an upstream of each kind, and gives the address of that
// which speaks gRPC.
func (l *lab) startMapped(ctx context.Context, kinds []mappedKind) (sluice *proxy, grpc string, err error) {
	for name, text := range map[string]string{"bench.proto": mappedSchema, "bench.yaml": mappedMapping} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			return nil, "", err
		}
	}
	var entries []string
	for _, k := range kinds {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, "", err
		}
		s := &http.Server{Handler: k.h, Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		go s.Serve(listener)
		context.AfterFunc(ctx, func() { s.Close() })
		more := ""
		if k.name != "openai" {
			more = fmt.Sprintf(", mapping: %q, schema: %q", filepath.Join(l.dir, "bench.yaml"), filepath.Join(l.dir, "bench.proto"))
		}
		if k.name == "grpc" {
			grpc = listener.Addr().String()
		}
		entries = append(entries, fmt.Sprintf("  - {name: %s, %s, base_url: \"http://%s\", models: [%s]%s}\n", k.name, k.protocol, listener.Addr(), k.name, more))
	}
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	set := l.passing()
	set.cpus, set.upstreams = proxied, strings.Join(entries, "")
	sluice, err = l.startSluice(ctx, set, addr, l.variants[0])
	return sluice, grpc, err
}
