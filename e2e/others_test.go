package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/testkit"
)

// others is the folder of the servers of gRPC that others wrote, which are built once and
// by no test that does not need them.
var others = sync.OnceValues(func() (string, error) {
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", built+"/", ".", "connectrpc.com/conformance/cmd/grpcserver", "connectrpc.com/conformance/cmd/referenceserver")
	build.Dir = "others"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build servers that others wrote: %w\n%s", err, out)
	}
	return built, nil
})

// other starts one of them, gives it its standard input and gives what it says on its
// standard output, from the beginning. It ends with the test.
func other(t *testing.T, name, stdin string, args ...string) *bufio.Reader {
	t.Helper()
	dir, err := others()
	need(t, err)
	cmd := exec.Command(filepath.Join(dir, name), args...)
	log := new(testkit.Buffer)
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && log.String() != "" {
			t.Logf("%s:\n%s", name, log)
		}
	})
	if _, err := io.WriteString(in, stdin); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(out)
}

// line reads one.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// write makes a file of the test's, whose name may have folders.
func write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mappedConfig is the beginning of a configuration, whose upstreams are to follow.
const mappedConfig = "cache: {enabled: false}\nroute: {breaker: {failures: 1000}}\nupstreams:\n"

// expect asks a service, as answered does, for a text and an error that begins with, or
// amid a stream holds, fault; "" for none.
func expect(t *testing.T, in *instance, model string, stream bool, ask map[string]any, text, fault string, more ...option.RequestOption) {
	t.Helper()
	gotText, gotFault := answered(t, in, model, stream, ask, more...)
	if gotText != text || (gotFault == "") != (fault == "") || !strings.Contains(gotFault, fault) {
		t.Errorf("%s, stream %t: %.100q (%d bytes), %q; want %.100q (%d bytes), %q", model, stream, gotText, len(gotText), gotFault, text, len(text), fault)
	}
}

// answered asks a service for a chat, with what its mapping reads as req.ask, and gives
// the text, of a stream all of it that came, and the error as "status code: message".
func answered(t *testing.T, in *instance, model string, stream bool, ask map[string]any, more ...option.RequestOption) (text, fault string) {
	t.Helper()
	c, ctx := client(in), t.Context()
	more = append(more, option.WithJSONSet("ask", ask))
	if !stream {
		got, err := c.Chat.Completions.New(ctx, say(model, "Hi"), more...)
		if err != nil {
			return "", faultOf(t, err)
		}
		return got.Choices[0].Message.Content, ""
	}
	events := c.Chat.Completions.NewStreaming(ctx, say(model, "Hi"), more...)
	defer events.Close()
	for events.Next() {
		for _, choice := range events.Current().Choices {
			text += choice.Delta.Content
		}
	}
	if err := events.Err(); err != nil {
		return text, faultOf(t, err)
	}
	return text, ""
}

func faultOf(t *testing.T, err error) string {
	t.Helper()
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return fmt.Sprintf("%d %s: %s", e.StatusCode, e.Code, e.Message)
	}
	return err.Error() // amid a stream
}

// interopMapping asks for what req.ask says.
const interopMapping = `
unary:
  call: {unary: grpc.testing.TestService/UnaryCall}
  request:
    response_size: =req.ask.?size
    payload: {body: =req.ask.?body}
    response_status: {code: =req.ask.?code, message: =req.ask.?message}
  response: {choices: [{text: =r.payload.body}]}
unimplemented: {call: {unary: grpc.testing.TestService/UnimplementedCall}, request: {}, response: {choices: [{text: none}]}}
`

// interop is the mapping for a call that replies with a stream.
func interop(call string) string {
	return fmt.Sprintf(`
%s:
  call: {stream: grpc.testing.TestService/%s}
  request:
    response_parameters: {$each: p in req.ask.sizes, size: =p, interval_us: =req.ask.?interval}
    payload: {body: =req.ask.?body}
    response_status: {code: =req.ask.?code, message: =req.ask.?message}
  response: {choices: [{text: '=r.payload.body + "|"'}]}
`, call, call)
}

