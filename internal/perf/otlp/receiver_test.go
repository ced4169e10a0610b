package otlp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"sluice/internal/testkit"
)

// What variables say of the connection, by the words of TestSignals.
func TestConnection(t *testing.T) {
	const own, both = "EXPORTER_OTLP_TRACES_ENDPOINT=", "EXPORTER_OTLP_ENDPOINT="
	for env, want := range map[string]string{ // endpoint, and whether it is without TLS
		both + "http://c:4318":                                                  "http://c:4318/v1/traces true",
		both + "https://c/prefix/":                                              "https://c/prefix/v1/traces false",
		both + "HTTP://c":                                                       "http://c/v1/traces true",
		own + "http://c:4318":                                                   "http://c:4318/ true",
		own + "https://me:secret@c/a/b?q=1":                                     "https://c/a/b false",
		own + "https://c/own " + both + "http://d":                              "https://c/own false",
		both + "http://c EXPORTER_OTLP_INSECURE=false":                          "https://c/v1/traces false",
		both + "https://c EXPORTER_OTLP_TRACES_INSECURE=true":                   "http://c/v1/traces true",
		"TRACES_EXPORTER=otlp":                                                  "https://localhost:4318/v1/traces false",
		"TRACES_EXPORTER=otlp EXPORTER_OTLP_PROTOCOL=grpc":                      "localhost:4317 false",
		both + "http://c:4317/path EXPORTER_OTLP_PROTOCOL=grpc":                 "c:4317 true",
		both + "https://c:4317 EXPORTER_OTLP_PROTOCOL=grpc":                     "c:4317 false",
		both + "c:4317 EXPORTER_OTLP_PROTOCOL=grpc":                             "c:4317 false",
		both + "c:4317 EXPORTER_OTLP_PROTOCOL=grpc EXPORTER_OTLP_INSECURE=TRUE": "c:4317 true",
		both + "unix:///run/c.sock EXPORTER_OTLP_PROTOCOL=grpc":                 "unix:///run/c.sock true",
		both + "dns:///c:4317 EXPORTER_OTLP_PROTOCOL=grpc":                      "dns:///c:4317 false",
	} {
		c, on, err := fromEnv(env)
		insecure := "false"
		if c.Traces.Insecure {
			insecure = "true"
		}
		if got := c.Traces.Endpoint + " " + insecure; err != nil || !on || got != want || len(c.Warnings) > 0 {
			t.Errorf("%s: %s, want %s; %v, %v", env, got, want, err, c.Warnings)
		}
	}
}

func TestConnectionDetails(t *testing.T) {
	c, _, err := fromEnv("EXPORTER_OTLP_ENDPOINT=https://c EXPORTER_OTLP_HEADERS=a=1%20x,b=2,bad,c=3,d=%zz,e=x%0ay EXPORTER_OTLP_METRICS_HEADERS=m=%3D " +
		"EXPORTER_OTLP_COMPRESSION=gzip EXPORTER_OTLP_METRICS_COMPRESSION=zstd EXPORTER_OTLP_TIMEOUT=5 EXPORTER_OTLP_METRICS_TIMEOUT=0 " +
		"EXPORTER_OTLP_CERTIFICATE=ca EXPORTER_OTLP_TRACES_CERTIFICATE=ca2 EXPORTER_OTLP_CLIENT_CERTIFICATE=cc EXPORTER_OTLP_CLIENT_KEY=ck " +
		"EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE=alone SERVICE_NAME=edge RESOURCE_ATTRIBUTES=a=b%20c,service.name=x,bad")
	if err != nil {
		t.Fatal(err)
	}
	tr, m := c.Traces, c.Metrics
	if len(tr.Header) != 3 || tr.Header["a"] != "1 x" || tr.Header["b"] != "2" || tr.Header["c"] != "3" || len(m.Header) != 1 || m.Header["m"] != "=" {
		t.Errorf("header fields %v, %v", tr.Header, m.Header)
	}
	if !tr.Gzip || m.Gzip || tr.Timeout != 5*time.Millisecond || m.Timeout != 0 {
		t.Errorf("%+v, %+v", tr, m)
	}
	if tr.Certificate != "ca2" || m.Certificate != "ca" || tr.ClientCertificate != "cc" || tr.ClientKey != "ck" {
		t.Errorf("%+v, %+v", tr, m)
	}
	if len(c.Resource) != 2 || c.Resource["a"] != "b c" || c.Resource["service.name"] != "edge" {
		t.Errorf("resource %v", c.Resource)
	}
	if len(c.Warnings) != 5 { // three fields, a compression, a resource
		t.Errorf("%q", c.Warnings)
	}
	if c, _, _ = fromEnv("EXPORTER_OTLP_ENDPOINT=https://c EXPORTER_OTLP_TIMEOUT=soon"); c.Traces.Timeout != 10*time.Second || len(c.Warnings) != 2 {
		t.Errorf("%v, %q", c.Traces.Timeout, c.Warnings)
	}
}

