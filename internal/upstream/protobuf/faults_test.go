package protobuf

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/grpc"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/upstream/credentials"
)

// answering is a server of HTTP/2 that answers as h does, whether that is gRPC or not.
func answering(t *testing.T, h http.HandlerFunc) *rpcs {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return callerOf(t, strings.TrimPrefix(srv.URL, "http://"))
}

// Servers that break the protocol, and what stands between.
func TestFaults(t *testing.T) {
	frame := func(message string) string { return string(appendFrameHead(nil, len(message), false)) + message }
	grpcHead := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/grpc+proto") }
	for name, test := range map[string]struct {
		do     http.HandlerFunc
		status int
		fault  llm.Fault
		code   string
	}{
		"a page":          {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, 502, llm.BadReply, "upstream_no_grpc"},
		"a proxy is busy": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) }, 503, llm.Answered, "unavailable"},
		"a proxy forbids": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, 403, llm.Answered, "permission_denied"},
		"no such path":    {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, 501, llm.Answered, "unimplemented"},
		"no status":       {func(w http.ResponseWriter, _ *http.Request) { grpcHead(w); io.WriteString(w, frame("x")) }, 502, llm.Cut, "upstream_cut"},
		"half a message":  {func(w http.ResponseWriter, _ *http.Request) { grpcHead(w); io.WriteString(w, frame("xyz")[:7]) }, 502, llm.Cut, "upstream_cut"},
		"half a head":     {func(w http.ResponseWriter, _ *http.Request) { grpcHead(w); io.WriteString(w, frame("xyz")[:3]) }, 502, llm.Cut, "upstream_cut"},
		"a wrong flag":    {func(w http.ResponseWriter, _ *http.Request) { grpcHead(w); io.WriteString(w, "\x07\x00\x00\x00\x01x") }, 502, llm.BadReply, "upstream_bad_message"},
		"a large message": {func(w http.ResponseWriter, _ *http.Request) { grpcHead(w); io.WriteString(w, "\x00\xff\xff\xff\xffx") }, 502, llm.TooLarge, "upstream_reply_too_large"},
		"unknown coding": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			w.Header().Set("Grpc-Encoding", "snappy")
			io.WriteString(w, "\x01\x00\x00\x00\x01x")
		}, 502, llm.BadReply, "upstream_bad_message"},
		"damaged": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			w.Header().Set("Grpc-Encoding", "gzip")
			io.WriteString(w, "\x01\x00\x00\x00\x01x")
		}, 502, llm.BadReply, "upstream_bad_message"},
		"a stream is reset": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			io.WriteString(w, frame("x"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, 502, llm.Cut, "upstream_cut"},
		"a wrong status": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "fine")
			io.WriteString(w, frame("x"))
		}, 500, llm.Told, "internal"},
		"a status before a message, and none behind": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			w.Header().Set("Grpc-Status", "0")
			io.WriteString(w, frame("x"))
		}, 502, llm.Cut, "upstream_cut"},
		"a status before a message, and another behind": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
			io.WriteString(w, frame("x"))
		}, 404, llm.Told, "not_found"},
		"trailers alone": {func(w http.ResponseWriter, _ *http.Request) {
			grpcHead(w)
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "no%20model")
		}, 404, llm.Answered, "not_found"},
		"well, and nothing": {func(w http.ResponseWriter, _ *http.Request) { grpcHead(w); w.Header().Set("Grpc-Status", "0") }, 502, llm.BadReply, "upstream_no_message"},
	} {
		t.Run(name, func(t *testing.T) {
			r := answering(t, test.do)
			c, err := r.begin(t.Context(), "/x.Y/Z", []byte("q"), nil, false, llm.Urgency{})
			if err == nil {
				_, err = c.one()
				c.close()
			}
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.Status != test.status || e.Fault != test.fault || e.Code != test.code || e.Upstream != "up" {
				t.Errorf("got %+v, %v", e, err)
			}
		})
	}
}

// FuzzFrames: however messages come in pieces they are the same, nothing is held beyond
// what came, and all is given back.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02xy"), []byte{1, 2, 3})
	f.Add([]byte("\x00\x00\x00\x00\xffabc"), []byte{200})
	f.Add([]byte("\x02\x00\x00\x00\x00"), []byte{})
	f.Fuzz(func(t *testing.T, data, cuts []byte) {
		whole, errWhole := split(t, data, nil)
		pieces, errPieces := split(t, data, cuts)
		if !bytes.Equal(bytes.Join(whole, []byte("|")), bytes.Join(pieces, []byte("|"))) || len(whole) != len(pieces) || (errWhole == io.EOF) != (errPieces == io.EOF) {
			t.Errorf("whole %q, %v; in pieces %q, %v", whole, errWhole, pieces, errPieces)
		}
	})
}

// split gives all messages, of what comes in pieces of these sizes, and how it ended.
func split(t *testing.T, data, cuts []byte) (messages [][]byte, err error) {
	g := memory.New(memory.Options{})
	fr := frames{most: 1 << 10, coding: "gzip", kept: kept{buffers: &g.Buffers}}
	piece := make([]byte, 0, len(data))
	read := func() ([]byte, error) {
		clear(piece[:cap(piece)]) // what was read before is not valid any more
		if len(data) == 0 {
			return nil, io.EOF
		}
		n := len(data)
		if len(cuts) > 0 {
			n, cuts = min(n, 1+int(cuts[0])), cuts[1:]
		}
		piece = append(piece[:0], data[:n]...)
		data = data[n:]
		return piece, nil
	}
	for {
		message, err := fr.next(read)
		if err != nil {
			fr.drop()
			if used := g.Budget.Used(); used != 0 {
				t.Errorf("%d bytes are not given back", used)
			}
			if _, ok := errors.AsType[*grpc.Status](err); !ok && err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Errorf("%v", err)
			}
			return messages, err
		}
		if len(message) > fr.most {
			t.Errorf("%d bytes", len(message))
		}
		messages = append(messages, bytes.Clone(message))
	}
}

// A key that a service tells of reaches neither the client nor the log, also where the text
// is longer than what is told of it and ends amid the key.
func TestKeysInStatuses(t *testing.T) {
	const key = "the-secret-key"
	r := &rpcs{name: "up", secrets: credentials.Of(llm.NewSecret(key), nil, nil)}
	for _, before := range []int{0, maxErrorText - len(key) - 1, maxErrorText - len(key)/2, maxErrorText} {
		text := strings.Repeat("x", before) + key + " is wrong"
		e := llm.AsError(r.failure(&grpc.Status{Code: grpc.Unauthenticated, Message: text}, false))
		if strings.Contains(e.Message, key[:4]) || strings.Contains(e.Error(), key) || len(e.Message) > maxErrorText+3 {
			t.Errorf("after %d: %q", before, e.Message[max(len(e.Message)-60, 0):])
		}
	}
}
