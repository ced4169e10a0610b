package simulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/memory"
)

// upTo is a ResponseWriter of a client that leaves after so many bytes.
type upTo struct {
	discard
	left int
	head []byte // what came first
}

// Write implements io.Writer.
func (w *upTo) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	w.head = append(w.head, b[:min(len(b), 1000-min(len(w.head), 1000))]...)
	return len(b), nil
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestLargeRepliesAreNotHeld: what is repeated is written piece by piece, however much of
// it was asked for, and no longer than the client is there.
func TestLargeRepliesAreNotHeld(t *testing.T) {
	s := New(Config{})
	for _, c := range []struct {
		fault, more string
		length      bool // whether it is announced
	}{
		{"pad=4294967296", "", true},
		{"pad=4294967296&encoding=gzip", "", false},
		{"pad=4294967296&encoding=zstd", "", false},
		{"pad=4294967296&close-delimited=1", "", false},
		{"comments=100000", `,"stream":true`, false},
	} {
		w := &upTo{discard: discard{http.Header{}}, left: 100 << 20}
		got := allocated(func() {
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(strings.Replace(hello, "sim-chat", "sim-chat?"+c.fault, 1)+c.more+"}"))
			r.Header.Set("Content-Type", "application/json")
			if strings.Contains(c.fault, "encoding=gzip") {
				w.left = 64 << 10 // some 64 MB
			}
			s.ServeHTTP(w, r)
		})
		if most := uint64(8 << 20); got > most {
			t.Errorf("%s: %d bytes are allocated", c.fault, got)
		}
		if l := w.header.Get("Content-Length"); (l != "") != c.length {
			t.Errorf("%s: Content-Length %q", c.fault, l)
		}
		if len(w.head) == 0 {
			t.Errorf("%s: nothing was sent", c.fault)
		}
	}
}

