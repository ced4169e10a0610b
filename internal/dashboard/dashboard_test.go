package dashboard

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// get asks the page's handler. header is name, value pairs.
func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	h := Handler()
	req := llm.Request{Method: method}
	req.Path, req.RawQuery, _ = strings.Cut(path, "?")
	for i := 0; i < len(header); i += 2 {
		req.Header = append(req.Header, llm.Field{Name: header[i], Value: header[i+1]})
	}
	reply := testkit.Ask(t, h, &req)
	r := &http.Response{StatusCode: reply.Head.Status, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(reply.Body)), ContentLength: reply.Head.Length}
	for _, f := range reply.Head.Header {
		r.Header.Add(f.Name, f.Value)
	}
	return r
}

func text(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswers(t *testing.T) {
	tag, packed := get(t, "GET", Path).Header.Get("ETag"), get(t, "GET", Path, "Accept-Encoding", "gzip").Header.Get("ETag")
	if tag == "" || tag == packed {
		t.Errorf("tags %s and %s", tag, packed)
	}
	for _, c := range []struct {
		method, path string
		header       []string
		status       int
		body         bool
	}{
		{"GET", Path, nil, 200, true},
		{"GET", Path + "?window=1h", nil, 200, true},
		{"HEAD", Path, nil, 200, false},
		{"GET", Path, []string{"If-None-Match", tag}, 304, false},
		{"GET", Path, []string{"If-None-Match", `"x", W/` + tag}, 304, false},
		{"GET", Path, []string{"If-None-Match", "*"}, 304, false},
		{"GET", Path, []string{"If-None-Match", packed}, 200, true},
		{"GET", Path, []string{"If-None-Match", packed, "Accept-Encoding", "gzip"}, 304, false},
		{"POST", Path, nil, 405, true},
		{"GET", Path + "/", nil, 308, false},
		{"GET", Path + "/page.js", nil, 404, true},
		{"GET", Path + "/../dashboard.go", nil, 404, true},
		{"GET", "/", nil, 404, true},
	} {
		r := get(t, c.method, c.path, c.header...)
		if body := text(t, r.Body); r.StatusCode != c.status || (body != "") != c.body {
			t.Errorf("%s %s %v: %d with %d bytes", c.method, c.path, c.header, r.StatusCode, len(body))
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s %s: %s: %s", c.method, c.path, name, got)
			}
		}
		if c.status == 200 && (r.Header.Get("Content-Type") != "text/html; charset=utf-8" || r.Header.Get("Cache-Control") != "no-cache" || r.ContentLength <= 0) {
			t.Errorf("%s %s: %v", c.method, c.path, r.Header)
		}
	}
}

func TestGzip(t *testing.T) {
	plain := text(t, get(t, "GET", Path).Body)
	for accept, want := range map[string]bool{
		"gzip": true, "br;q=1.0, GZIP;q=0.5": true, "gzip;q=0": false, "gzip;q=x": false, "identity": false, "": false, "xgzip": false,
	} {
		r := get(t, "GET", Path, "Accept-Encoding", accept)
		body := io.Reader(r.Body)
		if got := r.Header.Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%q: gzip %v", accept, got)
		} else if got {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		if text(t, body) != plain {
			t.Errorf("%q: another page", accept)
		}
	}
}

// TestPolicy: the browser runs what is in the page and nothing else.
func TestPolicy(t *testing.T) {
	r := get(t, "GET", Path)
	doc, policy := text(t, r.Body), r.Header.Get("Content-Security-Policy")
	for _, part := range []struct{ directive, begin, end string }{
		{"script-src", `<script type="module">`, "</script>"},
		{"style-src", "<style>", "</style>"},
	} {
		if strings.Count(doc, part.begin) != 1 || strings.Count(doc, part.end) != 1 {
			t.Fatalf("not one %s", part.begin)
		}
		_, rest, _ := strings.Cut(doc, part.begin)
		inside, _, _ := strings.Cut(rest, part.end)
		if inside == "" || !strings.Contains(policy, "; "+part.directive+" '"+hash(inside)+"';") {
			t.Errorf("%s does not allow what is there: %s", part.directive, policy)
		}
	}
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
}

// TestStandsAlone: nothing is asked for from elsewhere, nothing is in the page
// that its policy forbids, and no text is read as HTML.
func TestStandsAlone(t *testing.T) {
	doc := text(t, get(t, "GET", Path).Body)
	// SVG's name is no address that anybody asks.
	rest := strings.ReplaceAll(doc, "http://www.w3.org/2000/svg", "")
	for _, bad := range []string{
		`(?i)https?:`, `["'(]//`, `\son[a-z]+=`, `\sstyle="`, `(?i)@import`, `\{\{`, `<!--`,
		`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML`, `\beval\(|new Function|localStorage\.setItem\([^)]*[kK]ey`,
	} {
		if found := regexp.MustCompile(bad).FindString(rest); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
}

// TestFollow: what the graphs show is known from before the page was opened.
func TestFollow(t *testing.T) {
	b, err := os.ReadFile("page/55-graphs.js")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"([a-z0-9]+_[a-z0-9_]+)"`).FindAllStringSubmatch(string(b), -1)
	followed := 0
	for _, name := range names {
		switch name[1] {
		case "client_left", "request_error_ratio": // no figure, and of the history alone
		default:
			if _, ok := Follow(name[1]); !ok {
				t.Errorf("%s is shown and not followed", name[1])
			}
			followed++
		}
	}
	if _, ok := Follow("requests_other_total"); ok || followed < 20 {
		t.Errorf("%d figures", followed)
	}
}

// TestSyntax has node read the script as a module.
func TestSyntax(t *testing.T) {
	doc := text(t, get(t, "GET", Path).Body)
	_, rest, _ := strings.Cut(doc, `<script type="module">`)
	script, _, _ := strings.Cut(rest, "</script>")
	runNode(t, script, "--check")
}

// TestScript runs checks of what needs no browser.
func TestScript(t *testing.T) {
	var script strings.Builder
	for _, pattern := range []string{"page/[1-8]*.js", "testdata/check.js"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			script.Write(b)
		}
	}
	runNode(t, script.String())
}

func runNode(t *testing.T, script string, args ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.mjs")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(node(t), append(args, file)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func node(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("node")
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skip("install the Debian package nodejs")
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
