package protobuf

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/grpc"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/upstream/credentials"
)

// plainCaller calls a server over HTTP/1.1 or HTTP/2.
func plainCaller(t *testing.T, form string, h2 bool, h http.HandlerFunc) *rpcs {
	t.Helper()
	var r *rpcs
	if h2 {
		r = answering(t, h)
	} else {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		r = callerOf(t, strings.TrimPrefix(srv.URL, "http://"))
		r.client = clientOf(t, strings.TrimPrefix(srv.URL, "http://"), false)
	}
	r.http = &plain{unary: form, stream: form}
	r.secrets = credentials.Of(llm.NewSecret("the-secret-key"), nil, nil)
	return r
}

// carried puts messages into a body.
func carried(form string, messages ...string) (kind, body string) {
	kind = protobufType
	for _, m := range messages {
		switch form {
		case formBinary:
			body += m
		case formDelimited:
			body += string(protowire.AppendVarint(nil, uint64(len(m)))) + m
		case formBase64:
			kind, body = eventsType, body+": still here\n\ndata: "+base64.StdEncoding.EncodeToString([]byte(m))+"\n\n"
		case formHex:
			kind, body = eventsType, body+"id: 1\ndata: "+hex.EncodeToString([]byte(m))+"\n\n"
		}
	}
	return kind, body
}

// Replies in each form, over each version of HTTP, however they are cut.
func TestPlain(t *testing.T) {
	messages := []string{"a", "", strings.Repeat("0123456789abcdef", 3000), "\xff\x00z"}
	for _, form := range forms {
		for _, h2 := range []bool{false, true} {
			want := messages
			if form == formBinary {
				want = messages[2:3]
			}
			r := plainCaller(t, form, h2, func(w http.ResponseWriter, req *http.Request) {
				if b, _ := io.ReadAll(req.Body); string(b) != "q" || req.URL.Path != "/v1/ask" || req.Header.Get("Content-Type") != protobufType || req.Header.Get("X-Api-Key") != "secret" {
					http.Error(w, fmt.Sprint(req.URL, req.Header, string(b)), http.StatusBadRequest)
					return
				}
				kind, body := carried(form, want...)
				w.Header().Set("Content-Type", kind)
				for i := 0; i < len(body); i += 10_001 {
					_, _ = io.WriteString(w, body[i:min(i+10_001, len(body))])
					w.(http.Flusher).Flush()
				}
			})
			c, err := r.begin(t.Context(), "/v1/ask", []byte("q"), nil, true, llm.Urgency{})
			if err != nil {
				t.Fatal(form, h2, err)
			}
			var got []string
			for {
				m, err := c.next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(form, h2, err)
				}
				got = append(got, string(m))
			}
			c.close()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, HTTP/2 %v: got %d messages", form, h2, len(got))
			}
		}
	}
}