// TestPadding: plain padding has its length announced, and so has a coded reply of
// moderate size; a larger one is coded as it goes. Both may end within.
func TestPadding(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	plain := read(t, post(t, url, "", hello+`}`))
	ask := func(fault string) (*http.Response, []byte, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(hello+`}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "X-Sim-Fault": {fault}, "Accept-Encoding": {"gzip"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		b, err := io.ReadAll(res.Body)
		return res, b, err
	}
	for _, pad := range []int{10, 100_000, 2_000_000, 5_000_000} {
		want := append(bytes.Clone(plain), bytes.Repeat([]byte{' '}, pad)...)
		res, got, err := ask(fmt.Sprintf("pad=%d", pad))
		if err != nil || res.ContentLength != int64(len(want)) || !bytes.Equal(got, want) {
			t.Errorf("pad=%d: %d bytes of %d, %v", pad, len(got), res.ContentLength, err)
		}
		res, got, err = ask(fmt.Sprintf("pad=%d,encoding=gzip", pad))
		if whole := len(want) <= maxCoded; err != nil || (res.ContentLength == int64(len(got))) != whole {
			t.Errorf("pad=%d, gzip: %d bytes of %d, %v", pad, len(got), res.ContentLength, err)
		}
		decoded, err := gzip.NewReader(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(decoded); err != nil || !bytes.Equal(got, want) {
			t.Errorf("pad=%d, gzip: %d bytes, %v", pad, len(got), err)
		}
	}
	for fault, length := range map[string]int{
		"pad=100000,cut=50000": 50_000, "pad=100000,cut=0": 0, "pad=100000,cut=50000,split=999": 50_000,
		"pad=5000000,encoding=zstd,cut=4000000": 4_000_000, "pad=100,encoding=zstd,cut=20": 20,
	} {
		if _, got, err := ask(fault); err == nil || len(got) != length {
			t.Errorf("%s: %d bytes, %v", fault, len(got), err)
		}
	}
	for fault, length := range map[string]int{"pad=100000,stall=60000": 60_000, "pad=5000000,encoding=br,stall=4000000": 4_000_000} {
		res := post(t, url, fault, hello+`}`)
		if n, err := io.CopyN(io.Discard, res.Body, int64(length)); err != nil {
			t.Errorf("%s: %d bytes, %v", fault, n, err)
		}
	}
}

// answered is the status, and the error's code, that a request has.
func answered(s *Server, path, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var got struct {
		Error struct{ Message, Code string }
	}
	_ = json.Unmarshal(w.Body.Bytes(), &got)
	if w.Code != http.StatusOK && got.Error.Message == "" {
		got.Error.Code = "no message"
	}
	return w.Code, got.Error.Code
}

// TestRoom: a reply that is made as a whole is made where there is room for it, refused with
// 503 where others have it, and with 400 where there never is; and gives it back.
func TestRoom(t *testing.T) {
	var budget memory.Budget
	budget.Resize(16 << 20)
	account := budget.Account("simulator")
	account.AtMost(0.5)
	s := New(Config{Account: account})
	long := strings.Repeat("word ", 60_000)
	schema := `"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"array","minItems":19000,"items":{"type":"string","minLength":1000}}}}`
	for _, c := range []struct {
		path, body string
		status     int // when nobody else has any room
	}{
		{"/v1/chat/completions", hello + `}`, 200},
		{"/v1/chat/completions", strings.Replace(hello, "sim-chat", "sim-chat?tokens=50000", 1) + `}`, 200},
		{"/v1/chat/completions", strings.Replace(hello, "sim-chat", "sim-chat?tokens=50000", 1) + `,"stream":true}`, 200},
		{"/v1/chat/completions", strings.Replace(hello, "sim-chat", "sim-chat?tokens=1000000", 1) + `}`, 400},
		{"/v1/chat/completions", strings.Replace(hello, "sim-chat", "sim-chat?tokens=1000001", 1) + `}`, 400},
		{"/v1/chat/completions", strings.Replace(hello, "sim-chat", "sim-chat?tokens=5000", 1) + `,"n":100}`, 400},
		{"/v1/chat/completions", strings.Replace(hello, "sim-chat", "sim-chat?tokens=2000", 1) + `,"logprobs":true,"top_logprobs":20}`, 400},
		{"/v1/chat/completions", hello + `,` + schema + `}`, 400},
		{"/v1/chat/completions", `{"model":"sim-echo?tokens=1000000","messages":[{"role":"user","content":"` + strings.Repeat(" ", 100_000) + `a"}]}`, 400},
		{"/v1/chat/completions", `{"model":"sim-script","messages":[{"role":"user","content":"` + long + `"}],"n":100}`, 200},
		{"/v1/responses", `{"model":"sim-echo","input":"` + long + `"}`, 200},
		{"/v1/completions", `{"model":"sim-chat?tokens=1000","n":100,"prompt":["a","b","c","d","e","f"]}`, 400},
		{"/v1/completions", `{"model":"sim-echo","echo":true,"n":20,"prompt":"` + long + `"}`, 400},
		{"/v1/embeddings", `{"model":"sim-embed","dimensions":100,"input":["a"` + strings.Repeat(`,"b"`, 2047) + `]}`, 200},
		{"/v1/embeddings", `{"model":"sim-embed","dimensions":1024,"input":["a"` + strings.Repeat(`,"b"`, 2047) + `]}`, 400},
		{"/v1/embeddings", `{"model":"sim-embed","dimensions":1025,"input":["a"` + strings.Repeat(`,"b"`, 2047) + `]}`, 400},
		{"/v1/moderations", `{"input":["a"` + strings.Repeat(`,"b"`, 5000) + `]}`, 400},
		{"/v1/audio/speech", `{"model":"sim-chat","input":"` + strings.Repeat("a ", 2000) + `"}`, 200},
		{"/v1/audio/speech", `{"model":"sim-chat","input":"` + long + `"}`, 400},
		{"/v1/chat/completions", `{"model":"sim-chat?fail-first=1&key=` + strings.Repeat("k", maxSpec) + `","messages":[{"role":"user","content":"hi"}]}`, 200},
	} {
		name := c.path + " " + c.body[:min(len(c.body), 60)]
		if status, code := answered(s, c.path, c.body); status != c.status || code == "no message" {
			t.Errorf("%s: %d %s", name, status, code)
		}
		if _, code := answered(s, c.path, c.body); strings.Contains(c.body, schema) && code != "reply_too_large" {
			t.Errorf("%s: %s", name, code)
		}
		if held := account.Held(); held != 0 {
			t.Fatalf("%s: %d bytes are held after it", name, held)
		}
		if c.status != 200 || c.body == hello+`}` || strings.Contains(c.body, "fail-first") {
			continue
		}
		account.Hold(8<<20 - small)
		if status, code := answered(s, c.path, c.body); status != 503 || code != "gateway_overloaded" {
			t.Errorf("%s, with little room: %d %s", name, status, code)
		}
		account.Give(8<<20 - small)
	}
}

// TestLargestEmbeddings: what the largest reply allocates is little more than itself.
func TestLargestEmbeddings(t *testing.T) {
	s := New(Config{})
	body := `{"model":"sim-embed","dimensions":1024,"input":["a"` + strings.Repeat(`,"b"`, 2047) + `]}`
	w := &upTo{discard: discard{http.Header{}}, left: 1 << 30}
	got := allocated(func() {
		r := httptest.NewRequest(http.MethodPost, "/v1/embeddings", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(w, r)
	})
	if length, _ := strconv.Atoi(w.header.Get("Content-Length")); length < 20<<20 || got > 5*uint64(length) {
		t.Errorf("%d bytes are allocated for %d", got, length)
	}
}

// TestEndlessSchemas: a schema that refers to itself without an end is refused.
func TestEndlessSchemas(t *testing.T) {
	for _, raw := range []string{
		`{"allOf":[{"$ref":"#"},{"$ref":"#"}]}`,
		`{"allOf":[{"allOf":[{"$ref":"#"}]}]}`,
		`{"type":"string","pattern":"(` + strings.Repeat("long ", 10_000) + `)*","minLength":65000}`,
		`{"type":"string","pattern":"(?:` + strings.Repeat("x", 1000) + `){0,1000}"}`,
		`{"type":"array","minItems":9000,"items":{"type":"string","minLength":60000,"pattern":"(?:x{0,1000}){3}x*"}}`,
		`{"type":"array","minItems":20000,"items":{"type":"boolean"}}`,
		`{"description":"` + strings.Repeat("x", maxSchema) + `"}`,
		strings.Repeat(`{"properties":{"a":`, 40) + `{}` + strings.Repeat(`}}`, 40),
	} {
		if got, err := instance(json.RawMessage(raw), newDigest(1).rand(0), new(room)); err == nil {
			t.Errorf("%.40s: %d bytes", raw, len(got))
		}
	}
}

// TestSchemasOfNull: null in place of a schema demands nothing.
func TestSchemasOfNull(t *testing.T) {
	for _, raw := range []string{`{"anyOf":[null]}`, `{"oneOf":[null,{"type":"string"}]}`, `{"allOf":[null,{"type":"boolean"}]}`, `{"type":"object","properties":{"a":null},"required":["a"]}`,
		`{"type":"array","minItems":2,"prefixItems":[null],"items":null}`, `{"$ref":"#/$defs/a","$defs":{"a":null}}`, `{"type":"array","minItems":15000,"items":{"type":"boolean"}}`} {
		got, err := instance(json.RawMessage(raw), newDigest(1).rand(0), new(room))
		if err != nil || !json.Valid([]byte(got)) {
			t.Errorf("%s: %.40s, %v", raw, got, err)
		}
	}
}
