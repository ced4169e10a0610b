package front

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"

	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// form makes a multipart body with the model before or after a file.
func form(t testing.TB, fileSize int, modelFirst bool, model string) (body []byte, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	field := func() {
		if model != "" {
			_ = w.WriteField("model", model)
		}
	}
	if modelFirst {
		field()
	}
	f, err := w.CreateFormFile("file", "a.wav")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write(bytes.Repeat([]byte("\r\n--x"), fileSize/5))
	if !modelFirst {
		field()
	}
	w.Close()
	return buf.Bytes(), w.FormDataContentType()
}

func TestUploads(t *testing.T) {
	var got []byte
	var model string
	var length int64
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		var err error
		model, length = req.Model, req.BodyLen
		if got, err = io.ReadAll(req.BodyReader); err != nil {
			return err
		}
		return sendUnary(out, `{}`)
	}, func(c *Config, _ *StreamConfig) { c.MaxUploadBytes = 4 << 20 })
	temporary := len(leftovers(t))
	for _, e := range engines {
		for _, size := range []int{100, 300_000, 600_000} {
			for _, first := range []bool{true, false} {
				for _, name := range []string{"whisper-1", ""} {
					for _, known := range []bool{true, false} {
						body, contentType := form(t, size, first, name)
						req := newRequest(t, t.Context(), "POST", s.url("/v1/audio/transcriptions"), "")
						req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
						if known {
							req.ContentLength = int64(len(body))
						}
						req.Header.Set("Content-Type", contentType)
						resp, text := do(t, e.client(t, s), req)
						if resp.StatusCode != 200 || model != name || !bytes.Equal(got, body) || length != req.ContentLength {
							t.Errorf("%s size %d first %v: %d %s, model %q, %d of %d bytes", e.name, size, first, resp.StatusCode, text, model, len(got), len(body))
						}
					}
				}
			}
		}
	}
	if n := len(leftovers(t)); n != temporary {
		t.Errorf("%d temporary files left", n-temporary)
	}
	body, contentType := form(t, 5_000_000, true, "whisper-1")
	req := newRequest(t, t.Context(), "POST", s.url("/v1/audio/transcriptions"), "")
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
	req.Header.Set("Content-Type", contentType)
	if resp, text := do(t, h1(t, s), req); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d %s", resp.StatusCode, text)
	}
}

// A body that goes on for as long as its client likes is called so, and no other.
func TestLiveBody(t *testing.T) {
	live := false
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		live = req.Live
		_, _ = io.Copy(io.Discard, req.BodyReader)
		return sendUnary(out, `{}`)
	})
	for path, want := range map[string]bool{"/v1/protobuf/decode/stream": true, "/v1/files": false} {
		req := newRequest(t, t.Context(), "POST", s.url(path), "x")
		req.Header.Set("Content-Type", "application/x-protobuf")
		if resp, text := do(t, h1(t, s), req); resp.StatusCode != 200 || live != want {
			t.Errorf("%s: %d %s, live %v", path, resp.StatusCode, text, live)
		}
	}
}

func leftovers(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "sluice-upload-") {
			names = append(names, e.Name())
		}
	}
	return names
}

// untimed is an exchange whose body comes at once.
type untimed struct{ engine.Exchange }

func (untimed) SetReadDeadline(time.Time) {}

// FuzzForm has any bytes pass as a form without a change.
func FuzzForm(f *testing.F) {
	one, contentType := form(f, 100, false, "m")
	_, boundary, _ := strings.Cut(contentType, "boundary=")
	f.Add(bytes.ReplaceAll(one, []byte(boundary), []byte("B")))
	f.Add([]byte("--B\r\n\r\n--B--"))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := &request{body: body{e: untimed{}, src: bytes.NewReader(text), limit: 1 << 20}}
		if err := in.peekForm("B"); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in.req.BodyReader)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes became %d, %v", len(text), len(got), err)
		}
	})
}