// scripted answers tries by a function.
type scripted func(n int) ([]byte, error)

type tries struct {
	answer scripted
	at     []time.Time
}

func (s *tries) try(context.Context, []byte) ([]byte, error) {
	s.at = append(s.at, time.Now())
	return s.answer(len(s.at))
}

func (s *tries) close() {}

// What may pass is tried again: not at once, not sooner than the collector wants,
// and not for ever.
func TestRetry(t *testing.T) {
	down := errors.New("down")
	again := func(pause time.Duration) scripted {
		return func(int) ([]byte, error) { return nil, &passing{pause, down} }
	}
	for name, c := range map[string]struct {
		answer      scripted
		least, most int           // tries
		first       time.Duration // pause, at least
	}{
		"permanent": {func(int) ([]byte, error) { return nil, down }, 1, 1, 0},
		"passing":   {again(0), 3, 12, firstPause / 2},
		"throttled": {again(20 * time.Second), 3, 4, 20 * time.Second},
		"too long":  {again(2 * time.Minute), 1, 1, 0},
		"for ever":  {again(math.MaxInt64), 1, 1, 0},
		"impatient": {again(time.Nanosecond), 50, 62, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, begun := &tries{answer: c.answer}, time.Now()
				err := export(t.Context(), s, nil)
				if n := len(s.at); n < c.least || n > c.most || !errors.Is(err, down) || time.Since(begun) > longestTry {
					t.Errorf("%v after %d tries and %v", err, n, time.Since(begun))
				}
				if len(s.at) > 1 && s.at[1].Sub(s.at[0]) < c.first {
					t.Errorf("a pause of %v", s.at[1].Sub(s.at[0]))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &tries{answer: func(n int) ([]byte, error) {
			if n < 3 {
				return nil, &passing{0, down}
			}
			return nil, nil
		}}
		if err := export(t.Context(), s, nil); err != nil || len(s.at) != 3 {
			t.Errorf("%v after %d tries", err, len(s.at))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		s = &tries{answer: again(0)}
		if err := export(ctx, s, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, down) || len(s.at) != 1 {
			t.Errorf("%v after %d tries", err, len(s.at))
		}
	})
}

// answering is a gRPC collector that answers by a function.
type answering struct {
	coltracepb.UnimplementedTraceServiceServer
	answer func() (*coltracepb.ExportTraceServiceResponse, error)
}

func (a answering) Export(context.Context, *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	return a.answer()
}

// grpcAt starts such a collector and gives a receiver for it.
func grpcAt(t *testing.T, a answering) receiver {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(s, a)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	r, err := connect("traces", "", Signal{Protocol: GRPC, Connection: Connection{Endpoint: l.Addr().String(), Insecure: true}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// Which answers of a gRPC collector may pass, and what it says of a part.
func TestGRPCAnswers(t *testing.T) {
	limited, err := status.New(codes.ResourceExhausted, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for want, answers := range map[string][]error{
		"passes": {status.Error(codes.Unavailable, "x"), status.Error(codes.Aborted, "x"), status.Error(codes.DataLoss, "x"), status.Error(codes.OutOfRange, "x"),
			status.Error(codes.Canceled, "x"), status.Error(codes.DeadlineExceeded, "x")},
		"passes in 7s": {limited.Err()},
		"stays": {status.Error(codes.ResourceExhausted, "x"), status.Error(codes.InvalidArgument, "x"), status.Error(codes.Unauthenticated, "x"),
			status.Error(codes.Unimplemented, "x"), status.Error(codes.Internal, "x")},
	} {
		for _, answer := range answers {
			_, err := grpcAt(t, answering{answer: func() (*coltracepb.ExportTraceServiceResponse, error) { return nil, answer }}).try(t.Context(), nil)
			got := "stays"
			if p, ok := errors.AsType[*passing](err); ok {
				got = "passes"
				if p.pause > 0 {
					got += " in " + p.pause.String()
				}
			}
			if got != want || err == nil {
				t.Errorf("%v: %s, want %s: %v", answer, got, want, err)
			}
		}
	}
	part := answering{answer: func() (*coltracepb.ExportTraceServiceResponse, error) {
		return &coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: 3, ErrorMessage: "old"}}, nil
	}}
	err = export(t.Context(), grpcAt(t, part), nil)
	if p, ok := errors.AsType[*partial](err); !ok || p.rejected != 3 || p.message != "old" || rejected(err, 5) != 3 || rejected(err, 2) != 2 {
		t.Errorf("%v", err)
	}
}

// What an HTTP collector says with its answer.
func TestHTTPAnswers(t *testing.T) {
	part, err := proto.Marshal(&coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: 2, ErrorMessage: "old"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status     int
		kind, body string
		says       string // "" for no error
		again      bool
		rejected   int // of 9
	}{
		"nothing":        {200, "", "", "", false, 0},
		"text":           {202, "text/plain", "thanks", "", false, 0},
		"a part":         {200, "application/x-protobuf", string(part), "old", false, 2},
		"a part in JSON": {200, "application/json", `{"partialSuccess":{"rejectedSpans":"3","errorMessage":"bad"}}`, "bad", false, 3},
		"points in JSON": {200, "application/json", `{"partialSuccess":{"rejectedDataPoints":4}}`, "4 rejected", false, 4},
		"all in JSON":    {200, "application/json", `{}`, "", false, 0},
		"bad JSON":       {200, "application/json", `{`, "the collector's reply is none", false, 9},
		"bad protobuf":   {200, "application/x-protobuf", "<", "the collector's reply is none", false, 9},
		"too much":       {200, "application/x-protobuf", strings.Repeat("x", maxReply+1), "too large", false, 9},
		"no leave":       {401, "text/plain", "who are you?\n", `401 Unauthorized: "who are you?"`, false, 9},
		"overload":       {503, "text/plain", strings.Repeat("x", 1000), "503 Service Unavailable", true, 9},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			}))
			defer s.Close()
			r, err := connect("traces", "", Signal{Connection: Connection{Endpoint: s.URL, Insecure: true}}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			reply, err := r.try(t.Context(), nil)
			if _, again := errors.AsType[*passing](err); again != c.again {
				t.Errorf("%v", err)
			}
			if err == nil {
				err = taken(reply)
			}
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || len(err.Error()) > 500) || rejected(err, 9) != c.rejected {
				t.Errorf("%.1000v", err)
			}
		})
	}
}

