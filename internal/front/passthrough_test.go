package front

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/spool"
	"sluice/internal/testkit"
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
	store, mem := keeping(t, nil)
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		var err error
		model, length = req.Model, req.BodyLen
		if got, err = io.ReadAll(req.BodyReader); err != nil {
			return err
		}
		return sendUnary(out, `{}`)
	}, Options{Spools: store, Memory: mem}, func(c *Config, _ *StreamConfig) { c.MaxUploadBytes = 4 << 20 })
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

// keeping makes a Store and its memory. When the test ends nothing may be kept.
func keeping(t testing.TB, change func(*memory.Config)) (*spool.Store, *memory.Governor) {
	cfg := memory.Default()
	cfg.SpoolDir = t.TempDir()
	if change != nil {
		change(&cfg)
	}
	g := memory.New(memory.Options{})
	g.Budget.Resize(64 << 20)
	store := spool.New(cfg, g, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		testkit.Until(t, "nothing is kept", func() bool {
			return figuresOf(store)["spool_file_bytes"] == 0 && g.Budget.Account("spools").Held() == 0
		})
	})
	return store, g
}

// upload sends a form, of known length or not.
func upload(t *testing.T, s *site, path, contentType string, body io.Reader) (status int, text string, header http.Header) {
	t.Helper()
	req := newRequest(t, t.Context(), "POST", s.url(path), "")
	req.Body, req.ContentLength = io.NopCloser(body), -1
	req.Header.Set("Content-Type", contentType)
	resp, text := do(t, h1(t, s), req)
	return resp.StatusCode, text, resp.Header
}

const speechPath = "/v1/audio/transcriptions"

// A form whose model comes first needs nothing kept; another that cannot be kept is
// refused, and says what helps.
func TestFormsThatCannotBeKept(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*memory.Config)
		level  memory.Level
		status int
		code   string
	}{
		"off":          {func(c *memory.Config) { c.SpoolAbove, c.SpoolMax = 0, 0 }, 0, 413, "request_too_large"},
		"no files":     {func(c *memory.Config) { c.SpoolMax = 0 }, 0, 413, "request_too_large"},
		"too large":    {func(c *memory.Config) { c.SpoolMax = 300_000 }, 0, 413, "request_too_large"},
		"no directory": {func(c *memory.Config) { c.SpoolDir = "/nowhere" }, 0, 503, "gateway_overloaded"},
		"scarce":       {func(c *memory.Config) { c.SpoolDir = "/nowhere" }, memory.Elevated, 503, "gateway_overloaded"},
	} {
		store, mem := keeping(t, c.change)
		mem.SetLevel(c.level)
		var model string
		var n int64
		s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
			model = req.Model
			if f := figuresOf(store); f["spool_files_total"] > 1 || req.Model != "" && f["spool_file_bytes"] > 0 {
				t.Errorf("%s: kept in a file", name)
			}
			n, _ = io.Copy(io.Discard, req.BodyReader)
			return sendUnary(out, `{}`)
		}, Options{Spools: store, Memory: mem})
		body, contentType := form(t, 600_000, false, "whisper-1")
		status, text, header := upload(t, s, speechPath, contentType, bytes.NewReader(body))
		if e := apiError(t, text); status != c.status || e.Code != c.code || !strings.Contains(e.Message, "before the file") || (header.Get("Retry-After") != "") != (status == 503) {
			t.Errorf("%s: %d %s", name, status, text)
		}
		testkit.Until(t, "the file is gone", func() bool { return figuresOf(store)["spool_file_bytes"] == 0 })
		body, contentType = form(t, 600_000, true, "whisper-1")
		if status, text, _ := upload(t, s, speechPath, contentType, bytes.NewReader(body)); status != 200 || model != "whisper-1" || n != int64(len(body)) {
			t.Errorf("%s: the model first: %d %s, %q, %d bytes", name, status, text, model, n)
		}
		body, contentType = form(t, 600_000, false, "whisper-1") // of which nobody needs to know
		if status, text, _ := upload(t, s, "/v1/files", contentType, bytes.NewReader(body)); status != 200 || model != "" || n != int64(len(body)) {
			t.Errorf("%s: a file: %d %s, %q, %d bytes", name, status, text, model, n)
		}
	}
}

