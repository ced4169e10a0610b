package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// h2spec is the conformance suite for HTTP/2 servers (RFC 9113, HPACK).
const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// TestH2Spec runs h2spec against the cleartext HTTP/2 listener.
func TestH2Spec(t *testing.T) {
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", h2spec)
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	out, err := install.CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
	}
	need(t, err)
	in := start(t, "")
	u, err := url.Parse(in.url)
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), filepath.Join(dir, "h2spec"), "-h", u.Hostname(), "-p", u.Port(), "-P", "/healthz", "-o", "3")
	out, err = run.CombinedOutput()
	summary := regexp.MustCompile(`\d+ tests, \d+ passed, \d+ skipped, \d+ failed`).FindString(string(out))
	t.Log(summary)
	if err != nil || !strings.HasSuffix(summary, " 0 failed") {
		t.Errorf("h2spec: %v\n%s", err, out)
	}
}
