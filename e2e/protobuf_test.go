package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const greetProto = `syntax = "proto3";
package demo;
message Greeting { string name = 1; repeated int64 times = 2; }
`

// TestProtobufWithCurl: with a .proto file and HTTP alone one can upload,
// encode, decode, and do many at once.
func TestProtobufWithCurl(t *testing.T) {
	t.Parallel()
	in := start(t, fmt.Sprintf("state_dir: %q", t.TempDir()))
	const js, bin = "application/json", "application/x-protobuf"
	call := func(method, path, kind, body string) answer {
		t.Helper()
		return request(t, method, in.url+path, body, "Content-Type", kind)
	}
	for _, c := range []struct {
		name, method, path, kind, body string
		status                         int
		want                           string
	}{
		{"unknown type", "POST", "/v1/protobuf/encode", js, `{"type":"demo.Greeting","data":{}}`, 404, "unknown_type"},
		{"bad schema", "PUT", "/v1/protobuf/schemas/greet", "text/plain", "message {", 400, "invalid_schema"},
		{"upload", "PUT", "/v1/protobuf/schemas/greet", "text/plain", greetProto, 200, `"messages":["demo.Greeting"]`},
		{"list", "GET", "/v1/protobuf/schemas", "", "", 200, `"files":["greet.proto"]`},
		{"encode", "POST", "/v1/protobuf/encode", js, `{"type":"demo.Greeting","data":{"name":"Ada","times":["1",2]}}`, 200, `{"type":"demo.Greeting","data":"CgNBZGESAgEC"}`},
		{"decode", "POST", "/v1/protobuf/decode", js, `{"type":"demo.Greeting","data":"CgNBZGESAgEC"}`, 200, `"data":{"name":"Ada","times":["1","2"]}`},
		{"encode a bare one", "POST", "/v1/protobuf/encode?type=demo.Greeting", js, `{"name":"Ada"}`, 200, "\n\x03Ada"},
		{"decode a bare one", "POST", "/v1/protobuf/decode?type=demo.Greeting", bin, "\n\x03Ada", 200, `{"name":"Ada"}`},
		{"batch", "POST", "/v1/protobuf/decode", js, `{"type":"demo.Greeting","items":[{"data":"CgNBZGE="},{"data":"/w=="},{"data":"CgNCb2I="}]}`, 200, `{"items":[{"data":{"name":"Ada"}},{"error":`},
		{"stream", "POST", "/v1/protobuf/decode/stream?type=demo.Greeting", bin, "\x05\n\x03Ada\x05\n\x03Bob", 200, "data: {\"name\":\"Ada\"}\n\ndata: {\"name\":\"Bob\"}\n\ndata: [DONE]\n\n"},
		{"bad member", "POST", "/v1/protobuf/encode", js, `{"type":"demo.Greeting","data":{"nam":1}}`, 400, "nam: unknown field"},
		{"bad byte", "POST", "/v1/protobuf/decode?type=demo.Greeting", bin, "\n\xffAda", 400, "byte"},
		{"not found", "POST", "/v1/protobuf/else", js, `{}`, 404, "unknown_url"},
	} {
		got := call(c.method, c.path, c.kind, c.body)
		if got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s: got %s, want %d %s", c.name, got, c.status, c.want)
		}
	}
	// An upload survives a restart, and can be deleted.
	yaml := in.cmd.Args[len(in.cmd.Args)-1]
	text, err := os.ReadFile(yaml)
	if err != nil {
		t.Fatal(err)
	}
	in.stop(t)
	in = start(t, string(text))
	if got := call("POST", "/v1/protobuf/encode", js, `{"type":"demo.Greeting","data":{"name":"Ada"}}`); got.status != 200 {
		t.Errorf("after a restart: %s", got)
	}
	if got := call("DELETE", "/v1/protobuf/schemas/greet", "", ""); got.status != 200 {
		t.Errorf("delete: %s", got)
	}
	if got := call("POST", "/v1/protobuf/encode", js, `{"type":"demo.Greeting","data":{"name":"Ada"}}`); got.status != 404 {
		t.Errorf("after that: %s", got)
	}
}

// TestProtobufOfTenants: anyone with a key can use the codec, an administrator
// alone can change its schemas.
func TestProtobufOfTenants(t *testing.T) {
	t.Parallel()
	proto := filepath.Join(t.TempDir(), "greet.proto")
	if err := os.WriteFile(proto, []byte(greetProto), 0o600); err != nil {
		t.Fatal(err)
	}
	in := start(t, fmt.Sprintf("server: {api_keys: [{name: a, hash: %q}, {name: adm, hash: %q, admin: true}]}\nprotobuf: {schemas: [%q]}\n",
		hashOf(t, "sk-a"), hashOf(t, "sk-adm"), proto))
	const encode = `{"type":"demo.Greeting","data":{"name":"Ada"}}`
	for _, c := range []struct {
		key, method, path, body string
		status                  int
	}{
		{"sk-a", "POST", "encode", encode, 200},
		{"sk-x", "POST", "encode", encode, 401},
		{"sk-a", "PUT", "schemas/more", greetProto, 403},
		{"sk-a", "DELETE", "schemas/greet", "", 403},
		{"sk-adm", "PUT", "schemas/greet", greetProto, 409}, // it is configured
		{"sk-adm", "PUT", "schemas/more", strings.Replace(greetProto, "demo", "more", 1), 200},
		{"sk-a", "POST", "encode", strings.Replace(encode, "demo", "more", 1), 200},
	} {
		got := request(t, c.method, in.url+"/v1/protobuf/"+c.path, c.body, "Authorization", "Bearer "+c.key, "Content-Type", map[bool]string{true: "text/plain", false: "application/json"}[c.method == "PUT"])
		if got.status != c.status {
			t.Errorf("%s %s %s: %s", c.key, c.method, c.path, got)
		}
	}
}

