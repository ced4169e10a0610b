package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/internal/llm"
)

func text(fields []llm.Field) string {
	var lines []string
	for _, f := range fields {
		lines = append(lines, f.Name+": "+f.Value)
	}
	return strings.Join(lines, "\n")
}

// TestTrailers: what an upstream sends behind a body reaches the caller at the
// body's end, without what may not stand there, and of this reply alone.
func TestTrailers(t *testing.T) {
	body := []byte(strings.Repeat("decoded ", 9000))
	zipped := encode(t, "gzip", body)
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status, X-Never-Sent")
		w.Header().Set("Got-Te", strings.Join(r.Header.Values("Te"), "|")+" "+strings.Join(r.Header.Values("Connection"), "|"))
		if r.URL.Path == "/gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped)
		} else {
			_, _ = w.Write(body)
		}
		if r.URL.Path == "/plain" {
			return
		}
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("Grpc-Status", "0")
		for _, name := range []string{"grpc-message", "content-type", "set-cookie", "authorization", "if-match", "cache-control", "x-two", "x-two"} {
			w.Header().Add(http.TrailerPrefix+name, "v")
		}
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		for _, target := range []string{"/", "/gzip", "/plain", "/"} {
			call := &Call{Method: "POST", Target: target, Header: []llm.Field{field("Te", "deflate")}, Trailers: target != "/plain"}
			r, err := c.Do(context.Background(), call)
			if err != nil {
				t.Fatal(err)
			}
			if r.Trailer != nil {
				t.Errorf("%s: trailers before the end: %v", target, r.Trailer)
			}
			got, err := readAll(r)
			if err != nil || string(got) != string(body) {
				t.Fatalf("%s: %d bytes, %v", target, len(got), err)
			}
			want, te := []string{"Grpc-Message:v", "Grpc-Status:0", "X-Two:v", "X-Two:v"}, "trailers"
			if target == "/plain" {
				want, te = nil, ""
			}
			// In the upstream's order over HTTP/1.1, in the names' over HTTP/2.
			if trailer := strings.Fields(strings.ReplaceAll(text(r.Trailer), ": ", ":")); !slices.Equal(slices.Sorted(slices.Values(trailer)), want) {
				t.Errorf("%s: trailers %q", target, trailer)
			}
			if sent, _, _ := strings.Cut(r.Get("Got-Te"), " "); sent != te || r.Get("Trailer") != "" {
				t.Errorf("%s: TE %q sent", target, sent)
			}
			if c.stats.createdH1.Load() > 0 && te != "" && r.Get("Got-Te") != "trailers TE" {
				t.Errorf("TE is not named as hop-by-hop: %q", r.Get("Got-Te"))
			}
			r.Close()
		}
		if n := c.stats.createdH1.Load() + c.stats.createdH2.Load(); n != 1 {
			t.Errorf("%d connections: trailers cost one", n)
		}
	})
}

