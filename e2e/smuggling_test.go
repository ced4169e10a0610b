package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// way is how a client reaches the gateway: straight, or through a proxy of others'
// that uses few connections to it for all of its clients.
type way struct{ name, network, addr string }

func (w way) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial(w.network, w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// startFront runs a proxy with a configuration until it takes connections on all of
// its sockets.
func startFront(t *testing.T, dir, config string, sockets []string, path string, args ...string) {
	t.Helper()
	binary, err := exec.LookPath(path)
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/" + path) // which only root looks into
	}
	if err != nil {
		need(t, fmt.Errorf("%w: install the Debian packages nginx-light and haproxy", err))
	}
	file := filepath.Join(dir, path+".conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(testkit.Buffer)
	cmd := exec.Command(binary, append(args, file)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // no interrupt, which is ignored below a shell's background
		<-ended
	})
	for _, s := range sockets {
		testkit.Until(t, path, func() bool {
			c, err := net.Dial("unix", s)
			if err == nil {
				c.Close()
			}
			select {
			case err := <-ended:
				ended <- err
				t.Fatalf("%s: %v\n%s", path, err, log)
			default:
			}
			return err == nil
		})
	}
}

// fronts starts nginx, which hands bodies on as they come or when it has all of one,
// and HAProxy, which refuses what it knows to be wrong or hands it on. What ends a
// request that never becomes whole is a second without a byte.
func fronts(t *testing.T, gateway string) []way {
	dir, err := os.MkdirTemp("", "sluice-fronts-") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	addr := strings.TrimPrefix(gateway, "http://")
	ways := []way{{"straight", "tcp", addr}}
	var names []string
	for _, name := range []string{"nginx", "nginx-held", "haproxy", "haproxy-lax"} {
		ways = append(ways, way{name, "unix", filepath.Join(dir, name)})
		names = append(names, filepath.Join(dir, name))
	}
	startFront(t, dir, fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr crit;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  client_header_timeout 1s; client_body_timeout 1s; lingering_close off;
  ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;
  upstream gateway { server %[2]s; keepalive 1; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost;
  server { listen unix:%[1]s/nginx; location / { proxy_pass http://gateway; proxy_request_buffering off; } }
  server { listen unix:%[1]s/nginx-held; location / { proxy_pass http://gateway; } }
}
`, dir, addr), names[:2], "nginx", "-e", "stderr", "-p", dir, "-c")
	startFront(t, dir, fmt.Sprintf(`global
  nbthread 1
  maxconn 500
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout server 10s
  timeout http-request 1s
  http-reuse always
frontend strict
  bind unix@%[1]s/haproxy
  default_backend gateway
frontend lax
  bind unix@%[1]s/haproxy-lax
  option accept-invalid-http-request
  default_backend gateway
backend gateway
  server one %[2]s
`, dir, addr), names[2:], "haproxy", "-f")
	return ways
}

// answers is an upstream that says to whom it replies. What it is asked is counted by
// the name in its query.
type answers struct {
	mu    sync.Mutex
	asked map[string]int
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	name := r.URL.Query().Get("name")
	if r.URL.Path == "/v1/files" { // not what the gateway asks of its own
		a.mu.Lock()
		a.asked[name]++
		a.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"name":%q,"bytes":%d}`, name, len(body))
}

// smuggled is what a client sends of which two readers may see different requests.
// %[1]s stands for the fields that every request has, %[2]s for a request that one of
// the readings hides, %[3]s for the name of this one, %[4]d for the hidden one's length
// and %[5]d for that with a last chunk before it.
type smuggled struct {
	name, text string
	sound      bool // it has one reading, and is answered
	next       bool // whoever takes it at all has the hidden one behind it
}

func smugglings() []smuggled {
	const (
		files  = " /v1/files?name=%[3]s HTTP/1."
		post   = "POST" + files + "1\r\n%[1]s"
		length = "Content-Length: %[4]d\r\n"
		te     = "Transfer-Encoding: chunked\r\n"
		chunk  = "%[4]x\r\n%[2]s\r\n0\r\n\r\n"
		both   = "Content-Length: %[5]d\r\n"
		behind = "\r\n0\r\n\r\n%[2]s"
	)
	list := []smuggled{
		{name: "length", text: post + length + "\r\n%[2]s", sound: true},
		{name: "chunk", text: post + te + "\r\n" + chunk, sound: true},
		{name: "extension", text: post + te + "\r\n%[4]x;a=b\r\n%[2]s\r\n0\r\n\r\n", sound: true},
		{name: "old version", text: "POST" + files + "0\r\n%[1]s" + length + "\r\n%[2]s", sound: true},
		{name: "absolute target", text: "POST http://localhost/v1/files?name=%[3]s HTTP/1.1\r\n%[1]s" + length + "\r\n%[2]s", sound: true},

		{name: "CL.TE", text: post + both + te + behind},
		{name: "TE.CL", text: post + te + "Content-Length: 4\r\n\r\n" + chunk},
		{name: "no length and one", text: post + "Content-Length: 0\r\n" + length + "\r\n%[2]s"},
		{name: "a length and none", text: post + length + "Content-Length: 0\r\n\r\n%[2]s"},
		{name: "lengths in a list", text: post + "Content-Length: 0, %[4]d\r\n\r\n%[2]s"},
		{name: "signed length", text: post + "Content-Length: +%[4]d\r\n\r\n%[2]s"},
		{name: "huge length", text: post + "Content-Length: 18446744073709551616\r\n\r\n%[2]s"},
		{name: "length behind LF", text: post + "X-A: b\n" + length + "\r\n%[2]s"},
		{name: "length behind CR", text: post + "X-A: b\r" + length + "\r\n%[2]s"},
		{name: "length before NUL", text: post + "Content-Length: %[4]d\x00\r\n\r\n%[2]s"},
		{name: "length on a folded line", text: post + "Content-Length:\r\n %[4]d\r\n\r\n%[2]s"},
		{name: "length, space before colon", text: post + "Content-Length : %[4]d\r\n\r\n%[2]s"},
		{name: "length with underscore", text: post + "Content_Length: %[4]d\r\n\r\n%[2]s", next: true},
		{name: "LF in extension", text: post + te + "\r\n2;\nxx\r\n" + chunk},
		{name: "CR in extension", text: post + te + "\r\n2;\rxx\r\n" + chunk},
		{name: "NUL in extension", text: post + te + "\r\n%[4]x;\x00\r\n%[2]s\r\n0\r\n\r\n"},
		{name: "LF after size", text: post + te + "\r\n0\n\r\n%[2]s", next: true},
		{name: "size runs over", text: post + te + "\r\n10000000000000000\r\n" + chunk},
		{name: "signed size", text: post + te + "\r\n+" + chunk},
		{name: "size as 0x", text: post + te + "\r\n0x" + chunk},
		{name: "bytes behind a chunk", text: post + te + "\r\n1\r\nxXX0\r\n\r\n%[2]s"},
		{name: "in trailers", text: post + te + "\r\n0\r\n%[2]s"},
		{name: "length in trailers", text: post + te + "\r\n0\r\n" + length + "\r\n%[2]s", next: true},
		{name: "coding in HTTP/1.0", text: "POST" + files + "0\r\n%[1]sConnection: keep-alive\r\n" + both + te + behind},
		{name: "no host", text: "POST" + files + "1\r\nAuthorization: Bearer sk-a\r\nX-Request-Id: %[3]s\r\n" + length + "\r\n%[2]s"},
		{name: "two hosts", text: post + "Host: other\r\n" + length + "\r\n%[2]s"},
		{name: "absolute target with user", text: "POST http://other@localhost/v1/files?name=%[3]s HTTP/1.1\r\n%[1]s" + length + "\r\n%[2]s"},
		{name: "in the request line", text: "GET /v1/files?name=%[3]s HTTP/1.1 %[2]s"},
		{name: "CONNECT", text: "CONNECT localhost:80 HTTP/1.1\r\n%[1]s\r\n%[2]s", next: true},
		{name: "behind the last", text: "GET" + files + "1\r\n%[1]sConnection: close\r\n\r\n%[2]s"},
		{name: "behind the last of HTTP/1.0", text: "GET" + files + "0\r\n%[1]s\r\n%[2]s"},
	}
	for _, coding := range []string{
		"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding:\vchunked", "Transfer-Encoding: chunked\x00",
		"X-A: b\r\n Transfer-Encoding: chunked", "X-A: b\nTransfer-Encoding: chunked", "X-A: b\rTransfer-Encoding: chunked",
		"Transfer-Encoding: ,chunked", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: chun\u212aed", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked;a=b",
		"Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding:", "Transfer_Encoding: chunked",
	} {
		none := strings.Contains(coding, "_") || strings.HasPrefix(coding, "X-A: b\r\n") // a field of another name, or another one's value
		list = append(list,
			smuggled{name: fmt.Sprintf("CL, %q", coding), text: post + both + coding + "\r\n" + behind},
			smuggled{name: fmt.Sprintf("%q, CL", coding), text: post + coding + "\r\nContent-Length: 4\r\n\r\n" + chunk, next: none})
	}
	return list
}

// TestSmuggling has what hides a request from one of two readers sent to the gateway,
// straight and through proxies that use one connection for many clients. Each reply
// is that of the request before it, the gateway sees as many requests as its clients
// have replies, and what stands in a body is never one.
func TestSmuggling(t *testing.T) {
	for _, engine := range []string{"lean", "nethttp"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			up := &answers{asked: make(map[string]int)}
			in := start(t, fmt.Sprintf(`server: {read_header_timeout: 1s, body_timeout: 1s, api_keys: [{name: a, hash: %q}]}
upstreams: [{name: up, base_url: %q}]
log: {format: json, level: debug}
`, hashOf(t, "sk-a"), serve(t, up)+"/v1"), "SLUICE_ENGINE="+engine)
			told := new(replies)
			var wg sync.WaitGroup
			for _, w := range fronts(t, in.url) {
				wg.Go(func() { told.add(smuggle(t, w, engine)) })
			}
			wg.Wait()
			told.compare(t, in, up)
		})
	}
}

// replies is what clients were told, by the name of the request.
type replies struct {
	mu       sync.Mutex
	answered map[string]int
}

func (r *replies) add(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if r.answered == nil {
			r.answered = make(map[string]int)
		}
		r.answered[name]++
	}
}

// compare holds what the gateway and its upstream saw against what clients have.
func (r *replies) compare(t *testing.T, in *instance, up *answers) {
	var seen map[string]int
	testkit.Until(t, "the access log", func() bool {
		seen = make(map[string]int)
		for text := range strings.SplitSeq(in.log.String(), "\n") {
			var line struct {
				Msg string
				ID  string `json:"request_id"`
			}
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "request" {
				seen[line.ID]++
			}
		}
		return len(seen) >= len(r.answered)
	})
	for name, n := range seen {
		if n != 1 || r.answered[name] != 1 {
			t.Errorf("the gateway saw %s %d times, and %d clients have a reply", name, n, r.answered[name])
		}
	}
	for name, n := range r.answered {
		if seen[name] != 1 {
			t.Errorf("%d clients have a reply to %s, which the gateway saw %d times", n, name, seen[name])
		}
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	for name, n := range up.asked {
		if n != 1 || seen[name] != 1 {
			t.Errorf("the upstream was asked %d times for %s, and the gateway %d times", n, name, seen[name])
		}
	}
}

// fieldsOf gives the fields of a request, the same for all but for the name.
func fieldsOf(name string) string {
	return "Host: localhost\r\nAuthorization: Bearer sk-a\r\nContent-Type: text/plain\r\nX-Request-Id: " + name + "\r\n"
}

// smuggle sends all of it one way, after each a sound request of another client, and
// gives the names of those that the gateway answered.
func smuggle(t *testing.T, w way, engine string) (answered []string) {
	for i, c := range smugglings() {
		name := fmt.Sprintf("%s-%d", w.name, i)
		hidden := "GET /v1/files?name=" + name + "-hidden HTTP/1.1\r\n" + fieldsOf(name+"-hidden") + "\r\n"
		text := fmt.Sprintf(c.text, fieldsOf(name), hidden, name, len(hidden), len("0\r\n\r\n")+len(hidden))
		last := "GET /v1/files?name=" + name + "-last HTTP/1.1\r\n" + fieldsOf(name+"-last") + "Connection: close\r\n\r\n"
		got := exchange(t, w, c, engine, text+last)
		if c.sound && (len(got) == 0 || got[0] != name) {
			t.Errorf("%s, %s: answered %q", w.name, c.name, got)
		}
		// A front that does not see that a request is wrong, of which the gateway refuses to
		// say where it ends, takes what is behind it for another one.
		apart := c.next || w.name != "straight" && len(got) > 0 && got[0] == refused
		if slices.Contains(got, name+"-hidden") && !apart {
			t.Errorf("%s, %s: what was hidden is answered: %q", w.name, c.name, got)
		}
		answered = append(answered, slices.DeleteFunc(got, func(name string) bool { return name == refused })...)
		for _, other := range []string{name + "-next", name + "-after"} {
			text := "POST /v1/files?name=" + other + " HTTP/1.1\r\n" + fieldsOf(other) + "Content-Length: 1\r\nConnection: close\r\n\r\nx"
			if got := exchange(t, w, c, engine, text); !slices.Equal(got, []string{other}) {
				t.Errorf("%s: after %s another client has %q", w.name, c.name, got)
			}
			answered = append(answered, other)
		}
	}
	return answered
}

// refused stands for a reply that has no name: that of an engine or of a front.
const refused = "refused"

// exchange sends bytes and reads replies until the connection ends. It gives the
// names that they have.
func exchange(t *testing.T, w way, c smuggled, engine, text string) (names []string) {
	conn := w.dial(t)
	defer conn.Close()
	go io.WriteString(conn, text)
	for r := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(r, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return names
		} else if err != nil {
			t.Errorf("%s, %s: %v", w.name, c.name, err)
			return names
		}
		body, err := io.ReadAll(resp.Body)
		name := resp.Header.Get("X-Request-Id")
		var reply struct{ Name string }
		switch _, shaped := errorOf(body); {
		case err != nil:
			t.Errorf("%s, %s: %v", w.name, c.name, err)
		case resp.StatusCode == 200 && (json.Unmarshal(body, &reply) != nil || reply.Name != name):
			t.Errorf("%s, %s: the reply to %s is %s", w.name, c.name, name, body)
		case resp.StatusCode != 200 && w.name == "straight" && engine == "lean" && !shaped:
			t.Errorf("%s, %s: %d %s", w.name, c.name, resp.StatusCode, body)
		}
		if name != "" {
			names = append(names, name)
			continue
		}
		names = append(names, refused)
		if resp.StatusCode < 400 {
			t.Errorf("%s, %s: %d %s", w.name, c.name, resp.StatusCode, body)
		}
		if w.name != "straight" {
			continue
		}
		if rest, err := io.ReadAll(r); !resp.Close || len(rest) > 0 {
			t.Errorf("%s, %s: after refusal %d %q: %q, %v", w.name, c.name, resp.StatusCode, body, rest, err)
		}
	}
}
