package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// migrating gives the blocks of a language that docs/migrating.md shows.
func migrating(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(m[1]))
	}
	return blocks
}

// one gives the only block that has some words.
func one(t *testing.T, blocks []string, words string) string {
	t.Helper()
	var found []string
	for _, b := range blocks {
		if strings.Contains(b, words) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d blocks have %q", len(found), words)
	}
	return found[0]
}

// over is a client that reaches everything through a socket of Unix.
func over(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
}

// nginxWith starts nginx with servers that listen on sockets of a folder.
func nginxWith(t *testing.T, dir, servers string, sockets ...string) {
	startFront(t, dir, fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr crit;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  %[2]s
}
`, dir, servers), sockets, "nginx", "-e", "stderr", "-p", dir, "-c")
}

// TestMigratingFromNginx: what the page has nginx do before two model servers, and what it
// has Sluice do in its place, both answer a chat; and with nginx before Sluice, as the page
// has it, events come when they are sent.
func TestMigratingFromNginx(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sluice-nginx-") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	key := "sk-migrating"
	servers := strings.NewReplacer(
		"10.0.0.5:8000", strings.TrimPrefix(start(t, "server: {insecure: true}").url, "http://"), // nginx asks by its own name for them
		"10.0.0.6:8000", strings.TrimPrefix(start(t, "server: {insecure: true}").url, "http://"), // nginx asks by its own name for them
		"\n  host: 0.0.0.0\n  port: 443\n  tls: {cert: /etc/tls/cert.pem, key: /etc/tls/key.pem}", "", // as the test's own
		"listen 443 ssl;", "listen unix:"+dir+"/old;",
		"    ssl_certificate /etc/tls/cert.pem;\n    ssl_certificate_key /etc/tls/key.pem;\n", "",
	)
	in := start(t, servers.Replace(one(t, migrating(t, "yaml"), "10.0.0.6:8000/v1\", api_key: \"${MODEL_KEY}\"}")),
		fmt.Sprintf("TEAM_A_KEY_HASH=sha256:%x", sha256.Sum256([]byte(key))), "MODEL_KEY=sk-of-the-models")
	nginx := migrating(t, "nginx")
	old := servers.Replace(one(t, nginx, "upstream models"))
	front := strings.ReplaceAll(one(t, nginx, "127.0.0.1:28888"), "http://127.0.0.1:28888", in.url)
	nginxWith(t, dir, old+"\nserver { listen unix:"+dir+"/new;\n"+front+"}", filepath.Join(dir, "old"), filepath.Join(dir, "new"))

	chat := func(client *http.Client, url, model string, stream bool) *http.Response {
		t.Helper()
		body := fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":"hello"}]}`, model, stream)
		// Within the time after which the silence of a model would be ended.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s for %s", resp.Status, model)
		}
		return resp
	}
	chat(over(filepath.Join(dir, "old")), "http://localhost", "sim-chat", false)
	chat(http.DefaultClient, in.url, "sim-chat", false)
	// The model falls silent after two events: that they come at all says that nobody
	// holds them back.
	resp := chat(over(filepath.Join(dir, "new")), "http://localhost", "gpu-1/simulator/sim-chat?stall=2", true)
	events := 0
	for lines := bufio.NewScanner(resp.Body); events < 2 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data: ") {
			events++
		}
	}
	if events != 2 {
		t.Errorf("%d events came through nginx", events)
	}
}
