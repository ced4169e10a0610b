package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/testkit"
	"sluice/internal/testkit/rpc"
)

// oracle is a service that no preset knows: it answers with what it was asked.
type oracle struct {
	mu    sync.Mutex
	calls []rpc.Call
	serve func(*rpc.Call) error // in place of its own way, nil for that
}

func (o *oracle) answer(r *rpc.Call) error {
	o.mu.Lock()
	o.calls = append(o.calls, *r)
	serve := o.serve
	o.mu.Unlock()
	if serve != nil {
		return serve(r)
	}
	switch r.Method {
	case "oracle.v2.Oracle/Consult":
		return r.Reply(`{"words":"It is \"so\".","end":"END_SAID","tally":{"heard":"7","said":"4"}}`)
	case "oracle.v2.Oracle/Murmur", "oracle.v2.Oracle/Converse":
		for _, m := range []string{`{"words":"It "}`, `{"words":"is so."}`, `{"end":"END_SAID","tally":{"heard":"7","said":"4"}}`} {
			if err := r.Reply(m); err != nil {
				return err
			}
		}
		return nil
	case "oracle.v2.Oracle/Locate":
		n := strings.Count(r.Request, "text-")
		places := make([]string, n)
		for i := range places {
			places[i] = fmt.Sprintf(`{"at":[%d,0.5]}`, i)
		}
		return r.Reply(fmt.Sprintf(`{"heard":"%d","places":[%s]}`, n, strings.Join(places, ",")))
	}
	return r.Reply(`{}`)
}

// asked gives the calls of a method so far.
func (o *oracle) asked(method string) (list []rpc.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.calls {
		if c.Method == "oracle.v2.Oracle/"+method {
			list = append(list, c)
		}
	}
	return list
}

// consult starts the service and a gateway before it.
func consult(t *testing.T, o *oracle, more string) (g *Gateway, url string) {
	t.Helper()
	addr := rpc.Serve(t, o.answer, "testdata/oracle.proto")
	return run(t, loadYAML(t, strings.ReplaceAll(oracleYAML, "ADDR", addr)+more), io.Discard)
}

const oracleYAML = `
upstreams:
  - name: delphi
    protocol: grpc
    base_url: http://ADDR
    api_key: of-the-oracle
    headers: {x-tenant: a}
    mapping: testdata/oracle.yaml
    schema: testdata/oracle.proto
    models: [pythia]
`

func loadYAML(t *testing.T, yaml string) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.LoadOptions{File: written(t, yaml), Files: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Port = 0
	return cfg
}

