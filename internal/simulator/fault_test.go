package simulator

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"sluice/internal/testkit"
)

const streamed = hello + `,"stream":true}`

func TestFaultsOfStreams(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	plain := read(t, post(t, url, "", streamed))
	// try reads a stream to its end, and says how it ended.
	try := func(fault string) ([]byte, error) {
		res := post(t, url, fault, streamed)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s: %d %v", fault, res.StatusCode, res.Header)
		}
		return io.ReadAll(res.Body)
	}
	events := bytes.SplitAfter(plain, []byte("\n\n"))
	firstThree := bytes.Join(events[:3], nil)

	if got, err := try("cut=3"); !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(got, firstThree) {
		t.Errorf("cut=3: %v after %q", err, got)
	}
	if got, err := try("cut=0"); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 0 {
		t.Errorf("cut=0: %v after %q", err, got)
	}
	if got, err := try("no-done=1"); err != nil || string(got)+"data: [DONE]\n\n" != string(plain) {
		t.Errorf("no-done: %v after %q", err, got)
	}
	if got, err := try("error-event=3"); err != nil || !bytes.HasPrefix(got, firstThree) || !bytes.HasPrefix(got[len(firstThree):], []byte(`data: {"error":{"message":`)) {
		t.Errorf("error-event: %v after %q", err, got)
	} else {
		conforms(t, "ErrorResponse", payloads(t, got)[3])
	}
	if got, err := try("malformed=2"); err != nil || json.Valid(payloads(t, got)[1]) || len(payloads(t, got)) != len(payloads(t, plain)) {
		t.Errorf("malformed: %v after %q", err, got)
	}
	for _, same := range []string{"split=1", "split=7", "close-delimited=1", "pace=1us", "ttft=1ms,latency=1ms", "eol=lf"} {
		if got, err := try(same); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %v after %q", same, err, got)
		}
	}
	if got, err := try("eol=crlf,comments=2"); err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != ": processing\n\n: processing\n\n"+string(plain) {
		t.Errorf("eol, comments: %v after %q", err, got)
	}
	if got, err := try("eol=cr"); err != nil || strings.ReplaceAll(string(got), "\r", "\n") != string(plain) {
		t.Errorf("eol=cr: %v after %q", err, got)
	}
	if got, err := try("tokens=500"); err != nil || len(payloads(t, got)) != 503 {
		t.Errorf("tokens=500: %v and %d events", err, len(payloads(t, got)))
	}
}

func TestFaultsOfUnaryReplies(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	plain := read(t, post(t, url, "", hello+`}`))
	for _, fault := range []string{"cut=10", "wrong-length=10"} {
		res := post(t, url, fault, hello+`}`)
		if _, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", fault, err)
		}
	}
	if got := read(t, post(t, url, "wrong-length=-10", hello+`}`)); !bytes.Equal(got, plain[:len(plain)-10]) {
		t.Errorf("wrong-length=-10: %q", got)
	}
	if got := read(t, post(t, url, "malformed=1", hello+`}`)); json.Valid(got) {
		t.Errorf("malformed: %q", got)
	}
	if got := read(t, post(t, url, "pad=100000", hello+`}`)); len(got) != len(plain)+100000 || !json.Valid(got) {
		t.Errorf("pad: %d bytes", len(got))
	}
	if res := post(t, url, "close-delimited=1", hello+`}`); res.ContentLength != -1 || res.TransferEncoding != nil || !bytes.Equal(read(t, res), plain) {
		t.Errorf("close-delimited: %v", res.Header)
	}
	if got := read(t, post(t, url, "split=1", hello+`}`)); !bytes.Equal(got, plain) {
		t.Errorf("split: %q", got)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(hello+`}`))
	req.Header = http.Header{"Content-Type": {"application/json"}, "X-Sim-Fault": {"reset=1"}}
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
	for _, status := range []int{502, 504, 520} {
		res := post(t, url, fmt.Sprintf("status=%d", status), hello+`}`)
		if b := read(t, res); res.StatusCode != status || !strings.HasPrefix(string(b), "<html>") {
			t.Errorf("status=%d: %d %q", status, res.StatusCode, b)
		}
	}
}

func TestEncodings(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	for _, body := range []string{hello + `}`, streamed} {
		plain := read(t, post(t, url, "", body))
		for name, decode := range map[string]func(io.Reader) (io.Reader, error){
			"gzip":    func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
			"deflate": func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) },
			"br":      func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
			"zstd":    func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) },
		} {
			res := post(t, url, "encoding="+name, body)
			if got := res.Header.Get("Content-Encoding"); got != name && !res.Uncompressed {
				t.Errorf("%s: Content-Encoding %q", name, got)
			}
			var r io.Reader = res.Body
			if !res.Uncompressed { // http.Client undoes gzip on its own
				var err error
				if r, err = decode(res.Body); err != nil {
					t.Fatal(name, err)
				}
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: %v after %q", name, err, got)
			}
		}
	}
}

func TestFailFirst(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	for _, fault := range []string{"status=429,fail-first=2", "fail-first=2,key=a", "fail-first=2,key=b"} {
		var got []int
		for range 4 {
			got = append(got, post(t, url, fault, hello+`}`).StatusCode)
		}
		if s := fmt.Sprint(got); s != "[429 429 200 200]" && s != "[503 503 200 200]" {
			t.Errorf("%s: %s", fault, s)
		}
	}
	model := strings.Replace(hello, "sim-chat", "sim-chat?status=418&retry-after=Wed%2C%2021%20Oct%202015%2007:28:00%20GMT", 1) + `}`
	res := post(t, url, "", model)
	if res.StatusCode != 418 || res.Header.Get("Retry-After") != "Wed, 21 Oct 2015 07:28:00 GMT" {
		t.Errorf("model's fault: %d %v", res.StatusCode, res.Header)
	}
}

