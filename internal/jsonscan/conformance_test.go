package jsonscan

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// open opens a file of the shared data, which a test does without on a machine
// that has none.
func open(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join("../../../shared/data", filepath.FromSlash(name)))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestJSONTestSuite(t *testing.T) {
	plain, err := xz.NewReader(bufio.NewReader(open(t, "conformance/jsontestsuite.tar.xz")))
	if err != nil {
		t.Fatal(err)
	}
	// What RFC 8259 leaves open: numbers of any size and escapes of half a
	// surrogate pair are accepted, other encodings than UTF-8 and a byte order
	// mark are not.
	accepts := func(name string) bool {
		return strings.HasPrefix(name, "i_number_") || strings.HasPrefix(name, "i_structure_500_") ||
			strings.Contains(name, "surrogate") && !strings.Contains(name, "UTF8")
	}
	n := 0
	for archive := tar.NewReader(plain); ; n++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(h.Name)
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		fault := Validate(body, 0)
		switch {
		case strings.HasPrefix(name, "n_") && fault == nil:
			t.Errorf("%s was accepted", name)
		case strings.HasPrefix(name, "y_") && fault != nil:
			t.Errorf("%s: %v", name, fault)
		case strings.HasPrefix(name, "i_") && (fault == nil) != accepts(name):
			t.Errorf("%s: %v", name, fault)
		}
		if fault == nil && !json.Valid(body) {
			t.Errorf("%s is not accepted by encoding/json", name)
		}
	}
	if n < 300 {
		t.Errorf("found only %d files", n)
	}
}

func TestNaughtyStrings(t *testing.T) {
	body, err := io.ReadAll(open(t, "conformance/blns/blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	if err := Validate(body, 0); err != nil {
		t.Error(err)
	}
	for _, s := range list {
		checkString(t, s)
	}
}

// checkString encodes and decodes s, here and in encoding/json.
func checkString(t *testing.T, s string) {
	t.Helper()
	raw := AppendString(nil, s)
	var theirs string
	if err := json.Unmarshal(raw, &theirs); err != nil || theirs != strings.ToValidUTF8(s, "\ufffd") && strings.ToValidUTF8(s, "") == s {
		t.Errorf("%q was encoded as %s: %v", s, raw, err)
	}
	if got, err := String(raw); err != nil || got != theirs {
		t.Errorf("%s was decoded as %q, %v", raw, got, err)
	}
	other, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := String(other); err != nil || got != theirs {
		t.Errorf("%s was decoded as %q, %v", other, got, err)
	}
}

// recordedBodies returns the recorded JSON requests and replies.
func recordedBodies(t testing.TB) (bodies [][]byte) {
	t.Helper()
	plain, err := gzip.NewReader(open(t, "nonstream-chat/nonstream-chat.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(plain)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		var pair map[string]any
		if err := json.Unmarshal(line, &pair); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, line)
		for _, v := range pair {
			if s, ok := v.(string); ok && json.Valid([]byte(s)) {
				bodies = append(bodies, []byte(s))
			}
		}
	}
}

func TestRecordedBodies(t *testing.T) {
	for _, body := range recordedBodies(t) {
		if err := Validate(body, 0); err != nil {
			t.Fatalf("%v: %.200s", err, body)
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil {
			continue
		}
		for key, want := range members {
			v, ok := Get(body, key)
			if !ok || string(body[v.Start:v.End]) != string(want) {
				t.Errorf("Get %q of %.200s", key, body)
			}
		}
	}
}
