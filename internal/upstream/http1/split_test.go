package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sluice/internal/memory"
)

// samples are replies of every framing, sound and not.
func samples() []string {
	return []string{
		ok + "Content-Length: 10\r\nX: y\r\n\r\n0123456789",
		ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00a;x=\"y\"\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\nx\r\n0\r\na: 1\r\ngrpc-status:\t0 \r\nA:\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\nbeyond",
		ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\nbeyond",
		ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nab",
		ok + "\r\ntext until the end",
		ok + "Content-Length: 5\r\n\r\n012",
		"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
		"HTTP/1.1 204 N\r\n\r\nbeyond",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
		ok + "A: b\n\r\n",
		ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	}
}

// sameFromPieces compares an outcome with that of other pieces. Whether bytes
// beyond the reply were seen depends on the pieces, and only that: a
// connection that looks reusable is checked by Stale before it is used.
func sameFromPieces(t *testing.T, whole outcome, pieces ...[]byte) {
	t.Helper()
	got := play("GET", Limits{}, pieces...)
	if whole.reusable && !got.reusable {
		t.Fatalf("pieces %q: not reusable, but whole it is", pieces)
	}
	got.reusable = whole.reusable
	if got != whole {
		t.Fatalf("pieces %q:\ngot   %+v\nwhole %+v", pieces, got, whole)
	}
}

func checkSplits(t *testing.T, reply []byte) {
	t.Helper()
	whole := play("GET", Limits{}, bytes.Clone(reply))
	for i := 1; i < len(reply); i++ {
		sameFromPieces(t, whole, bytes.Clone(reply[:i]), bytes.Clone(reply[i:]))
	}
	var single [][]byte
	for i := range reply {
		single = append(single, reply[i:i+1:i+1])
	}
	sameFromPieces(t, whole, single...)
}

func TestEverySplit(t *testing.T) {
	for _, reply := range samples() {
		checkSplits(t, []byte(reply))
	}
}

// TestPiecesOfLargeBodies has reads that fill the small and the large buffer,
// so that buffers change on the way.
func TestPiecesOfLargeBodies(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, 300<<10)
	for i := range body {
		body[i] = byte(rnd.Uint32())
	}
	var coded bytes.Buffer
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 1+rnd.IntN(1<<rnd.IntN(17)))
		fmt.Fprintf(&coded, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	coded.WriteString("0\r\n\r\n")
	for _, reply := range [][]byte{
		append([]byte(ok+"Transfer-Encoding: chunked\r\n\r\n"), coded.Bytes()...),
		append(fmt.Appendf(nil, ok+"Content-Length: %d\r\n\r\n", len(body)), body...),
		append([]byte(ok+"\r\n"), body...),
	} {
		for range 50 {
			var pieces [][]byte
			for rest := reply; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(1<<rnd.IntN(17)))
				pieces = append(pieces, rest[:n:n])
				rest = rest[n:]
			}
			l := Limits{Buffers: new(memory.Buffers)}
			if o := play("GET", l, pieces...); o.body != string(body) || o.bodErr != "" {
				t.Fatalf("%d pieces: %d of %d bytes, %s", len(pieces), len(o.body), len(body), o.bodErr)
			}
		}
	}
}

// TestOneSlicePerRead is the promise that events which came together stay
// together, and that no read is made for what is already there.
func TestOneSlicePerRead(t *testing.T) {
	const chunks = "1\r\na\r\n2\r\nbc\r\n1\r\nd\r\n"
	s := &script{pieces: [][]byte{
		[]byte(ok + "Transfer-Encoding: chunked\r\n\r\n" + chunks),
		[]byte(chunks + "4\r\nef"),
		[]byte("gh\r\n"),
		[]byte("0\r\n\r\n"),
	}}
	c := NewConn(s, Limits{})
	var h Head
	if err := c.WriteRequest(post("")); err != nil {
		t.Fatal(err)
	}
	if err := c.ReadHead(&h); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"abcd", "abcdef", "gh", ""} {
		p, err := c.Next()
		if string(p) != want || (err == io.EOF) != (want == "") {
			t.Errorf("call %d: %q, %v", i, p, err)
		}
		if s.reads != i+1 {
			t.Errorf("call %d: %d reads so far", i, s.reads)
		}
	}
}

// FuzzReply compares with http.ReadResponse: whatever this package takes, that
// takes too and finds the same in it. The other way round this package is stricter; see TestStrict. And an
// outcome must not depend on how the bytes were cut.
func FuzzReply(f *testing.F) {
	for _, s := range samples() {
		f.Add([]byte(s), uint16(7))
	}
	for _, s := range []string{
		ok + "Content-Length: 3, 3\r\n\r\nabc", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		ok + "A: b\r\n c\r\n\r\n", ok + "A : b\r\n\r\n", "HTTP/1.1 304 N\r\nContent-Length: 3\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
	} {
		f.Add([]byte(s), uint16(40))
	}
	f.Fuzz(func(t *testing.T, reply []byte, at uint16) {
		if len(reply) > 8<<10 {
			return // larger ones only make the fuzzer slow
		}
		whole := play("GET", Limits{}, bytes.Clone(reply))
		i := int(at) % (len(reply) + 1)
		if i > 0 && i < len(reply) {
			sameFromPieces(t, whole, bytes.Clone(reply[:i]), bytes.Clone(reply[i:]))
		}
		agrees(t, reply, whole)
	})
}

// agrees checks a reply that was taken against net/http. Of a body that ends in
// an error only the bytes before it are compared: net/http finds some faults
// later (it buffers), and some not at all (bare LF, malformed trailers).
func agrees(t *testing.T, reply []byte, got outcome) {
	t.Helper()
	if got.headErr != "" {
		return
	}
	rd := bufio.NewReader(bytes.NewReader(reply))
	var resp *http.Response
	for {
		var err error
		if resp, err = http.ReadResponse(rd, nil); err != nil {
			t.Fatalf("taken, but net/http says %v\n%q\n%+v", err, reply, got)
		}
		if resp.StatusCode >= 200 {
			break
		}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if got.status != resp.StatusCode {
		t.Fatalf("status %d, net/http %d", got.status, resp.StatusCode)
	}
	if (got.bodErr == "") && (err != nil || got.body != string(body)) {
		t.Fatalf("body %q, net/http %q, %v\n%q", got.body, body, err, reply)
	}
	if got.bodErr != "" && !strings.HasPrefix(string(body), got.body) && !strings.HasPrefix(got.body, string(body)) {
		t.Fatalf("broken body %q, net/http %q", got.body, body)
	}
	if trailer := parsed(got.trailer); got.bodErr == "" && (len(trailer) > 0 || len(resp.Trailer) > 0) {
		maps.DeleteFunc(resp.Trailer, func(_ string, values []string) bool { return values == nil }) // announced and not sent
		if !maps.EqualFunc(trailer, resp.Trailer, slices.Equal) {
			t.Fatalf("trailer %q, net/http %q", trailer, resp.Trailer)
		}
	}
	for name, values := range parsed(got.header) {
		if name == "Transfer-Encoding" || name == "Trailer" {
			continue
		}
		// net/http drops a Content-Length where it does not count.
		if v := resp.Header.Values(name); name != "Content-Length" && strings.Join(v, "\n") != strings.Join(values, "\n") {
			t.Fatalf("field %s: %q, net/http %q", name, values, v)
		}
	}
}

// parsed reads what lines wrote.
func parsed(text string) http.Header {
	header := http.Header{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		header.Add(name, value)
	}
	return header
}