// written puts a configuration into a file.
func written(t *testing.T, yaml string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func posted(t *testing.T, url, path, body string) (status int, reply string, header http.Header) {
	t.Helper()
	resp, err := http.Post(url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// unstable are the parts of a reply that are others each time.
var unstable = regexp.MustCompile(`"id":"(chat)?cmpl-[^"]*"|"created":[0-9]+`)

func steady(reply string) string { return unstable.ReplaceAllString(reply, "#") }

const (
	question = `"messages":[{"role":"user","content":"Is it so?"}]`
	whisper  = `data: {#,"object":"chat.completion.chunk",#,"model":"pythia","choices":[`
	murmured = whisper + `{"index":0,"delta":{"role":"assistant","content":"It "},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n" +
		whisper + `{"index":0,"delta":{"content":"is so."},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n" +
		whisper + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n\n" +
		whisper + `],"usage":{"prompt_tokens":7,"completion_tokens":4,"total_tokens":11}}` + "\n\n" + "data: [DONE]\n\n"
)

// TestMappedService: a service that speaks gRPC is a model by one file of YAML.
func TestMappedService(t *testing.T) {
	o := new(oracle)
	_, url := consult(t, o, "")
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/v1/chat/completions", `{"model":"pythia","temperature":0,"max_tokens":9,"messages":[{"role":"system","content":"Be obscure."},{"role":"user","content":[{"type":"text","text":"Is it so?"}]}],
			"tools":[{"type":"function","function":{"name":"slay","parameters":{"type":"object"}}}]}`, 200,
			`{#,"object":"chat.completion",#,"model":"pythia","choices":[{"index":0,"message":{"role":"assistant","content":"It is \"so\".","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
				`"usage":{"prompt_tokens":7,"completion_tokens":4,"total_tokens":11}}`},
		{"/v1/chat/completions", `{"model":"pythia","stream":true,"stream_options":{"include_usage":true},` + question + `}`, 200, murmured},
		{"/v1/embeddings", `{"model":"pythia","input":["text-a","text-b"]}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0,0.5]},{"object":"embedding","index":1,"embedding":[1,0.5]}],"model":"pythia","usage":{"prompt_tokens":2,"total_tokens":2}}`},
		{"/v1/embeddings", `{"model":"pythia","input":["text-c"],"encoding_format":"base64"}`, 200,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AAAAAAAAAD8="}],"model":"pythia","usage":{"prompt_tokens":1,"total_tokens":1}}`},
		{"/v1/moderations", `{"model":"pythia","input":"x"}`, 501,
			`{"error":{"message":"Upstream ` + "`delphi`" + ` is reached through a mapping, which has chat completions, completions and embeddings, and nothing else.","type":"invalid_request_error","param":null,"code":"not_supported"}}` + "\n"},
		{"/v1/chat/completions", `{"model":"pythia","messages":[{"role":"robot","content":"?"}]}`, 400,
			`{"error":{"message":"The request does not fit the model's service: \"robot\" is none of user, assistant, system, tool.","type":"invalid_request_error","param":"messages[].role","code":"invalid_request"}}` + "\n"},
	} {
		status, reply, header := posted(t, url, c.path, c.body)
		if steady(reply) != c.want || status != c.status || status == 200 && header.Get("X-Sluice-Upstream") != "delphi" {
			t.Errorf("%s\n%d %s\nwant %s\n%v", c.body, status, steady(reply), c.want, header)
		}
	}
	asked := o.asked("Consult")
	const want = `{"oracle":"pythia","lines":[{"who":"WHO_TEMPLE","words":"Be obscure."},{"who":"WHO_ASKER","words":"Is it so?"}],"heat":0,"most":9,"skills":[{"name":"slay","shape":{"type":"object"}}],"ticket":"#"}`
	if len(asked) != 1 {
		t.Fatal(asked)
	}
	var got bytes.Buffer
	if err := json.Compact(&got, []byte(asked[0].Request)); err != nil || regexp.MustCompile(`req_[0-9a-f]+-1`).ReplaceAllString(got.String(), "#") != want {
		t.Errorf("got  %s\nwant %s", got.String(), want)
	}
	if m := asked[0].Metadata; fmt.Sprint(m["authorization"], m["x-tenant"], m["accept"]) != "[Bearer of-the-oracle] [a] []" {
		t.Error(m["authorization"], m["x-tenant"], m["accept"])
	}
	figure(t, url, `upstream_connections_created_total{protocol="h2",upstream="delphi"} 1`)
}

// TestMappedOverHTTP: the same service without gRPC, with streams as events.
func TestMappedOverHTTP(t *testing.T) {
	whisper := func(words string, end byte) []byte {
		return append(append([]byte{1<<3 | 2, byte(len(words))}, words...), 3<<3, end)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer of-the-oracle" || !bytes.Contains(body, []byte("Is it so?")) {
			http.Error(w, "who asks?", http.StatusForbidden)
			return
		}
		switch r.URL.Path {
		case "/api/oracle.v2.Oracle/Consult":
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(whisper("It is.", 1))
		case "/api/murmur":
			w.Header().Set("Content-Type", "text/event-stream")
			for _, m := range [][]byte{whisper("It ", 0), whisper("is so.", 1)} {
				_, _ = fmt.Fprintf(w, "data: %x\n\n", m)
			}
		}
	}))
	defer srv.Close()
	_, url := run(t, loadYAML(t, strings.NewReplacer("protocol: grpc", "protocol: protobuf-http", "http://ADDR", srv.URL+"/api").Replace(oracleYAML)+
		"    paths: {stream: /murmur}\n    stream_reply: sse-hex\n"), io.Discard)
	status, reply, _ := posted(t, url, "/v1/chat/completions", `{"model":"pythia",`+question+`}`)
	if status != 200 || !strings.Contains(reply, `"message":{"role":"assistant","content":"It is.","refusal":null},"logprobs":null,"finish_reason":"stop"`) {
		t.Error(status, reply)
	}
	status, reply, _ = posted(t, url, "/v1/chat/completions", `{"model":"pythia","stream":true,"stream_options":{"include_usage":true},`+question+`}`)
	if want := strings.Replace(murmured, `"prompt_tokens":7,"completion_tokens":4,"total_tokens":11`, `"prompt_tokens":0,"completion_tokens":0,"total_tokens":0`, 1); status != 200 || steady(reply) != want {
		t.Errorf("%d %s\nwant %s", status, steady(reply), want)
	}
}

// TestLeavingStopsTheService: who leaves ends the call, and has the abort call made.
func TestLeavingStopsTheService(t *testing.T) {
	for _, body := range []string{`{"model":"pythia",` + question + `}`, `{"model":"pythia","stream":true,` + question + `}`} {
		left := make(chan error, 1)
		o := new(oracle)
		o.serve = func(r *rpc.Call) error {
			if r.Method == "oracle.v2.Oracle/Hush" {
				return r.Reply(`{}`)
			}
			if r.Method == "oracle.v2.Oracle/Murmur" {
				_ = r.Reply(`{"words":"It "}`)
			}
			err := r.Wait()
			left <- err
			return err
		}
		_, url := consult(t, o, "")
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
		testkit.Until(t, "the call", func() bool { return len(o.asked("Consult"))+len(o.asked("Murmur")) == 1 })
		begun := time.Now()
		leave()
		select {
		case <-left:
			t.Logf("the service knew after %v", time.Since(begun))
		case <-time.After(time.Minute):
			t.Fatal("the call goes on")
		}
		testkit.Until(t, "the abort call", func() bool { return len(o.asked("Hush")) == 1 })
		ticket := func(r rpc.Call) (s struct{ Ticket string }) {
			if err := json.Unmarshal([]byte(r.Request), &s); err != nil {
				t.Error(err)
			}
			return s
		}
		first := append(o.asked("Consult"), o.asked("Murmur")...)[0]
		if one, other := ticket(first), ticket(o.asked("Hush")[0]); one != other || one.Ticket == "" {
			t.Errorf("%v was asked, and %v stopped", one, other)
		}
		testkit.Until(t, "the figure", func() bool {
			_, text := get(t, url+"/metrics")
			return strings.Contains(text, `sluice_upstream_aborts_total{outcome="success",upstream="delphi"} 1`)
		})
	}
}
