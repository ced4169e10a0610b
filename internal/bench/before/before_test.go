package before

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/internal/simulator"
)

// serve starts one in front of upstreams and gives its URL.
func serve(t *testing.T, o Options) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	o.Log, o.Connections, o.KeepAlive = slog.New(slog.DiscardHandler), 10, 5
	if o.Schema == nil {
		o.Schema = []byte("syntax = \"proto3\"; package demo; message Greeting { string name = 1; int64 at = 2; }")
	}
	addr, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- Serve(ctx, o, func(a net.Addr) { addr <- a }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + (<-addr).String()
}

func ask(t *testing.T, url, body string) (status int, reply string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestPasses: it is a sound gateway, for all that it lacks.
func TestPasses(t *testing.T) {
	model := httptest.NewServer(simulator.New(simulator.Config{}).Handler())
	defer model.Close()
	url := serve(t, Options{Upstreams: []string{model.URL}})
	const chat = `{"model":"sim-echo","messages":[{"role":"user","content":"one two three"}]`
	if status, reply := ask(t, url+"/v1/chat/completions", chat+"}"); status != 200 || !strings.Contains(reply, "one two three") {
		t.Errorf("%d %s", status, reply)
	}
	status, reply := ask(t, url+"/v1/chat/completions", chat+`,"stream":true}`)
	if status != 200 || !strings.HasSuffix(reply, "data: [DONE]\n\n") {
		t.Errorf("%d %s", status, reply)
	}
	text := ""
	for line := range strings.Lines(reply) {
		var event map[string]any
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &event) == nil {
			text += content(event)
		}
	}
	if text != "one two three" {
		t.Errorf("the stream's text is %q", text)
	}
	if status, reply := ask(t, url+"/v1/embeddings", `{"model":"sim-embed","input":"x"}`); status != 200 || !strings.Contains(reply, `"embedding"`) {
		t.Errorf("%d %s", status, reply)
	}
	if status, reply := ask(t, url+"/v1/chat/completions", `{"model":"none"}`); status != 404 || !strings.Contains(reply, "model_not_found") {
		t.Errorf("%d %s", status, reply)
	}
	for path, body := range map[string]string{"/v1/chat/completions": `{`, "/v1/embeddings": `{}`, "/v1/protobuf/decode": `{"data":"?"}`} {
		if status, reply := ask(t, url+path, body); status != 400 || !strings.Contains(reply, `"error"`) {
			t.Errorf("%s: %d %s", path, status, reply)
		}
	}
}

func TestDecodes(t *testing.T) {
	url := serve(t, Options{Upstreams: []string{"http://127.0.0.1:1"}})
	status, reply := ask(t, url+"/v1/protobuf/decode", `{"type":"demo.Greeting","data":"CgNBZGEQBw=="}`)
	var got struct{ Data struct{ Name, At string } }
	if err := json.Unmarshal([]byte(reply), &got); err != nil || status != 200 || got.Data.Name != "Ada" || got.Data.At != "7" {
		t.Errorf("%d %s, %v", status, reply, err)
	}
	if status, _ := ask(t, url+"/v1/protobuf/decode", `{"type":"demo.None","data":""}`); status != 404 {
		t.Errorf("an unknown type: %d", status)
	}
	if status, _ := ask(t, url+"/v1/chat/completions", `{"model":"m"}`); status != 502 {
		t.Errorf("no upstream: %d", status)
	}
}

// TestTurns: upstreams are asked in turn, and one that says nothing is not waited for.
func TestTurns(t *testing.T) {
	model := httptest.NewServer(simulator.New(simulator.Config{}).Handler())
	defer model.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the request is not seen
		<-r.Context().Done()
	}))
	defer silent.Close()
	url := serve(t, Options{Upstreams: []string{model.URL, silent.URL}, Patience: 50 * time.Millisecond})
	seen := map[int]int{}
	for range 6 {
		status, _ := ask(t, url+"/v1/chat/completions", `{"model":"sim-chat","messages":[{"role":"user","content":"x"}]}`)
		seen[status]++
	}
	if seen[200] != 3 || seen[502] != 3 {
		t.Errorf("%v", seen)
	}
}