// TestHostileTrailers has peers that send what no one may believe, over raw
// sockets. A reply that ends in doubt has no trailers.
func TestHostileTrailers(t *testing.T) {
	for name, tt := range map[string]struct{ tail, want, code string }{
		"sound":                  {"0\r\nA: b\r\nGrpc-Status: 0\r\n\r\n", "A: b\nGrpc-Status: 0", ""},
		"framing":                {"0\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nTrailer: A\r\nUpgrade: x\r\nA: b\r\n\r\n", "A: b", ""},
		"most that may be":       {"0\r\n" + strings.Repeat("A: b\r\n", 256) + "\r\n", strings.TrimSuffix(strings.Repeat("A: b\n", 256), "\n"), ""},
		"too many":               {"0\r\n" + strings.Repeat("A: b\r\n", 257) + "\r\n", "", "upstream_bad_reply"},
		"too large":              {"0\r\nA: " + strings.Repeat("b", maxReplyHead) + "\r\n\r\n", "", "upstream_bad_reply"},
		"without end":            {"0\r\n" + strings.Repeat("A"+strings.Repeat("b", 1000), 100), "", "upstream_bad_reply"},
		"a line break in one":    {"0\r\nA: b\nC: d\r\n\r\n", "", "upstream_bad_reply"},
		"folded":                 {"0\r\nA: b\r\n c\r\n\r\n", "", "upstream_bad_reply"},
		"no name":                {"0\r\n: b\r\n\r\n", "", "upstream_bad_reply"},
		"cut in a name":          {"0\r\nGrpc-Sta", "", "upstream_cut"},
		"cut before the end":     {"0\r\nGrpc-Status: 0\r\n", "", "upstream_cut"},
		"cut before the last LF": {"0\r\nGrpc-Status: 0\r\n\r", "", "upstream_cut"},
		"without the last chunk": {"Grpc-Status: 0\r\n\r\n", "", "upstream_bad_reply"},
	} {
		t.Run(name, func(t *testing.T) {
			url := listen(t, func(_ int, nc net.Conn) {
				b := make([]byte, 4<<10)
				if _, err := nc.Read(b); err == nil {
					_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"+tt.tail)
				}
			})
			c := newClient(t, url, nil)
			r, err := c.Do(context.Background(), post("x"))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			body, err := readAll(r)
			if string(body) != "body" || text(r.Trailer) != tt.want {
				t.Errorf("%q, trailers %q", body, text(r.Trailer))
			}
			if tt.code != "" {
				wantError(t, err, 502, tt.code, false)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// trailers writes a HEADERS frame behind a body, in as many frames as it takes.
func (p *peer) trailers(stream uint32, end bool, fields ...hpack.HeaderField) {
	p.hbuf.Reset()
	enc := hpack.NewEncoder(&p.hbuf)
	for _, f := range fields {
		_ = enc.WriteField(f)
	}
	block := []byte(p.hbuf.String())
	for first := true; first || len(block) > 0; first = false {
		n := min(len(block), 16<<10)
		if first {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:n], EndHeaders: n == len(block), EndStream: end})
		} else {
			_ = p.WriteContinuation(stream, n == len(block), block[:n])
		}
		block = block[n:]
	}
}

func TestHostileTrailersH2(t *testing.T) {
	one := hpack.HeaderField{Name: "grpc-status", Value: "0"}
	many := make([]hpack.HeaderField, maxFields+1)
	for i := range many {
		many[i] = hpack.HeaderField{Name: "a", Value: fmt.Sprint(i)}
	}
	for name, tt := range map[string]struct {
		end        func(p *peer, stream uint32)
		want, code string
	}{
		"sound":            {func(p *peer, s uint32) { p.trailers(s, true, one) }, "Grpc-Status: 0", ""},
		"most that may be": {func(p *peer, s uint32) { p.trailers(s, true, many[1:]...) }, "256", ""},
		"forbidden": {func(p *peer, s uint32) {
			p.trailers(s, true, hpack.HeaderField{Name: "content-length", Value: "9"}, hpack.HeaderField{Name: "set-cookie", Value: "a"}, one)
		}, "Grpc-Status: 0", ""},
		"too many": {func(p *peer, s uint32) { p.trailers(s, true, many...) }, "", "upstream_bad_reply"},
		"too large": {func(p *peer, s uint32) {
			p.trailers(s, true, one, hpack.HeaderField{Name: "a", Value: strings.Repeat("b", maxReplyHead-4)})
		}, "", "upstream_bad_reply"},
		"far too large": {func(p *peer, s uint32) {
			p.trailers(s, true, one, hpack.HeaderField{Name: "a", Value: strings.Repeat("b", 2*maxReplyHead)})
		}, "", "upstream_bad_reply"},
		// The library leaves out what is beyond its bound.
		"too large together": {func(p *peer, s uint32) {
			p.trailers(s, true, slices.Repeat([]hpack.HeaderField{{Name: "a", Value: strings.Repeat("b", 1000)}}, 100)...)
		}, "63", ""},
		"a pseudo-field":   {func(p *peer, s uint32) { p.trailers(s, true, hpack.HeaderField{Name: ":status", Value: "200"}) }, "", "upstream_bad_reply"},
		"not the end":      {func(p *peer, s uint32) { p.trailers(s, false, one) }, "", "upstream_bad_reply"},
		"none, and reset":  {func(p *peer, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeInternal) }, "", "upstream_cut"},
		"none, and closed": {func(p *peer, _ uint32) { _ = p.nc.Close() }, "", "upstream_cut"},
		"cut amid": {func(p *peer, s uint32) {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: s, EndStream: true})
			_ = p.nc.Close()
		}, "", "upstream_cut"},
		"none, an end of data": {func(p *peer, s uint32) { _ = p.WriteData(s, true, nil) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			url := listenH2(t, nil, func(_ int, p *peer) {
				s, err := p.request()
				if err != nil {
					return
				}
				p.reply(s, "200", "body", false)
				tt.end(p, s)
				_, _ = p.request()
			})
			c := newH2Client(t, url, nil)
			r, err := c.Do(context.Background(), post("x"))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			body, err := readAll(r)
			got := text(r.Trailer)
			if _, err := strconv.Atoi(tt.want); err == nil {
				got = strconv.Itoa(len(r.Trailer))
			}
			if tt.code == "" && string(body) != "body" || got != tt.want {
				t.Errorf("%q, trailers %.300q", body, got)
			}
			if tt.code != "" {
				wantError(t, err, 502, tt.code, false)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
