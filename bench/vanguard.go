package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"connectrpc.com/vanguard"

	"github.com/bufbuild/protocompile"

	"sluice/bench/process"
)

// serveVanguard serves the schema's service for clients that speak Connect with JSON, in
// front of a server that speaks gRPC: vanguard's transcoder before a reverse proxy of the
// standard library.
func serveVanguard(addr, upstream string) error {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"bench.proto": mappedSchema})}}
	files, err := c.Compile(context.Background(), "bench.proto")
	if err != nil {
		return err
	}
	target, err := url.Parse("http://" + upstream)
	if err != nil {
		return err
	}
	http2 := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	http2.Protocols.SetUnencryptedHTTP2(true)
	proxy := &httputil.ReverseProxy{Transport: http2, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	service := vanguard.NewServiceWithSchema(files[0].Services().Get(0), proxy, vanguard.WithTargetProtocols(vanguard.ProtocolGRPC), vanguard.WithTargetCodecs(vanguard.CodecProto), vanguard.WithNoTargetCompression())
	t, err := vanguard.NewTranscoder([]*vanguard.Service{service}, vanguard.WithUnknownHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	if err != nil {
		return err
	}
	return (&http.Server{Addr: addr, Handler: t}).ListenAndServe()
}

// startVanguard runs serveVanguard where proxies run.
func (l *lab) startVanguard(ctx context.Context, upstream string) (*proxy, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	return l.startProxy(ctx, setup{}, "vanguard", target{addr: addr}, l.self, "vanguard", addr, upstream)
}

// asker makes the request number i of a client, and counts the replies in an answer.
type asker struct {
	path, kind string
	body       func(client, round, i int) string
	count      func(b []byte) int
}

// askedEach is what a reply costs a process, in µs, when so many clients at a time make so many
// requests each, whose answers have so many replies.
func askedEach(ctx context.Context, p *proxy, a *asker, round, clients, requests, replies int) (float64, error) {
	before, err := process.CPUTime(p.pid())
	if err != nil {
		return 0, err
	}
	var all sync.WaitGroup
	faults := make([]error, clients)
	for client := range clients {
		all.Go(func() {
			for i := 0; i < requests && faults[client] == nil; i++ {
				faults[client] = a.ask(ctx, p.addr, a.body(client, round, i), replies)
			}
		})
	}
	all.Wait()
	for _, err := range faults {
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	after, err := process.CPUTime(p.pid())
	return float64((after - before).Microseconds()) / float64(clients*requests*replies), err
}

func (a *asker) ask(ctx context.Context, addr, body string, replies int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+a.path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+process.APIKey)
	req.Header.Set("Content-Type", a.kind)
	req.Header.Set("Connect-Protocol-Version", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if n := a.count(b); err != nil || n != replies {
		return fmt.Errorf("status %d, %d of %d replies: %w: %.200s", resp.StatusCode, n, replies, err, b)
	}
	return nil
}

// words are texts that no two requests have.
func words(client, round, i int) string {
	return fmt.Sprintf("request %d of client %d in round %d of %s", i, client, round, strings.Repeat("many ", 100))
}

// The same question, as OpenAI's clients ask it and as the message's own JSON has it.
func openAIAsker(model string, stream bool) *asker {
	return &asker{
		path: "/v1/chat/completions", kind: "application/json",
		body: func(client, round, i int) string {
			return fmt.Sprintf(`{"model":%q,"stream":%v,"temperature":0.5,"messages":[{"role":"user","content":%q}]}`, model, stream, words(client, round, i))
		},
		count: func(b []byte) int { return bytes.Count(b, []byte(`"content":" word`)) },
	}
}

func connectAsker(stream bool) *asker {
	a := &asker{
		path: "/bench.Model/Complete", kind: "application/json",
		body: func(client, round, i int) string {
			return fmt.Sprintf(`{"model":"m","temperature":0.5,"lines":[{"role":"user","text":%q}]}`, words(client, round, i))
		},
		count: func(b []byte) int { return bytes.Count(b, []byte(`" word`)) },
	}
	if stream {
		body := a.body
		a.path, a.kind = "/bench.Model/Chat", "application/connect+json"
		a.body = func(client, round, i int) string {
			text := body(client, round, i)
			return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))) + text
		}
	}
	return a
}
