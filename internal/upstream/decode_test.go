package upstream

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"sluice/internal/llm"
)

var codings = []string{"gzip", "deflate", "raw deflate", "br", "zstd"}

// encode codes a body; the name is as in codings, or several as in a field.
func encode(t testing.TB, coding string, body []byte) []byte {
	t.Helper()
	for part := range strings.SplitSeq(coding, ", ") {
		var b bytes.Buffer
		var w io.WriteCloser
		switch part {
		case "gzip":
			w = gzip.NewWriter(&b)
		case "deflate":
			w = zlib.NewWriter(&b)
		case "raw deflate":
			w, _ = flate.NewWriter(&b, 6)
		case "br":
			w = brotli.NewWriter(&b)
		case "zstd":
			w, _ = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		default:
			t.Fatal(part)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		body = b.Bytes()
	}
	return body
}

// coded serves a body as it is given, called by the coding in the query.
func coded(body *[]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", strings.TrimPrefix(r.URL.Query().Get("c"), "raw "))
		if r.URL.Query().Get("slow") == "" {
			_, _ = w.Write(*body)
			return
		}
		for i := range *body {
			_, _ = w.Write((*body)[i : i+1])
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func get(query string) *Call {
	return &Call{Method: "GET", Target: "/?" + strings.ReplaceAll(query, " ", "%20")}
}

func TestDecode(t *testing.T) {
	var served []byte
	eachProtocol(t, coded(&served), nil, func(t *testing.T, c *Client, _ func() int64) {
		long := []byte(strings.Repeat(`{"object":"chat.completion","n":[1,2,3]}`, 5000))
		for _, coding := range append(codings, "gzip, br", "identity", "zstd, deflate") {
			for name, want := range map[string][]byte{"": long, "&slow=1": long[:900], "&empty": nil} {
				served = want
				if coding != "identity" {
					served = encode(t, coding, want)
				}
				for range 2 { // the second time with a decoder that was used
					r, got, err := fetch(context.Background(), c, get("c="+coding+name))
					if err != nil || got != string(want) {
						t.Fatalf("%s%s: %d bytes of %d, %v", coding, name, len(got), len(want), err)
					}
					if r.Get("Content-Encoding") != "" || r.Get("Content-Length") != "" {
						t.Errorf("%s: %v", coding, r.Header)
					}
				}
			}
		}
		if p := c.pool.snapshot(); p.open != 1 || p.idle != 1 {
			t.Errorf("the connection was not kept: %+v", p)
		}
	})
}

func TestDecodeFaults(t *testing.T) {
	var served []byte
	srv, _ := serve(t, coded(&served), nil)
	c := newClient(t, srv.URL, nil)
	ctx := context.Background()
	body := []byte(strings.Repeat("some text that can be coded; ", 100))
	for _, coding := range codings {
		whole := encode(t, coding, body)
		for name, bad := range map[string][]byte{
			"cut":      whole[:len(whole)-1],
			"cut soon": whole[:1],
			"garbage":  []byte("certainly not coded data, of none of the kinds"),
			"tail":     append(bytes.Clone(whole), "tail"...),
		} {
			if coding == "raw deflate" && name == "cut soon" {
				continue
			}
			served = bad
			_, got, err := fetch(ctx, c, get("c="+coding))
			if err == nil {
				t.Errorf("%s, %s: taken for sound: %.40q", coding, name, got)
				continue
			}
			wantError(t, err, 502, "upstream_bad_reply", false)
		}
		// A sound one afterwards: the decoders were not spoilt.
		served = whole
		if _, got, err := fetch(ctx, c, get("c="+coding)); err != nil || got != string(body) {
			t.Errorf("%s afterwards: %v", coding, err)
		}
	}
	for _, coding := range []string{"lzma", "gzip,gzip,gzip,gzip", "gzipped"} {
		_, _, err := fetch(ctx, c, get("c="+coding))
		if err == nil {
			t.Errorf("coding %q was accepted", coding)
		}
	}
}

func TestBombs(t *testing.T) {
	var served []byte
	srv, _ := serve(t, coded(&served), nil)
	const limit = 256 << 10
	c := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.MaxReplyBytes = limit })
	for _, coding := range append(codings, "gzip, gzip, gzip") {
		coding = strings.TrimPrefix(coding, "raw ")
		for size, bomb := range map[int]bool{limit: false, limit + 1: true, 4 << 20: true} {
			served = encode(t, coding, make([]byte, size))
			_, got, err := fetch(context.Background(), c, get("c="+coding))
			if !bomb {
				if err != nil || len(got) != size {
					t.Errorf("%s: %d bytes of %d, %v", coding, len(got), size, err)
				}
				continue
			}
			if len(got) > limit {
				t.Errorf("%s: %d bytes came through", coding, len(got))
			}
			wantError(t, err, 502, "upstream_reply_too_large", false)
		}
	}
}

// A cut of the connection is not reported as a fault of the coding.
func TestDecodeCut(t *testing.T) {
	whole := encode(t, "gzip", []byte(strings.Repeat("abc", 1000)))
	srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(whole[:len(whole)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), nil)
	c := newClient(t, srv.URL, nil)
	_, _, err := fetch(context.Background(), c, get(""))
	wantError(t, err, 502, "upstream_cut", false)
}

// given is a body that is there already, in pieces of up to 7 bytes unless
// piece says otherwise.
type given struct {
	rest     []byte
	piece    int
	finished int
}

func (g *given) next(time.Duration) ([]byte, error) {
	if len(g.rest) == 0 {
		return nil, io.EOF
	}
	p := g.rest[:min(cmp.Or(g.piece, 7), len(g.rest))]
	g.rest = g.rest[len(p):]
	return p, nil
}

func (g *given) finish(*pool, bool) { g.finished++ }
func (*given) trailer() []llm.Field { return nil }

// Whatever bytes an upstream calls coded: no panic, no more than the limit, and
// a connection that is used again only when all was sound.
func FuzzDecode(f *testing.F) {
	for _, coding := range codings {
		f.Add(strings.TrimPrefix(coding, "raw "), encode(f, coding, []byte("hello, hello, hello")))
	}
	var served []byte
	srv, _ := serve(f, coded(&served), nil)
	c := newClient(f, srv.URL, func(cfg *Config, _ *Options) { cfg.MaxReplyBytes = 1 << 16 })
	f.Fuzz(func(t *testing.T, coding string, b []byte) {
		r := &Reply{client: c, Length: -1, body: &given{rest: b}}
		if err := r.decode(coding); err != nil {
			return
		}
		if got, _ := readAll(r); r.body.(*given).finished != 1 || len(got) > max(1<<16, len(b)) {
			t.Errorf("%d bytes, given back %d times", len(got), r.body.(*given).finished)
		}
		r.Close()
	})
}
