package codec

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// framed puts a message's length before it.
func framed(messages ...[]byte) (all []byte) {
	for _, m := range messages {
		// A note's text of n bytes is itself a length and n bytes.
		all = append(all, note(string(m))[1:]...)
	}
	return all
}

func streamed(target string, body io.Reader, contentType string) *llm.Request {
	req := post(target, "", contentType)
	req.BodyReader, req.BodyLen = body, -1
	return req
}

const streamType = "decode/stream?type=test.Note"

// A stream may be one of well-known types, which are no schema's.
func TestStreamOfWellKnown(t *testing.T) {
	c := newCodec(t, nil)
	got := send(c, streamed("decode/stream?type=google.protobuf.Duration", cut(framed([]byte("\x08\x01"), nil), 3), asWire))
	if want := "text/event-stream data: \"1s\"\n\ndata: \"0s\"\n\ndata: [DONE]\n\n"; got != want {
		t.Errorf("got %s", got)
	}
}

// A stream gives the same however it is cut.
func TestStreamEverySplit(t *testing.T) {
	c := newCodec(t, nil)
	long := strings.Repeat("x", 200)
	const want = "text/event-stream data: {\"text\":\"hi\"}\n\ndata: {}\n\ndata: {\"text\":\"%s\"}\n\ndata: [DONE]\n\n"
	messages := [][]byte{note("hi"), nil, note(long)}
	var sse, sseHex string
	for _, m := range messages {
		sse += ": comment\r\nevent: message\r\ndata:" + b64(m) + "\r\n\r\n"
		sseHex += "id: 1\n\ndata: " + hex.EncodeToString(m) + "\n\n"
	}
	for _, test := range []struct {
		name, target, contentType string
		body                      []byte
	}{
		{"delimited", streamType, asWire, framed(messages...)},
		{"base64", streamType, asEvent, []byte(sse + "data: [DONE]\n\n")},
		{"hex, no [DONE]", streamType + "&encoding=hex", asEvent, []byte(sseHex)},
		{"after [DONE]", streamType + "&encoding=hex", asEvent, []byte(sseHex + "data: [DONE]\n\ndata: x\n\n")},
	} {
		for n := range len(test.body) + 1 {
			if got := send(c, streamed(test.target, cut(test.body, n), test.contentType)); got != fmt.Sprintf(want, long) {
				t.Fatalf("%s, cut after %d:\ngot %s", test.name, n, got)
			}
		}
		one := &slow{}
		for i := range test.body {
			one.pieces = append(one.pieces, test.body[i:i+1])
		}
		if got := send(c, streamed(test.target, one, test.contentType)); got != fmt.Sprintf(want, long) {
			t.Errorf("%s, byte by byte:\ngot %s", test.name, got)
		}
	}
}

// Faults before the first message are whole error replies; what came before a
// later one is sent.
func TestStreamFaults(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.MaxInputBytes = 1 << 10 })
	good := slices.Clip(framed(note("hi")))
	for _, test := range []struct {
		name, target, contentType string
		body                      []byte
		sent                      string
		err                       string
	}{
		{"nothing", streamType, asWire, nil, "data: [DONE]\n\n", ""},
		{"no type", "decode/stream", asWire, nil, "", "400 missing_required_parameter type: "},
		{"JSON", streamType, asJSON, nil, "", "415 unsupported_content_type : "},
		{"encoding of frames", streamType + "&encoding=hex", asWire, nil, "", "400 unknown_parameter encoding: "},
		{"unknown encoding", streamType + "&encoding=x", asEvent, nil, "", "400 invalid_parameter encoding: "},
		{"envelope", streamType + "&envelope=true", asWire, nil, "", "400 unknown_parameter envelope: "},
		{"bad message", streamType, asWire, []byte("\x01\xff"), "", "400 invalid_data data: Message 1 of the stream: The bytes are not a test.Note: byte "},
		{"bad later", streamType, asWire, append(good, "\x01\xff"...), "data: {\"text\":\"hi\"}\n\n", "400 invalid_data data: Message 2 of the stream: "},
		{"too large", streamType, asWire, append(good, 0x81, 0x08), "data: {\"text\":\"hi\"}\n\n", "413 limit_exceeded data: Message 2 of the stream: The message has 1025 bytes, more than the 1024 that are taken."},
		{"length", streamType, asWire, bytes.Repeat([]byte{0xff}, 11), "", "400 invalid_data data: Message 1 of the stream: The length before the message is not a varint of 64 bits."},
		{"length of ten bytes", streamType, asWire, bytes.Repeat([]byte{0xff}, 10), "", "400 invalid_data data: Message 1 of the stream: The length"},
		{"cut", streamType, asWire, append(good, 5, 'x'), "data: {\"text\":\"hi\"}\n\n", "400 invalid_data data: Message 2 of the stream: The stream ends within a message, of which there are 2 bytes."},
		{"cut length", streamType, asWire, []byte{0x80}, "", "400 invalid_data data: Message 1 of the stream: The stream ends within a message"},
		{"cut event", streamType, asEvent, []byte("data: CgJoaQ\n"), "", "400 invalid_data data: Message 1 of the stream: The stream ends within an event"},
		{"cut comment", streamType, asEvent, []byte("data: CgJoaQ\n\n: x"), "data: {\"text\":\"hi\"}\n\ndata: [DONE]\n\n", ""},
		{"not sniffed", streamType, asEvent, []byte("data: 0a026869\n\n"), "", "400 invalid_data data: Message 1 of the stream: The bytes are not"},
		{"bad hex", streamType + "&encoding=hex", asEvent, []byte("data: CgJoaQ\n\n"), "", "400 invalid_data data: Message 1 of the stream: The message is not valid hex"},
		{"large event", streamType, asEvent, []byte("data: " + strings.Repeat("A", 9<<10)), "", "413 limit_exceeded data: Message 1 of the stream: The event has more than"},
		{"large after the end", streamType, asEvent, []byte("data: [DONE]\n\ndata: " + strings.Repeat("A", 9<<10)), "data: [DONE]\n\n", ""},
		{"large data", streamType + "&encoding=hex", asEvent, []byte("data: " + strings.Repeat("00", 1025) + "\n\n"), "", "413 limit_exceeded data: Message 1 of the stream: The message has 1025 bytes"},
	} {
		out := &client{}
		err := c.Stage(nil).Serve(t.Context(), streamed(test.target, bytes.NewReader(test.body), test.contentType), out)
		got := ""
		if err != nil {
			got = told(err)
		}
		if out.text() != test.sent || !strings.HasPrefix(got, test.err) || test.err == "" && got != "" || out.starts > 0 != (test.sent != "") {
			t.Errorf("%s: sent %q, %s", test.name, out.text(), got)
		}
	}
	broken := errors.New("broken")
	if err := c.Stage(nil).Serve(t.Context(), streamed(streamType, &slow{err: broken}, asWire), &client{}); !errors.Is(err, broken) {
		t.Errorf("a read that fails: %v", err)
	}
}

