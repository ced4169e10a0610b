package codec

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/protobuf"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notes.proto")
	if err := os.WriteFile(path, []byte(notes), 0o600); err != nil {
		t.Fatal(err)
	}
	hi, empty := note("hi"), "\x00"
	framed := string(append([]byte{byte(len(hi))}, hi...)) + empty
	cfg := Default()
	cfg.MaxInputBytes = 1 << 10
	for _, test := range []struct {
		name      string
		d         Direction
		delimited bool
		in        string
		out, err  string
	}{
		{"encode", Encode, false, ` {"text":"hi"} `, string(hi), ""},
		{"decode", Decode, false, string(hi) + "\x20\x01", `{"text":"hi","kind":1}` + "\n", ""},
		{"lines", Encode, true, "{\"text\":\"hi\"}\n\n{}", framed, ""},
		{"frames", Decode, true, framed, "{\"text\":\"hi\"}\n{}\n", ""},
		{"nothing", Decode, true, "", "", ""},
		{"bad line", Encode, true, "{}\nx\n{}", empty, "message 2: The JSON is not a test.Note: "},
		{"cut frame", Decode, true, framed + "\x05a", "{\"text\":\"hi\"}\n{}\n", "message 3: The stream ends within a message, of which there are 2 bytes."},
		{"long", Encode, false, strings.Repeat(" ", 2<<10), "", "The input is larger than the 1024 bytes"},
		{"long line", Encode, true, "{}\n" + strings.Repeat(" ", 2<<10), empty, "message 2: The input is larger"},
		{"long frame", Decode, true, "\x81\x08", "", "message 1: The message has 1025 bytes, more than the 1024 that are taken."},
	} {
		var out bytes.Buffer
		err := Run(t.Context(), test.d, []string{path}, "test.Note", test.delimited, strings.NewReader(test.in), &out,
			RunOptions{Config: cfg, Options: protobuf.Options{UseEnumNumbers: true}})
		said := ""
		if err != nil {
			said = err.Error()
		}
		if out.String() != test.out || !strings.HasPrefix(said, test.err) || test.err == "" && said != "" {
			t.Errorf("%s: %q, %s", test.name, &out, said)
		}
	}
	for _, test := range []struct{ path, name, want string }{
		{path, "test.Not", `unknown message "test.Not" in schema "schema"; did you mean "test.Note"?`},
		{filepath.Join(dir, "none.proto"), "test.Note", "load schema"},
	} {
		err := Run(t.Context(), Encode, []string{test.path}, test.name, false, strings.NewReader("{}"), &bytes.Buffer{}, RunOptions{Config: cfg})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s of %s: %v", test.name, test.path, err)
		}
	}
}

// The well-known types need no schema.
func TestRunWithoutSchema(t *testing.T) {
	o := RunOptions{Config: Default()}
	for name, text := range map[string]string{
		"google.protobuf.Struct":    `{"a":[1,"x"]}`,
		"google.protobuf.Timestamp": `"2024-01-01T00:00:00Z"`,
		"google.protobuf.Any":       `{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}`,
	} {
		var wire, back bytes.Buffer
		err := Run(t.Context(), Encode, nil, name, false, strings.NewReader(text), &wire, o)
		if err == nil {
			err = Run(t.Context(), Decode, nil, name, false, &wire, &back, o)
		}
		if err != nil || back.String() != text+"\n" {
			t.Errorf("%s: %q, %v", name, back.String(), err)
		}
	}
	err := Run(t.Context(), Encode, nil, "demo.A", false, strings.NewReader("{}"), &bytes.Buffer{}, o)
	if err == nil || !strings.Contains(err.Error(), "demo.A") || !strings.Contains(err.Error(), "--schema") {
		t.Errorf("a type of no schema: %v", err)
	}
}

// TestOutcomes: who left has left, whatever it went through; and what an upstream's
// time-out caused is no leaving.
func TestOutcomes(t *testing.T) {
	timeout := llm.UpstreamError("up", llm.TimedOut, 504, "upstream_timeout", "%s", context.DeadlineExceeded)
	for err, want := range map[error]outcome{
		nil: done, context.Canceled: cancelled, llm.After(context.DeadlineExceeded, time.Second, 0, 0): cancelled,
		llm.Unsent(context.Canceled): cancelled, timeout: failed, io.ErrUnexpectedEOF: failed, errMissing("x", "x"): invalid, errUndone(errFull): busy,
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