func TestClientLeaving(t *testing.T) {
	for _, fault := range []string{"stall=2", "latency=1h", "ttft=1h", "pace=1h"} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s h2=%t", fault, h2), func(t *testing.T) {
				s, url := start(t)
				client := http.DefaultClient
				if h2 {
					client = h2Client(t)
				}
				ctx, cancel := context.WithCancel(t.Context())
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(streamed))
				req.Header = http.Header{"Content-Type": {"application/json"}, "X-Sim-Fault": {fault}}
				done := make(chan struct{})
				go func() {
					defer close(done)
					if res, err := client.Do(req); err == nil {
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
				}()
				testkit.Until(t, "the request is there", func() bool { return s.Stats().Active == 1 })
				cancel()
				<-done
				testkit.Until(t, "the request has ended", func() bool { return s.Stats() == Stats{Requests: 1, Cancelled: 1} })
			})
		}
	}
}

func TestCloseEndsStalledRequests(t *testing.T) {
	s, url := start(t)
	res := post(t, url+"/v1/chat/completions", "stall=1", streamed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the stalled stream ended as if it were complete")
	}
	if got := s.Stats().Active; got != 0 {
		t.Errorf("%d requests active after Close", got)
	}
}

func TestCloseWithoutServe(t *testing.T) {
	s := New(Config{})
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", addr.String()); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
	if err := New(Config{}).Serve(); err == nil {
		t.Error("Serve without Listen")
	}
}

func h2Client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestHTTP2(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	client := h2Client(t)
	plain := read(t, post(t, url, "", streamed))
	for _, fault := range []string{"", "split=1", "cut=3", "reset=1", "wrong-length=3", "close-delimited=1"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(streamed))
		req.Header = http.Header{"Content-Type": {"application/json"}, "X-Sim-Fault": {fault}}
		res, err := client.Do(req)
		if fault == "reset=1" {
			if err == nil {
				t.Error("reset: no error")
			}
			continue
		}
		if err != nil {
			t.Fatal(fault, err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		switch fault {
		case "cut=3":
			if err == nil || len(got) == 0 {
				t.Errorf("cut: %v after %q", err, got)
			}
		case "wrong-length=3":
			conforms(t, "ErrorResponse", got)
		default:
			if err != nil || res.ProtoMajor != 2 || !bytes.Equal(got, plain) {
				t.Errorf("%s: %s %v after %q", fault, res.Proto, err, got)
			}
		}
	}
}

func TestUploads(t *testing.T) {
	_, url := start(t)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("model", "sim-chat")
	_ = form.WriteField("purpose", "user_data")
	f, _ := form.CreateFormFile("file", "a.wav")
	_, _ = f.Write(bytes.Repeat([]byte("sound"), 200_000))
	_ = form.Close()
	for _, path := range []string{"/v1/audio/transcriptions", "/v1/files", "/v1/sim/echo"} {
		res, err := http.Post(url+path, form.FormDataContentType(), bytes.NewReader(body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		raw := read(t, res)
		_ = res.Body.Close()
		var got received
		if err := json.Unmarshal(raw, &got); err != nil || res.StatusCode != 200 {
			t.Fatal(err, string(raw))
		}
		switch path {
		case "/v1/files":
			conforms(t, "OpenAIFile", raw)
			if got.Bytes != 1_000_000 {
				t.Errorf("%s", raw)
			}
		default:
			if got.Bytes != int64(body.Len()) || len(got.Parts) != 3 || got.Parts[2].Bytes != 1_000_000 {
				t.Errorf("%s", raw)
			}
		}
	}
	faulty := strings.Replace(body.String(), "sim-chat", "sim-chat?status=503", 1)
	res, err := http.Post(url+"/v1/audio/transcriptions", form.FormDataContentType(), strings.NewReader(faulty))
	if err != nil {
		t.Fatal(err)
	}
	if conforms(t, "ErrorResponse", read(t, res)); res.StatusCode != 503 {
		t.Errorf("a form's fault: %d", res.StatusCode)
	}
	_ = res.Body.Close()
	if res := post(t, url+"/v1/audio/speech", "", `{"model":"sim-chat","input":"say this"}`); res.Header.Get("Content-Type") != "audio/mpeg" || len(read(t, res)) != 2048 {
		t.Errorf("speech: %v", res.Header)
	}
}

// The page about the simulator lists every fault, each with an example that works.
func TestFaultsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("fault.go")
	if err != nil {
		t.Fatal(err)
	}
	keys := func(pattern string, text []byte) (keys []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			keys = append(keys, string(m[1]))
			if len(m) > 2 {
				if _, err := parseFault(string(m[1])+"="+string(m[2]), ",", noFault()); err != nil {
					t.Errorf("the example for %s: %v", m[1], err)
				}
			}
		}
		slices.Sort(keys)
		return keys
	}
	documented, known := keys("(?m)^\\| `([a-z-]+)=([^`]*)` \\|", page), keys(`(?m)^\tcase "([a-z-]+)":$`, source)
	if !slices.Equal(documented, known) || len(known) < 20 {
		t.Errorf("documented are\n%v, known\n%v", documented, known)
	}
}