// What is no reply, and what is no message.
func TestPlainFaults(t *testing.T) {
	says := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	status := string(protowire.AppendString(protowire.AppendTag(protowire.AppendVarint([]byte{1 << 3}, uint64(grpc.ResourceExhausted)), 2, protowire.BytesType), "the-secret-key has no tokens left"))
	for name, test := range map[string]struct {
		form, kind, body string
		status           int
		want             llm.Error
	}{
		"status in protobuf": {formBinary, protobufType, status, 429, llm.Error{Fault: llm.Answered, Status: 429, Code: "resource_exhausted", Message: "[redacted] has no tokens left", RetryAfter: 7 * time.Second, Unprocessed: true}},
		"JSON":               {formBinary, "application/json", `{"error":{"message":"no such model"}}`, 404, llm.Error{Fault: llm.Answered, Status: 404, Code: llm.CodeUpstream, Message: "no such model", RetryAfter: 7 * time.Second}},
		"text":               {formDelimited, "text/plain; charset=utf-8", "go away\n", 403, llm.Error{Fault: llm.Answered, Status: 403, Code: llm.CodeUpstream, Message: "go away", RetryAfter: 7 * time.Second}},
		"page":               {formDelimited, "text/html", "<html>", 500, llm.Error{Fault: llm.Answered, Status: 500, Code: llm.CodeUpstream, Message: "Upstream `up` answered with status 500 and no explanation.", RetryAfter: 7 * time.Second}},
		"redirection":        {formBinary, "", "", 302, llm.Error{Fault: llm.Unusable, Status: 502, Code: "upstream_redirect"}},
		"another form":       {formDelimited, eventsType, "data: YQ==\n\n", 200, llm.Error{Fault: llm.BadReply, Status: 502, Code: "upstream_no_protobuf"}},
		"no events":          {formHex, protobufType, "a", 200, llm.Error{Fault: llm.BadReply, Status: 502, Code: "upstream_no_protobuf"}},
		"no hex":             {formHex, eventsType, "data: YQ==\n\n", 200, llm.Error{Fault: llm.BadReply, Status: 502, Code: "upstream_bad_message"}},
		"no base64":          {formBase64, eventsType, "data: *\n\n", 200, llm.Error{Fault: llm.BadReply, Status: 502, Code: "upstream_bad_message"}},
		"half an event":      {formBase64, eventsType, "data: YQ==\n", 200, llm.Error{Fault: llm.Cut, Status: 502, Code: "upstream_cut"}},
		"half a message":     {formDelimited, protobufType, "\x05abc", 200, llm.Error{Fault: llm.Cut, Status: 502, Code: "upstream_cut"}},
		"half a length":      {formDelimited, protobufType, "\x80", 200, llm.Error{Fault: llm.Cut, Status: 502, Code: "upstream_cut"}},
		"no length":          {formDelimited, protobufType, strings.Repeat("\xff", 20), 200, llm.Error{Fault: llm.BadReply, Status: 502, Code: "upstream_bad_message"}},
		"large":              {formDelimited, protobufType, "\xff\xff\xff\xff\x0f", 200, llm.Error{Fault: llm.TooLarge, Status: 502, Code: "upstream_reply_too_large"}},
		"large and whole":    {formBinary, protobufType, strings.Repeat("a", 5<<20), 200, llm.Error{Fault: llm.TooLarge, Status: 502, Code: "upstream_reply_too_large"}},
		"large event":        {formHex, eventsType, "data: " + strings.Repeat("aa", 5<<20) + "\n\n", 200, llm.Error{Fault: llm.TooLarge, Status: 502, Code: "upstream_reply_too_large"}},
		"an error event":     {formHex, eventsType, "event: error\ndata: it broke\n\n", 200, llm.Error{Fault: llm.Told, Status: 502, Code: llm.CodeUpstream, Message: "it broke"}},
		"an error event in hex": {formHex, eventsType, "event: error\ndata: " + hex.EncodeToString([]byte(status)) + "\n\n", 200,
			llm.Error{Fault: llm.Told, Status: 429, Code: "resource_exhausted", Message: "[redacted] has no tokens left"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := plainCaller(t, test.form, false, says(test.status, test.kind, test.body))
			c, err := r.begin(t.Context(), "/x", []byte("q"), nil, true, llm.Urgency{})
			for err == nil {
				_, err = c.next()
			}
			if c != nil {
				c.close()
			}
			e, ok := errors.AsType[*llm.Error](err)
			if !ok {
				t.Fatal(err)
			}
			got := llm.Error{Fault: e.Fault, Status: e.Status, Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter, Unprocessed: e.Unprocessed}
			if test.want.Message == "" {
				got.Message = ""
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) || strings.Contains(e.Message, "gRPC") {
				t.Errorf("got  %+v\nwant %+v\n%v", got, test.want, err)
			}
		})
	}
}

// FuzzPlain: whatever comes, in whatever form and however cut, it ends, what is handed out
// is bounded, and all is given back.
func FuzzPlain(f *testing.F) {
	for i, form := range forms {
		_, body := carried(form, "a", "bc")
		f.Add(byte(i), []byte(body), []byte{1, 7})
	}
	f.Add(byte(2), []byte("event: error\ndata: {\"error\":{\"code\":429}}\n\n"), []byte{9})
	f.Add(byte(2), []byte("event: error\ndata: CAgSAm5v\n\n"), []byte{9})
	f.Fuzz(func(t *testing.T, form byte, data, cuts []byte) {
		g := memory.New(memory.Options{})
		made := func() cutter {
			switch forms[int(form)%len(forms)] {
			case formBinary:
				return &lone{most: 1 << 10, kept: kept{buffers: &g.Buffers}}
			case formDelimited:
				return &frames{varint: true, most: 1 << 10, kept: kept{buffers: &g.Buffers}}
			}
			return newEvents(forms[int(form)%len(forms)] == formHex, 1<<10, &g.Buffers)
		}
		whole, err := cutUp(t, made(), data, nil)
		if failed, ok := errors.AsType[*failureEvent](err); ok {
			e := llm.AsError((&rpcs{name: "up", secrets: credentials.Of(llm.NewSecret("the-secret-key"), nil, nil)}).toldBy(failed))
			if e.Fault != llm.Told || e.Status < 400 || e.Status > 599 || e.Message == "" || e.Code == "" || len(e.Message) > maxErrorText+4 {
				t.Errorf("%+v", e)
			}
		}
		pieces, _ := cutUp(t, made(), data, cuts)
		if !bytes.Equal(bytes.Join(whole, []byte("|")), bytes.Join(pieces, []byte("|"))) {
			t.Errorf("whole %q, in pieces %q", whole, pieces)
		}
		if used := g.Budget.Used(); used != 0 {
			t.Errorf("%d bytes are not given back", used)
		}
	})
}

// cutUp gives all messages of what comes in pieces of these sizes.
func cutUp(t *testing.T, c cutter, data, cuts []byte) (messages [][]byte, err error) {
	defer c.drop()
	read := func() ([]byte, error) {
		if len(data) == 0 {
			return nil, io.EOF
		}
		n := len(data)
		if len(cuts) > 0 {
			n, cuts = min(n, 1+int(cuts[0])), cuts[1:]
		}
		piece := bytes.Clone(data[:n])
		data = data[n:]
		return piece, nil
	}
	for {
		message, err := c.next(read)
		if err != nil {
			return messages, err
		}
		if len(message) > 1<<10 {
			t.Errorf("%d bytes", len(message))
		}
		messages = append(messages, bytes.Clone(message))
	}
}