// Each message leaves before the next one is read, and not before the client
// takes it.
func TestStreamAsItComes(t *testing.T) {
	c := newCodec(t, nil)
	r, w := io.Pipe()
	taken, next := make(chan int), make(chan struct{})
	out := &client{}
	out.sent = func() error { taken <- out.events; <-next; return nil }
	ended := make(chan error)
	go func() { ended <- c.Stage(nil).Serve(t.Context(), streamed(streamType, r, asWire), out) }()
	for i := range 3 {
		if _, err := w.Write(framed(note("hi"))); err != nil {
			t.Fatal(err)
		}
		if n := <-taken; n != i+1 {
			t.Errorf("%d events after message %d", n, i)
		}
		next <- struct{}{}
	}
	w.Close()
	<-taken
	next <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// One piece with many messages is sent in parts, so that memory is bounded, and a
// client that leaves ends it.
func TestStreamInParts(t *testing.T) {
	c := newCodec(t, nil)
	body := bytes.Repeat(framed(note(strings.Repeat("x", 1000))), 1000)
	out := &client{}
	if err := c.Stage(nil).Serve(t.Context(), streamed(streamType, bytes.NewReader(body), asWire), out); err != nil || out.events != 1001 || out.sends < 50 {
		t.Errorf("%v, %d events in %d parts", err, out.events, out.sends)
	}
	gone := errors.New("gone")
	out = &client{sent: func() error { return gone }}
	if err := c.Stage(nil).Serve(t.Context(), streamed(streamType, bytes.NewReader(body), asWire), out); !errors.Is(err, gone) || out.sends != 1 {
		t.Errorf("a client that takes no more: %v after %d parts", err, out.sends)
	}
	// Empty messages become ten times as long.
	body = make([]byte, readBytes)
	out = &client{}
	if err := c.Stage(nil).Serve(t.Context(), streamed(streamType, bytes.NewReader(body), asWire), out); err != nil || out.events != readBytes+1 || out.sends != 4 {
		t.Errorf("%v, %d events in %d parts", err, out.events, out.sends)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out = &client{sent: func() error { cancel(); return nil }}
	if err := c.Stage(nil).Serve(ctx, streamed(streamType, bytes.NewReader(body), asWire), out); !errors.Is(err, context.Canceled) || out.sends != 1 {
		t.Errorf("a client that leaves: %v after %d parts", err, out.sends)
	}
}

// A stream that had one large message does not hold its memory.
func TestFramesShrink(t *testing.T) {
	f := &frames{max: 1 << 20}
	for range 2 {
		if err := f.put(framed(note(strings.Repeat("x", 1<<19)))); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := f.next(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if _ = f.put([]byte{0}); cap(f.buf) > keepBuffer {
		t.Errorf("%d bytes are held", cap(f.buf))
	}
}
