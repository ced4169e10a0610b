package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// h2spec is the conformance suite for HTTP/2 servers (RFC 9113, HPACK).
const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// deviations are the cases in which net/http's server knowingly does something
// else than h2spec asks for, and why that is right here.
func deviations() map[string]string {
	return map[string]string{
		"Sends invalid connection preface":                                                                                                     "the port speaks HTTP/1.1 too, so bytes that are no preface are an HTTP/1.1 request, and a bad one",
		"Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE":                                                            "the server announces 1 MiB; h2spec assumes 16 KiB",
		"Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                                                                "a setting given twice in one frame ends the connection, as a guard",
		"Sends a HEADERS frame that contains the connection-specific header field":                                                             "the request is answered 400, which RFC 9113 section 8.1.1 allows before a reset",
		`Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`:                                         "likewise 400",
		`Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length`:                      "the route takes no body and may answer before the frame has come",
		`Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length`: "the route takes no body and answers before the second frame has come",
	}
}

var failedCase = regexp.MustCompile(`× \d+: (.+)`)

// TestH2Spec runs h2spec against the cleartext HTTP/2 listener.
func TestH2Spec(t *testing.T) {
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", h2spec)
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod -trimpath")
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
	// h2spec watches what comes first within a few seconds, so a busy machine
	// can fail a case; one that never passes in three runs is a fault.
	var unknown []string
	for range 3 {
		run := exec.CommandContext(t.Context(), filepath.Join(dir, "h2spec"), "-h", u.Hostname(), "-p", u.Port(), "-P", "/healthz", "-o", "3")
		out, err := run.CombinedOutput()
		summary := regexp.MustCompile(`\d+ tests, \d+ passed, \d+ skipped, \d+ failed`).FindString(string(out))
		if summary == "" {
			t.Fatalf("h2spec: %v\n%s", err, out)
		}
		failed := undeclared(string(out))
		t.Log(summary, failed)
		if unknown == nil {
			unknown = failed
		}
		unknown = slices.DeleteFunc(unknown, func(c string) bool { return !slices.Contains(failed, c) })
		if len(unknown) == 0 {
			return
		}
	}
	t.Errorf("h2spec: %q", unknown)
}

// undeclared lists the failed cases that are not among the deviations.
func undeclared(out string) (titles []string) {
	known := deviations()
	for _, m := range failedCase.FindAllStringSubmatch(out, -1) {
		if title := strings.TrimSpace(m[1]); known[title] == "" {
			titles = append(titles, title)
		}
	}
	return titles
}