// TestProtobufBatch: a thousand messages come back in order.
func TestProtobufBatch(t *testing.T) {
	t.Parallel()
	in := start(t, "")
	request(t, "PUT", in.url+"/v1/protobuf/schemas/greet", greetProto, "Content-Type", "text/plain")
	var body bytes.Buffer
	body.WriteString(`{"type":"demo.Greeting","items":[`)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"data":{"name":"%d %s"}}`, i, strings.Repeat("x", 2000))
	}
	body.WriteString("]}")
	got := request(t, "POST", in.url+"/v1/protobuf/encode", body.String())
	var reply struct {
		Items []struct{ Data string }
	}
	if err := json.Unmarshal([]byte(got.body), &reply); err != nil || got.status != 200 || len(reply.Items) != 1000 {
		t.Fatalf("%d, %v, %d items", got.status, err, len(reply.Items))
	}
	more := strings.Replace(body.String(), "[", `[{"data":{}},`, 1)
	if got := request(t, "POST", in.url+"/v1/protobuf/encode", more); got.status != 413 || !strings.Contains(got.body, `"code":"limit_exceeded"`) {
		t.Errorf("one more: %.300s", got)
	}
	if _, c, _ := health(t, in); !strings.Contains(fmt.Sprintf("%+v", c.Components), "{Name:protobuf Status:healthy") {
		t.Errorf("afterwards: %+v", c.Components)
	}
	for i, item := range reply.Items {
		b, err := base64.StdEncoding.DecodeString(item.Data)
		if err != nil || !bytes.Contains(b, fmt.Appendf(nil, "%d x", i)) {
			t.Fatalf("item %d: %v, %.20q", i, err, b)
		}
	}
}

// TestProtobufStreamIsLive: each message comes back as it arrives.
func TestProtobufStreamIsLive(t *testing.T) {
	t.Parallel()
	in := start(t, "")
	request(t, "PUT", in.url+"/v1/protobuf/schemas/greet", greetProto, "Content-Type", "text/plain")
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", in.url+"/v1/protobuf/decode/stream?type=demo.Greeting", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	send := func(name string) {
		m := append([]byte{'\n', byte(len(name))}, name...)
		if _, err := w.Write(append([]byte{byte(len(m))}, m...)); err != nil {
			t.Error(err)
		}
	}
	go send("Ada")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 1000)
	for _, name := range []string{"Ada", "Bob", "Cleo"} {
		want := fmt.Sprintf("data: {\"name\":%q}\n\n", name)
		if _, err := io.ReadFull(resp.Body, buf[:len(want)]); err != nil || string(buf[:len(want)]) != want {
			t.Fatalf("%v, %q", err, buf[:len(want)])
		}
		switch name { // the next is sent when this one has come
		case "Ada":
			send("Bob")
		case "Bob":
			send("Cleo")
		}
	}
	w.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "data: [DONE]\n\n" {
		t.Errorf("%v, %q", err, rest)
	}
}

// TestProtobufCommandLine: the same from a shell.
func TestProtobufCommandLine(t *testing.T) {
	t.Parallel()
	proto := filepath.Join(t.TempDir(), "greet.proto")
	if err := os.WriteFile(proto, []byte(greetProto), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command(binary, append(args, "--schema", proto, "--type", "demo.Greeting")...)
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
		_ = cmd.Run()
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	for _, c := range []struct {
		stdin, stdout string
		args          []string
		code          int
	}{
		{`{"name":"Ada"}`, "\n\x03Ada", []string{"encode"}, 0},
		{"\n\x03Ada", "{\"name\":\"Ada\"}\n", []string{"decode"}, 0},
		{"{\"name\":\"Ada\"}\n\n{}\n", "\x05\n\x03Ada\x00", []string{"encode", "--delimited"}, 0},
		{"\x05\n\x03Ada\x00", "{\"name\":\"Ada\"}\n{\"name\":\"\",\"times\":[]}\n", []string{"decode", "--delimited", "--emit-unpopulated"}, 0},
		{`{"nam":1}`, "", []string{"encode"}, 1},
		{`{"nam":1}`, "", []string{"encode", "--discard-unknown"}, 0},
		{"\xff", "", []string{"decode"}, 1},
	} {
		out, errs, code := run(c.stdin, c.args...)
		if code != c.code || (errs == "") != (c.code == 0) {
			t.Errorf("%q %q: code %d, %q, %q", c.args, c.stdin, code, out, errs)
		}
		if out != c.stdout && !(strings.Contains(c.stdout, "times") && strings.Contains(out, `"times":[]`)) {
			t.Errorf("%q %q: got %q, want %q", c.args, c.stdin, out, c.stdout)
		}
	}
}
