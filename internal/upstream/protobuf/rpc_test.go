package protobuf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpc_pb "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // the server compresses where it is asked to
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is the service of gRPC's interoperability tests, with some calls that do worse.
type server struct {
	testgrpc.UnimplementedTestServiceServer
}

func payload(n int32) *testgrpc.Payload {
	return &testgrpc.Payload{Body: bytes.Repeat([]byte("x"), int(n))}
}

func (*server) EmptyCall(context.Context, *testgrpc.Empty) (*testgrpc.Empty, error) {
	return &testgrpc.Empty{}, nil
}

func (*server) StreamingOutputCall(in *testgrpc.StreamingOutputCallRequest, out testgrpc.TestService_StreamingOutputCallServer) error {
	for _, p := range in.GetResponseParameters() {
		if err := out.Send(&testgrpc.StreamingOutputCallResponse{Payload: payload(p.GetSize())}); err != nil {
			return err
		}
	}
	return nil
}

// FullDuplexCall answers as it reads, and ends when the other side has.
func (s *server) FullDuplexCall(both testgrpc.TestService_FullDuplexCallServer) error {
	for {
		in, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, p := range in.GetResponseParameters() {
			if err := both.Send(&testgrpc.StreamingOutputCallResponse{Payload: payload(p.GetSize())}); err != nil {
				return err
			}
		}
	}
}

// UnaryCall does what the payload says, if it says anything.
func (*server) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	switch string(in.GetPayload().GetBody()) {
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "retry":
		st, _ := status.New(codes.ResourceExhausted, "too many tokens, 100 % are used").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
		return nil, st.Err()
	case "metadata":
		md, _ := metadata.FromIncomingContext(ctx)
		return &testgrpc.SimpleResponse{Username: strings.Join(md["x-api-key"], ","), ServerId: fmt.Sprint(md["grpc-timeout"], md["te"])}, nil
	case "gzip":
		if err := rpc_pb.SetSendCompressor(ctx, "gzip"); err != nil {
			return nil, err
		}
	}
	if st := in.GetResponseStatus(); st != nil {
		return nil, status.Error(codes.Code(st.GetCode()), st.GetMessage())
	}
	return &testgrpc.SimpleResponse{Payload: payload(in.GetResponseSize())}, nil
}

// connect runs the server and gives what calls it.
func connect(t *testing.T) *rpcs {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rpc_pb.NewServer()
	testgrpc.RegisterTestServiceServer(s, &server{})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-ended })
	return callerOf(t, l.Addr().String())
}

func callerOf(t testing.TB, addr string) *rpcs {
	t.Helper()
	return &rpcs{name: "up", client: clientOf(t, addr, true), most: 4 << 20, header: []llm.Field{{Name: "X-Api-Key", Value: "secret"}}, secrets: credentials.Of(llm.Secret{}, nil, nil)}
}

func clientOf(t testing.TB, addr string, h2 bool) *upstream.Client {
	t.Helper()
	cfg := upstream.Default()
	cfg.H2C, cfg.WarmConnections = h2, 0
	g := memory.New(memory.Options{})
	g.Budget.Resize(64 << 20)
	c, err := upstream.New(cfg, upstream.Options{Name: "up", BaseURL: &url.URL{Scheme: "http", Host: addr}, Buffers: &g.Buffers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		testkit.Until(t, "all buffers are given back", func() bool { return g.Budget.Used() == 0 })
	})
	return c
}

const testService = "/grpc.testing.TestService/"

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func asking(body string, size int) *testgrpc.SimpleRequest {
	return &testgrpc.SimpleRequest{ResponseSize: int32(size), Payload: &testgrpc.Payload{Body: []byte(body)}}
}

// unary makes a unary call.
func (r *rpcs) unary(ctx context.Context, t *testing.T, method string, in, out proto.Message) error {
	t.Helper()
	c, err := r.begin(ctx, testService+method, encode(t, in), nil, false, llm.Urgency{})
	if err != nil {
		return err
	}
	defer c.close()
	b, err := c.one()
	if err != nil {
		return err
	}
	return proto.Unmarshal(b, out)
}

