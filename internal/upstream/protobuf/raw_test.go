package protobuf

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/internal/llm"
)

// raw answers calls frame by frame: the nth call with the nth of answers, each on a
// connection of its own where the one before was ended.
func raw(t *testing.T, answers ...func(f *http2.Framer, id uint32) (end bool)) *rpcs {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for len(answers) > 0 {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			answers = answers[converse(nc, answers):]
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return callerOf(t, l.Addr().String())
}

// converse answers the calls on a connection, and tells how many there were.
func converse(nc net.Conn, answers []func(*http2.Framer, uint32) bool) (n int) {
	if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
		return 0
	}
	f := http2.NewFramer(nc, nc)
	_ = f.WriteSettings()
	for n < len(answers) {
		frame, err := f.ReadFrame()
		if err != nil {
			return n
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				n++
				if answers[n-1](f, frame.StreamID) {
					return n
				}
			}
		}
	}
	// What is left is the client's to end.
	for {
		if _, err := f.ReadFrame(); err != nil {
			return n
		}
	}
}

func headers(f *http2.Framer, id uint32, end bool, fields ...string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

func saying(f *http2.Framer, id uint32, message string) {
	headers(f, id, false, ":status", "200", "content-type", "application/grpc")
	_ = f.WriteData(id, false, append(appendFrameHead(nil, len(message), false), message...))
}

// Servers that reset streams and end connections, at each time at which they may.
func TestResets(t *testing.T) {
	well := func(f *http2.Framer, id uint32) bool {
		saying(f, id, "yes")
		headers(f, id, true, "grpc-status", "0")
		return false
	}
	for name, test := range map[string]struct {
		answers []func(*http2.Framer, uint32) bool
		fault   llm.Fault // Declined: it goes well
	}{
		"reset after the trailers": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, id uint32) bool {
			well(f, id)
			_ = f.WriteRSTStream(id, http2.ErrCodeNo)
			return false
		}}, llm.Declined},
		"refused": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, id uint32) bool {
			_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			return false
		}}, llm.Refused},
		"reset before a message": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, id uint32) bool {
			headers(f, id, false, ":status", "200", "content-type", "application/grpc")
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
			return false
		}}, llm.Cut},
		"reset after a message": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, id uint32) bool {
			saying(f, id, "yes")
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
			return false
		}}, llm.Cut},
		// It was not read, so it is sent again over another connection.
		"goaway before": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, _ uint32) bool {
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			return true
		}, well}, llm.Declined},
		// It was, and is answered to its end.
		"goaway within": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, id uint32) bool {
			_ = f.WriteGoAway(id, http2.ErrCodeNo, nil)
			return well(f, id)
		}}, llm.Declined},
		"goaway, and gone": {[]func(*http2.Framer, uint32) bool{func(f *http2.Framer, id uint32) bool {
			saying(f, id, "yes")
			_ = f.WriteGoAway(id, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
			return true
		}}, llm.Cut},
	} {
		t.Run(name, func(t *testing.T) {
			r := raw(t, test.answers...)
			c, err := r.begin(t.Context(), "/x.Y/Z", []byte("q"), nil, false, llm.Urgency{})
			if err == nil {
				var b []byte
				if b, err = c.one(); err == nil && string(b) != "yes" {
					t.Errorf("%q", b)
				}
				c.close()
			}
			if test.fault == llm.Declined {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Fault != test.fault {
				t.Errorf("%v, fault %v, want %v", err, e.Fault, test.fault)
			}
		})
	}
}