// TestFormsInAFullHouse: where others have taken all that forms are kept in, one whose model
// comes first is in need of none of it.
func TestFormsInAFullHouse(t *testing.T) {
	store, mem := keeping(t, func(c *memory.Config) { c.SpoolMax = 1 })
	kept := mem.Budget.Account("spools")
	taken := int64(0)
	for kept.Take(1 << 10) {
		taken += 1 << 10
	}
	defer kept.Give(taken)
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		_, _ = io.Copy(io.Discard, req.BodyReader)
		return sendUnary(out, `{}`)
	}, Options{Spools: store, Memory: mem})
	for first, want := range map[bool]int{true: 200, false: 413} {
		body, contentType := form(t, 600_000, first, "whisper-1")
		if status, text, _ := upload(t, s, speechPath, contentType, bytes.NewReader(body)); status != want {
			t.Errorf("the model first: %v: %d %s", first, status, text)
		}
	}
}

// Forms whose model never comes take no more than may be taken, however many there
// are, and are in nobody's way whose model comes first.
func TestFormsWithoutModel(t *testing.T) {
	const clients, most, budget = 60, 4 << 20, 12 << 20
	store, mem := keeping(t, func(c *memory.Config) { c.SpoolMax = most })
	mem.Budget.Resize(budget)
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		_, _ = io.Copy(io.Discard, req.BodyReader)
		return sendUnary(out, `{}`)
	}, Options{Spools: store, Memory: mem})
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var waiting, refused atomic.Int32
	for i := range clients {
		wg.Go(func() {
			body, contentType := form(t, []int{10_000, 200_000, 500_000}[i%3], false, "")
			r, w := io.Pipe()
			wg.Go(func() {
				_, _ = w.Write(body[:len(body)-1000])
				waiting.Add(1)
				<-ctx.Done()
				_ = w.CloseWithError(ctx.Err())
			})
			req := newRequest(t, ctx, "POST", s.url(speechPath), "")
			req.Body, req.ContentLength = r, -1
			req.Header.Set("Content-Type", contentType)
			resp, err := h1(t, s).Do(req)
			_ = r.Close()
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			_ = resp.Body.Close()
			if refused.Add(1); resp.StatusCode != 503 {
				t.Errorf("%d", resp.StatusCode)
			}
		})
	}
	testkit.Until(t, "all have sent, or were refused", func() bool {
		if n := figuresOf(store)["spool_file_bytes"]; n > most {
			t.Errorf("%v bytes in files", n)
		}
		if n := mem.Budget.Used(); n > budget+budget/10 {
			t.Errorf("%d bytes of memory", n)
		}
		return waiting.Load() == clients && refused.Load() > 0
	})
	body, contentType := form(t, 600_000, true, "whisper-1")
	if status, text, _ := upload(t, s, speechPath, contentType, bytes.NewReader(body)); status != 200 {
		t.Errorf("the model first: %d %s", status, text)
	}
	leave()
	wg.Wait()
	if files := figuresOf(store)["spool_files_total"]; files == 0 || refused.Load() == clients {
		t.Errorf("%v files, %d were refused", files, refused.Load())
	}
}

// What comes before a part is not held without bound: such a form goes on as it is.
func TestLongPartHeads(t *testing.T) {
	for name, head := range map[string]string{
		"field":       "X: " + strings.Repeat("x", 9<<20),
		"fields":      strings.Repeat("X: x\r\n", 1<<20),
		"disposition": `Content-Disposition: form-data; name="model"; x="` + strings.Repeat("x", 3000) + `"`,
		"line":        strings.Repeat("\r\n", 1<<20),
	} {
		store, mem := keeping(t, nil)
		var model string
		var got []byte
		s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
			model = req.Model
			if n := mem.Budget.Account("spools").Held(); n > 16<<10 {
				t.Errorf("%s: %d bytes were read", name, n)
			}
			got, _ = io.ReadAll(req.BodyReader)
			return sendUnary(out, `{}`)
		}, Options{Spools: store, Memory: mem})
		body := "--B\r\n" + head + "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\r\n"
		if name == "line" {
			body = head + body
		}
		status, text, _ := upload(t, s, speechPath, "multipart/form-data; boundary=B", strings.NewReader(body))
		if status != 200 || model != "" || string(got) != body || figuresOf(store)["spool_files_total"] > 0 {
			t.Errorf("%s: %d %s, model %q, %d bytes of %d", name, status, text, model, len(got), len(body))
		}
	}
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
	spools, _ := keeping(f, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		in := &request{given: &given{s: &Server{spools: spools}}, body: body{e: untimed{}, src: bytes.NewReader(text), limit: 1 << 20}}
		in.lent = &lent{src: &in.body}
		in.req.BodyLen = -1
		defer in.spool.End()
		if err := in.peekForm("B"); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in.req.BodyReader)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes became %d, %v", len(text), len(got), err)
		}
	})
}