func TestUnary(t *testing.T) {
	r := connect(t)
	var out testgrpc.SimpleResponse
	for _, size := range []int{0, 1, 5000, 300_000, 3 << 20} {
		if err := r.unary(t.Context(), t, "UnaryCall", asking(strings.Repeat("y", size), size), &out); err != nil || len(out.GetPayload().GetBody()) != size {
			t.Fatalf("%d bytes: %v", len(out.GetPayload().GetBody()), err)
		}
	}
	if err := r.unary(t.Context(), t, "UnaryCall", asking("gzip", 1<<20), &out); err != nil || len(out.GetPayload().GetBody()) != 1<<20 {
		t.Errorf("compressed: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.unary(ctx, t, "UnaryCall", asking("metadata", 0), &out); err != nil || out.GetUsername() != "secret" {
		t.Errorf("%v, %v", &out, err)
	}
	if err := r.unary(t.Context(), t, "EmptyCall", &testgrpc.Empty{}, &testgrpc.Empty{}); err != nil {
		t.Errorf("an empty message: %v", err)
	}
}

// How calls end that do not end well.
func TestEndings(t *testing.T) {
	r := connect(t)
	var out testgrpc.SimpleResponse
	of := func(code codes.Code, message string) *testgrpc.SimpleRequest {
		return &testgrpc.SimpleRequest{ResponseStatus: &testgrpc.EchoStatus{Code: int32(code), Message: message}}
	}
	for _, test := range []struct {
		method string
		in     *testgrpc.SimpleRequest
		want   llm.Error
	}{
		{"UnaryCall", asking("retry", 0), llm.Error{Status: 429, Type: llm.TypeOf(429), Code: "resource_exhausted", Message: "too many tokens, 100 % are used", RetryAfter: 1500 * time.Millisecond, Fault: llm.Answered, Unprocessed: true}},
		{"UnaryCall", of(codes.InvalidArgument, "no such\nmodel: été"), llm.Error{Status: 400, Type: llm.TypeOf(400), Code: "invalid_argument", Message: "no such\nmodel: été", Fault: llm.Answered}},
		{"UnaryCall", of(codes.Unauthenticated, "no key"), llm.Error{Status: 401, Type: llm.TypeOf(401), Code: "unauthenticated", Message: "no key", Fault: llm.Answered}},
		{"UnaryCall", of(codes.Unavailable, ""), llm.Error{Status: 503, Type: llm.TypeOf(503), Code: "unavailable", Message: "Upstream `up` ended the call with Unavailable and no explanation.", Fault: llm.Answered, Unprocessed: true}},
		{"UnaryCall", of(77, "?"), llm.Error{Status: 502, Type: llm.TypeOf(502), Code: "code77", Message: "?", Fault: llm.Answered}},
		{"UnimplementedCall", asking("", 0), llm.Error{Status: 501, Type: llm.TypeOf(501), Code: "unimplemented", Fault: llm.Answered}},
		{"UnaryCall", asking("", 4<<20), llm.Error{Status: 502, Type: llm.TypeUpstream, Code: "upstream_reply_too_large", Fault: llm.TooLarge}},
		{"UnaryCall", asking("gzip", 5<<20), llm.Error{Status: 502, Type: llm.TypeUpstream, Code: "upstream_reply_too_large", Fault: llm.TooLarge}},
	} {
		err := r.unary(t.Context(), t, test.method, test.in, &out)
		e, ok := errors.AsType[*llm.Error](err)
		if !ok {
			t.Errorf("%s: %v", test.want.Code, err)
			continue
		}
		got := llm.Error{Status: e.Status, Type: e.Type, Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter, Fault: e.Fault, Unprocessed: e.Unprocessed}
		if test.want.Message == "" {
			got.Message = ""
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) || e.Upstream != "up" {
			t.Errorf("got  %+v\nwant %+v", got, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.unary(ctx, t, "UnaryCall", asking("wait", 0), &out); err == nil {
		t.Error("a deadline that is past is none")
	}
	cause := errors.New("the client left")
	ctx2, leave := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { leave(cause) })
	if err := r.unary(ctx2, t, "UnaryCall", asking("wait", 0), &out); !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
}

// Streams of replies: those of calls with one request, and of those with many.
func TestStream(t *testing.T) {
	r := connect(t)
	sizes := []int{0, 1, 10, 4000, 70_000, 5, 1 << 20, 0}
	in := &testgrpc.StreamingOutputCallRequest{}
	for _, n := range sizes {
		in.ResponseParameters = append(in.ResponseParameters, &testgrpc.ResponseParameters{Size: int32(n)})
	}
	for _, method := range []string{"StreamingOutputCall", "FullDuplexCall"} {
		c, err := r.begin(t.Context(), testService+method, encode(t, in), nil, true, llm.Urgency{})
		if err != nil {
			t.Fatal(method, err)
		}
		var got []int
		for {
			b, err := c.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(method, err)
			}
			var out testgrpc.StreamingOutputCallResponse
			if err := proto.Unmarshal(b, &out); err != nil {
				t.Fatal(method, err)
			}
			got = append(got, len(out.GetPayload().GetBody()))
		}
		if fmt.Sprint(got) != fmt.Sprint(sizes) {
			t.Errorf("%s: %v, want %v", method, got, sizes)
		}
		if _, err := c.next(); err != io.EOF {
			t.Errorf("%s: after the end: %v", method, err)
		}
		c.close()
	}
	// A unary call of a method that has a stream of replies.
	in.ResponseParameters = in.ResponseParameters[:2]
	err := r.unary(t.Context(), t, "StreamingOutputCall", in, &testgrpc.Empty{})
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != "upstream_two_messages" {
		t.Errorf("%v", err)
	}
	// One that is closed in the middle gives everything back: see callerOf.
	c, err := r.begin(t.Context(), testService+"StreamingOutputCall", encode(t, in), nil, true, llm.Urgency{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.next(); err != nil {
		t.Error(err)
	}
	c.close()
}
