package protobuf

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/upstream"
)

// none is a sink that takes everything and keeps nothing.
type none struct{ events int }

func (*none) Start(*llm.Head) error      { return nil }
func (n *none) Send(e []llm.Event) error { n.events += len(e); return nil }

// grok is the handler of an upstream that nobody asks, and what it knows of its service.
func grok(t testing.TB, buffers *memory.Buffers) (*Handler, *service) {
	t.Helper()
	cfg := GRPC{Config: defaults(), Compression: "identity"}
	cfg.BaseURL, cfg.Mapping, cfg.Schema = "http://127.0.0.1:1", "../../protobuf/mapping/testdata/xai.yaml", Locations{"../../protobuf/mapping/testdata/xai.proto"}
	base, err := cfg.Base()
	if err != nil {
		t.Fatal(err)
	}
	c, err := upstream.New(upstream.Default(), upstream.Options{Name: "up", BaseURL: base, Buffers: buffers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	made, err := cfg.Handler(upstream.Setup{Name: "up", Client: c})
	if err != nil {
		t.Fatal(err)
	}
	h := made.(*Handler)
	t.Cleanup(h.Close)
	s, err := h.source.service(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

// streaming is an exchange in the middle of a stream, and a message of it.
func streaming(t testing.TB) (x *exchange, message []byte) {
	t.Helper()
	h, s := grok(t, nil)
	x = new(exchange)
	x.begin(h, s.stream, &llm.Request{Op: llm.Chat, Stream: true, ID: "req_1", Model: "grok"})
	if err := x.fit(1); err != nil {
		t.Fatal(err)
	}
	message, err := s.stream.AppendReply(nil, []byte(`{"outputs":[{"delta":{"content":" word"}}],"usage":{"promptTokens":4,"completionTokens":9}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.chunk(message); err != nil {
		t.Fatal(err)
	}
	x.call = &rpc{of: h.rpcs, reply: new(upstream.Reply)} // of which the first event hands on the head
	if err := x.send(new(none)); err != nil {
		t.Fatal(err)
	}
	x.call = nil
	return x, message
}

// TestAllocations: an event costs no garbage once its stream is under way.
func TestAllocations(t *testing.T) {
	x, message := streaming(t)
	out := new(none)
	step := func() {
		if err := x.chunk(message); err != nil {
			t.Fatal(err)
		}
		if err := x.send(out); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if n := testing.AllocsPerRun(1000, step); n > 0 {
		t.Errorf("%v allocations for an event", n)
	}
	if out.events < 1000 {
		t.Errorf("%d events", out.events)
	}
	x.end()
}

// BenchmarkEvent is an event from its message to what a sink is given.
func BenchmarkEvent(b *testing.B) {
	x, message := streaming(b)
	out := new(none)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.chunk(message); err != nil {
			b.Fatal(err)
		}
		if err := x.send(out); err != nil {
			b.Fatal(err)
		}
	}
	x.end()
}

// cpu is the processor time that the process has used, the server's share included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTransport compares streams of 1,000 messages of 60 bytes over the shared
// connections with the same over grpc-go, as bytes both.
func BenchmarkTransport(b *testing.B) {
	const messages = 1000
	in := &testgrpc.StreamingOutputCallRequest{}
	for range messages {
		in.ResponseParameters = append(in.ResponseParameters, &testgrpc.ResponseParameters{Size: 60})
	}
	request, err := proto.Marshal(in)
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, &server{})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	run := func(name string, stream func() int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			begun := cpu()
			for b.Loop() {
				if n := stream(); n != messages {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(b.N*messages), "µs-cpu/message")
		})
	}
	r := callerOf(b, l.Addr().String())
	run("ours", func() (n int) {
		c, err := r.begin(context.Background(), testService+"StreamingOutputCall", request, nil, true, llm.Urgency{})
		if err != nil {
			b.Fatal(err)
		}
		defer c.close()
		for {
			if _, err := c.next(); err == io.EOF {
				return n
			} else if err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	run("grpc-go", func() (n int) {
		out, err := testgrpc.NewTestServiceClient(conn).StreamingOutputCall(context.Background(), in)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := out.Recv(); err == io.EOF {
				return n
			} else if err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
}

// BenchmarkFrames cuts messages of 60 bytes out of pieces of 4 KiB.
func BenchmarkFrames(b *testing.B) {
	message := strings.Repeat("x", 60)
	var all []byte
	for len(all) < 1<<16 {
		all = append(append(all, protowire.AppendVarint(nil, uint64(len(message)))...), message...)
	}
	b.SetBytes(int64(len(all)))
	for b.Loop() {
		rest := all
		f := frames{varint: true, most: 1 << 20}
		for {
			if _, err := f.next(func() ([]byte, error) {
				n := min(len(rest), 4<<10)
				if n == 0 {
					return nil, io.EOF
				}
				piece := rest[:n]
				rest = rest[n:]
				return piece, nil
			}); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		f.drop()
	}
}