// Over gRPC certificates mean TLS whatever the endpoint's scheme says, and a client
// shows its own.
func TestGRPCCertificates(t *testing.T) {
	ca := certificate(t)
	u := httptest.NewUnstartedServer(nil)
	u.StartTLS()
	defer u.Close()
	asked := &tls.Config{Certificates: u.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(asked)))
	coltracepb.RegisterTraceServiceServer(s, answering{answer: func() (*coltracepb.ExportTraceServiceResponse, error) { return nil, nil }})
	go s.Serve(l)
	defer s.Stop()
	cert, key := pair(t)
	try := func(c Connection) error {
		c.Endpoint, c.Insecure = l.Addr().String(), true
		r, err := connect("traces", "", Signal{Protocol: GRPC, Connection: c}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		_, err = r.try(t.Context(), nil)
		return err
	}
	if err := try(Connection{Certificate: ca, ClientCertificate: cert, ClientKey: key}); err != nil && !strings.Contains(err.Error(), "Internal") {
		t.Error(err)
	}
	if err := try(Connection{Certificate: ca}); err == nil || !strings.Contains(err.Error(), "Unavailable") {
		t.Errorf("without the client's: %v", err)
	}
	if err := try(Connection{}); err == nil || !strings.Contains(err.Error(), "Unavailable") {
		t.Errorf("in cleartext: %v", err)
	}
}

// Files that cannot be read are told of.
func TestBadFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Connection{
		{Certificate: empty}, {Certificate: empty + "/none"}, {ClientCertificate: empty, ClientKey: empty},
	} {
		log := new(testkit.Buffer)
		if got := c.tls(slog.New(slog.NewTextHandler(log, nil))); got != nil || lines(log) != 1 || !strings.Contains(log.String(), empty) {
			t.Errorf("%+v: %v, %s", c, got, log.String())
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for field, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999999999999": math.MaxInt64 / time.Second * time.Second,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(field, now); got != want {
			t.Errorf("%s: %v, want %v", field, got, want)
		}
	}
}

// FuzzTaken: what a collector says it did not take is what the official messages
// say.
func FuzzTaken(f *testing.F) {
	f.Add([]byte("\x0a\x07\x08\x03\x12\x03old"), false)
	f.Add([]byte(`{"partialSuccess":{"rejectedSpans":"3","errorMessage":"bad"}}`), true)
	f.Fuzz(func(t *testing.T, reply []byte, inJSON bool) {
		if inJSON {
			b, err := fromJSON(reply)
			if err != nil {
				return
			}
			reply = b
		}
		err := taken(reply)
		var want coltracepb.ExportTraceServiceResponse
		if proto.Unmarshal(reply, &want) != nil {
			return
		}
		p, _ := errors.AsType[*partial](err)
		if p == nil {
			p = &partial{}
		}
		if p.rejected != want.GetPartialSuccess().GetRejectedSpans() || p.message != want.GetPartialSuccess().GetErrorMessage() {
			t.Errorf("%v, want %v", err, &want)
		}
	})
}