// zeros is n bytes of nothing, as base64.
func zeros(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

// TestInterop has Sluice call the server of grpc-go's interoperability tests, which tells
// its schema by reflection and ends each connection soon.
func TestInterop(t *testing.T) {
	t.Parallel()
	said := other(t, "others", "")
	addr := line(t, said)
	mappings, models := interopMapping, []string{"unary", "unimplemented"}
	calls := []string{"StreamingOutputCall", "FullDuplexCall", "HalfDuplexCall"}
	for _, call := range calls {
		mappings, models = mappings+interop(call), append(models, call)
	}
	file := write(t, "interop.yaml", mappings)
	config := mappedConfig
	for _, m := range models {
		for _, compression := range []string{"identity", "gzip"} {
			config += fmt.Sprintf("  - {name: %[1]s-%[2]s, protocol: grpc, base_url: 'http://%[3]s', mapping: '%[4]s#%[1]s', schema: reflection, compression: %[2]s, models: [%[1]s-%[2]s]}\n", m, compression, addr, file)
		}
	}
	in := start(t, config)
	for _, compression := range []string{"identity", "gzip"} {
		check := func(call string, stream bool, ask map[string]any, text, fault string) {
			t.Helper()
			expect(t, in, call+"-"+compression, stream, ask, text, fault)
		}
		large := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a large message ", 1<<16)))
		check("unary", compression == "gzip", map[string]any{"size": 4<<20 - 16, "body": large}, zeros(4<<20-16), "")
		for _, stream := range []bool{false, true} {
			check("unary", stream, map[string]any{"size": 31415}, zeros(31415), "")
			check("unary", stream, map[string]any{"size": 4 << 20}, "", "502 upstream_reply_too_large")
			check("unary", stream, map[string]any{"code": 2, "message": "test status message"}, "", "502 unknown: test status message")
			special := "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
			check("unary", stream, map[string]any{"code": 8, "message": special}, "", "429 resource_exhausted: "+special)
			check("unimplemented", stream, nil, "", "501 unimplemented: ")
			for _, call := range calls {
				text := ""
				sizes := []int{31415, 9, 0, 2653, 58979}
				for _, n := range sizes {
					text += zeros(n) + "|"
				}
				check(call, stream, map[string]any{"sizes": sizes}, text, "")
			}
			check("FullDuplexCall", stream, map[string]any{"sizes": []int{1}, "code": 2, "message": "test status message"}, "", "502 unknown: test status message")
		}
		check("StreamingOutputCall", true, map[string]any{"sizes": []int{3, -1}}, zeros(3)+"|", "requested a response with invalid length -1")
		check("StreamingOutputCall", false, map[string]any{"sizes": []int{3, -1}}, "", "502 unknown: requested a response with invalid length -1")
	}
	slow := map[string]any{"sizes": make([]int, 100_000), "interval": 1000}
	expect(t, in, "StreamingOutputCall-identity", false, slow, "", "504 deadline_exceeded: ", option.WithHeader("X-Request-Timeout", "300ms"))

	// The server sees that a client has left.
	c := client(in)
	events := c.Chat.Completions.NewStreaming(t.Context(), say("FullDuplexCall-identity", "Hi"), option.WithJSONSet("ask", slow))
	if !events.Next() {
		t.Fatal(events.Err())
	}
	events.Close()
	left := make(chan bool)
	go func() {
		for {
			s, err := said.ReadString('\n')
			if err != nil || strings.Contains(s, "FullDuplexCall Canceled") {
				left <- err == nil
				return
			}
		}
	}()
	select {
	case ok := <-left:
		if !ok {
			t.Error("the server has ended")
		}
	case <-time.After(time.Minute):
		t.Error("the call goes on when its client has left")
	}
}

// TestReflectsEtcd writes a mapping to etcd's API, which the server tells by reflection,
// and uses it where clients must have a certificate, as they must for etcd.
func TestReflectsEtcd(t *testing.T) {
	t.Parallel()
	addr := line(t, other(t, "others", ""))
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(binary, append([]string{"map", "new", "--reflect"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if all := run("http://" + addr); !strings.Contains(all, "etcdserverpb.Watch/Watch (stream etcdserverpb.WatchRequest) returns (stream etcdserverpb.WatchResponse)\n") || strings.Count(all, "etcdserverpb.Auth/") < 15 {
		t.Errorf("methods: %s", all)
	}
	mapping := run(addr, "--method", "KV/Range")
	unfilled := mapping
	for _, fill := range [][2]string{
		{"request: {}", "request:"}, {"# key:", "key: =base64(req.messages[0].content)"},
		{"choices: []", "choices:"}, {"# - text: =r.…", "- text: =unbase64(r.kvs[0].value)"},
	} {
		if !strings.Contains(mapping, fill[0]) {
			t.Fatalf("no %q in %s", fill[0], mapping)
		}
		mapping = strings.Replace(mapping, fill[0], fill[1], 1)
	}
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	certificate(t, cert, key, "etcd")
	secure := line(t, other(t, "others", "", cert, key))
	if over := run("https://"+secure, "--ca", cert, "--cert", cert, "--key", key, "--header", "x-test: 1", "--method", "KV/Range"); over != unfilled {
		t.Errorf("over TLS the mapping is another: %s", over)
	}
	config := mappedConfig + fmt.Sprintf("  - {name: etcd, protocol: grpc, base_url: 'https://%s', mapping: %q, schema: reflection, models: [etcd], http_client: {tls: {ca: %[3]q, cert: %[3]q, key: %[4]q}}}\n",
		secure, write(t, "etcd.yaml", mapping), cert, key)
	test := exec.Command(binary, "map", "test", "--config", write(t, "sluice.yaml", config))
	test.Stdin = strings.NewReader(`{"model":"etcd","messages":[{"role":"user","content":"Hi"}]}`)
	if out, err := test.CombinedOutput(); err != nil || !strings.Contains(string(out), `"key": "SGk="`) {
		t.Errorf("map test: %v, %s", err, out)
	}
	expect(t, start(t, config), "etcd", false, nil, "value of Hi", "")
}

// conformanceMapping has the servers answer as req.ask says.
func conformanceMapping(method, kind, data string) string {
	return fmt.Sprintf(`
%[1]s:
  call: {%[2]s: connectrpc.conformance.v1.ConformanceService/%[1]s}
  request:
    request_data: =req.ask.?body
    response_definition:
      response_headers: [{name: x-custom, value: [a, b]}, {name: x-custom-bin, value: [AAAA]}]
      response_trailers: [{name: x-trailer, value: [bing]}]
      response_data: %[3]s
      error:
        $if: =has(req.ask.code)
        code: =req.ask.code
        message: =req.ask.?message
        details: =list(req.ask.?details)
  response: {choices: [{text: =unbase64(r.payload.data)}]}
`, method, kind, data)
}

// conformanceModule is the folder of ConnectRPC's conformance suite.
func conformanceModule(t *testing.T) string {
	t.Helper()
	_, err := others() // which has it downloaded
	need(t, err)
	where := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "connectrpc.com/conformance")
	where.Dir = "others"
	module, err := where.Output()
	need(t, err)
	return strings.TrimSpace(string(module))
}

// TestConformance has Sluice call the servers of ConnectRPC's conformance suite: the one
// with ConnectRPC's own implementation and the one with grpc-go.
func TestConformance(t *testing.T) {
	t.Parallel()
	mappings := write(t, "conformance.yaml", conformanceMapping("Unary", "unary", "=base64(req.ask.?text)")+conformanceMapping("ClientStream", "unary", "=base64(req.ask.?text)")+
		conformanceMapping("ServerStream", "stream", "{$each: s in req.ask.texts, value: =base64(s)}")+conformanceMapping("BidiStream", "stream", "{$each: s in req.ask.texts, value: =base64(s)}"))
	details := write(t, "google/rpc/error_details.proto", `syntax = "proto3";
package google.rpc;
import "google/protobuf/duration.proto";
message RetryInfo { google.protobuf.Duration retry_delay = 1; }
`)
	protos := filepath.Join(conformanceModule(t), "proto")
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	certificate(t, cert, key, "sluice")
	known, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	every, few := []string{"Unary", "ClientStream", "ServerStream", "BidiStream"}, []string{"Unary", "BidiStream"}
	for _, server := range []struct {
		name, program, setup string
		methods              []string
	}{
		{"grpc-go", "grpcserver", "", every},
		{"connect", "referenceserver", "", every},
		{"connect-tls", "referenceserver", `, "useTls": true`, few},
		{"connect-mtls", "referenceserver", `, "useTls": true, "clientTlsCert": ` + asJSON(known), few},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			var at struct {
				Host    string
				Port    int
				PEMCert []byte `json:"pemCert"`
			}
			said := other(t, server.program, `{"protocol": "PROTOCOL_GRPC", "httpVersion": "HTTP_VERSION_2", "messageReceiveLimit": 204800`+server.setup+`}`, "-json")
			if err := json.NewDecoder(said).Decode(&at); err != nil {
				t.Fatal(err)
			}
			scheme, config := "http", mappedConfig
			if at.PEMCert != nil {
				scheme, config = "https", fmt.Sprintf("http_client: {tls: {ca: %q}}\n", write(t, "ca.pem", string(at.PEMCert)))+config
			}
			if strings.Contains(server.setup, "clientTlsCert") {
				config = strings.Replace(config, "}}", fmt.Sprintf(", cert: %q, key: %q}}", cert, key), 1)
			}
			for _, method := range server.methods {
				for _, compression := range []string{"identity", "gzip"} {
					config += fmt.Sprintf("  - {name: %[1]s-%[2]s, protocol: grpc, base_url: '%[3]s://%[4]s:%[5]d', mapping: '%[6]s#%[1]s', schema: [%[7]q, %[8]q], compression: %[2]s, models: [%[1]s-%[2]s]}\n",
						method, compression, scheme, at.Host, at.Port, mappings, protos, details)
				}
			}
			in := start(t, config)
			for _, method := range server.methods {
				conformance(t, in, method)
			}
			if scheme == "http" {
				conformanceErrors(t, in)
			}
		})
	}
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// conformance calls a method in each way.
func conformance(t *testing.T, in *instance, method string) {
	texts := []string{"one", "", strings.Repeat("a longer one ", 1<<10), "the last"}
	for _, compression := range []string{"-identity", "-gzip"} {
		check := func(stream bool, ask map[string]any, text, fault string) {
			t.Helper()
			expect(t, in, method+compression, stream, ask, text, fault)
		}
		if method == "Unary" || method == "ClientStream" {
			check(false, map[string]any{"text": "Hello, wörld"}, "Hello, wörld", "")
			check(true, map[string]any{"text": texts[2]}, texts[2], "")
			check(false, map[string]any{"code": "CODE_ABORTED", "message": "at once"}, "", "409 aborted: at once")
			continue
		}
		for _, stream := range []bool{false, true} {
			check(stream, map[string]any{"texts": texts}, strings.Join(texts, ""), "")
			check(stream, map[string]any{"texts": []string{}, "code": "CODE_ABORTED", "message": "at once"}, "", "409 aborted: at once")
			check(stream, map[string]any{"texts": []string{}}, "", "502 upstream_")
		}
		check(true, map[string]any{"texts": texts, "code": "CODE_DATA_LOSS", "message": "at the end"}, strings.Join(texts, ""), "at the end")
	}
}

// conformanceErrors has calls end with each status, with details, and before the request
// has come.
func conformanceErrors(t *testing.T, in *instance) {
	check := func(model string, stream bool, ask map[string]any, text, fault string) {
		t.Helper()
		expect(t, in, model, stream, ask, text, fault)
	}
	for code, want := range map[string]string{
		"CANCELED": "502 canceled", "UNKNOWN": "502 unknown", "INVALID_ARGUMENT": "400 invalid_argument", "DEADLINE_EXCEEDED": "504 deadline_exceeded", "NOT_FOUND": "404 not_found",
		"ALREADY_EXISTS": "409 already_exists", "PERMISSION_DENIED": "403 permission_denied", "RESOURCE_EXHAUSTED": "429 resource_exhausted", "FAILED_PRECONDITION": "400 failed_precondition",
		"ABORTED": "409 aborted", "OUT_OF_RANGE": "400 out_of_range", "UNIMPLEMENTED": "501 unimplemented", "INTERNAL": "500 internal", "UNAVAILABLE": "503 unavailable",
		"DATA_LOSS": "500 data_loss", "UNAUTHENTICATED": "401 unauthenticated",
	} {
		check("Unary-identity", false, map[string]any{"code": "CODE_" + code, "message": "100% wörld\r\n"}, "", want+": 100% wörld\r\n")
	}
	// More than the server takes, which it tells before all has come.
	check("Unary-identity", false, map[string]any{"text": "none", "body": zeros(600_000)}, "", "429 resource_exhausted: ")
	check("BidiStream-identity", true, map[string]any{"texts": []string{"none"}, "body": zeros(600_000)}, "", "429 resource_exhausted: ")

	got := chat(t, in.url, `{"model":"ServerStream-identity","messages":[{"role":"user","content":"Hi"}],"ask":{"texts":[],"code":"CODE_UNAVAILABLE","message":"later",
		"details":[{"@type":"type.googleapis.com/connectrpc.conformance.v1.Header","name":"n","value":["v"]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7.5s"}]}}`)
	if got.status != 503 || got.header.Get("Retry-After") != "8" || !strings.Contains(got.body, `"later"`) {
		t.Errorf("details: %s, Retry-After %q", got, got.header.Get("Retry-After"))
	}
}
