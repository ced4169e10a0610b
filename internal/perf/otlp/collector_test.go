package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	colmetricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector takes telemetry over a socket and decodes it with the official types.
type collector struct {
	t   *testing.T
	url string

	// traces and metrics answer in place of the collector, over HTTP; nil for not.
	traces, metrics http.HandlerFunc

	mu      sync.Mutex
	header  http.Header // of the last HTTP request
	spans   []*tracepb.ResourceSpans
	figures []*metricpb.ResourceMetrics
	batches []int // spans of each request
}

// received is what has come so far, and how many spans each request had.
func (c *collector) received() (spans []*tracepb.ResourceSpans, batches []int, figures []*metricpb.ResourceMetrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans), slices.Clone(c.batches), slices.Clone(c.figures)
}

// spansOf are the spans of a resource.
func spansOf(list []*tracepb.ResourceSpans) (spans []*tracepb.Span) {
	for _, rs := range list {
		for _, ss := range rs.ScopeSpans {
			spans = append(spans, ss.Spans...)
		}
	}
	return spans
}

func (c *collector) takeSpans(req *coltracepb.ExportTraceServiceRequest) {
	noUnknown(c.t, req.ProtoReflect())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, req.ResourceSpans...)
	c.batches = append(c.batches, len(spansOf(req.ResourceSpans)))
}

func (c *collector) takeMetrics(req *colmetricpb.ExportMetricsServiceRequest) {
	noUnknown(c.t, req.ProtoReflect())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures = append(c.figures, req.ResourceMetrics...)
}

// noUnknown fails the test where a message has a field that its type has not.
func noUnknown(t *testing.T, m protoreflect.Message) {
	if b := m.GetUnknown(); len(b) > 0 {
		t.Errorf("%s has unknown fields: % x", m.Descriptor().FullName(), b)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				noUnknown(t, v.List().Get(i).Message())
			}
		default:
			noUnknown(t, v.Message())
		}
		return true
	})
}

// overHTTP starts a collector and points the environment to it.
func overHTTP(t *testing.T) *collector {
	c := &collector{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		req := &coltracepb.ExportTraceServiceRequest{}
		if c.decode(r, req); c.traces != nil {
			c.traces(w, r)
			return
		}
		c.takeSpans(req)
		answer(w, &coltracepb.ExportTraceServiceResponse{})
	})
	mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		req := &colmetricpb.ExportMetricsServiceRequest{}
		if c.decode(r, req); c.metrics != nil {
			c.metrics(w, r)
			return
		}
		c.takeMetrics(req)
		answer(w, &colmetricpb.ExportMetricsServiceResponse{})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c.url = s.URL
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	return c
}

func answer(w http.ResponseWriter, m proto.Message) {
	b, _ := proto.Marshal(m)
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(b)
}

func (c *collector) decode(r *http.Request, into proto.Message) {
	c.mu.Lock()
	c.header = r.Header
	c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender gave up
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			c.t.Error(err)
			return
		}
		if body, err = io.ReadAll(z); err != nil {
			c.t.Error(err)
		}
	}
	if r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("content type %q", r.Header.Get("Content-Type"))
	}
	if err := proto.Unmarshal(body, into); err != nil {
		c.t.Errorf("what came is no message: %v", err)
	}
}

type traceService struct {
	coltracepb.UnimplementedTraceServiceServer
	*collector
}

func (s traceService) Export(_ context.Context, r *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	s.takeSpans(r)
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

type metricService struct {
	colmetricpb.UnimplementedMetricsServiceServer
	*collector
}

func (s metricService) Export(_ context.Context, r *colmetricpb.ExportMetricsServiceRequest) (*colmetricpb.ExportMetricsServiceResponse, error) {
	s.takeMetrics(r)
	return &colmetricpb.ExportMetricsServiceResponse{}, nil
}

// overGRPC is overHTTP over gRPC.
func overGRPC(t *testing.T) *collector {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, s := &collector{t: t}, grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(s, traceService{collector: c})
	colmetricpb.RegisterMetricsServiceServer(s, metricService{collector: c})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	c.url = "http://" + l.Addr().String()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.url)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	return c
}

// fixture is an Exporter as the environment says. What stops it returns when Run
// has.
type fixture struct {
	*Exporter
	registry *perf.Registry
	log      *testkit.Buffer
	stop     func()
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	cfg, on, err := FromEnv(os.Getenv)
	if err != nil || !on {
		t.Fatalf("FromEnv: %v, %v", on, err)
	}
	f := &fixture{registry: perf.New(), log: new(testkit.Buffer)}
	f.Exporter, err = New(cfg, Options{Registry: f.registry, Logger: slog.New(slog.NewTextHandler(f.log, nil)), Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) run() *fixture {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	f.stop = func() {
		cancel()
		<-done
	}
	return f
}

func lines(log *testkit.Buffer) int { return strings.Count(log.String(), "\n") }

// figures are what a source reports, by name and label values.
type figures map[string]float64

func seen(s perf.Source) figures {
	f := figures{}
	s.Figures(f)
	return f
}

func (f figures) add(name string, v float64, labels []string) {
	for i := 1; i < len(labels); i += 2 {
		name += " " + labels[i]
	}
	f[name] = v
}

func (f figures) Counter(name, _ string, v float64, labels ...string) { f.add(name, v, labels) }
func (f figures) Gauge(name, _ string, v float64, labels ...string)   { f.add(name, v, labels) }
func (f figures) Histogram(name, _ string, h *perf.Histogram, labels ...string) {
	f.add(name, float64(h.Distribution().Count), labels)
}
func (f figures) Ratio(string, string, float64, float64, ...string) {}

func formatted(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// startTimes are since when the series of a metric count, by the values of their
// attributes.
func startTimes(t *testing.T, m *metricpb.Metric) map[string]time.Time {
	out := make(map[string]time.Time)
	add := func(list []*commonpb.KeyValue, start uint64) {
		name := ""
		for _, kv := range list {
			name += " " + kv.Value.GetStringValue()
		}
		if _, twice := out[name]; twice {
			t.Errorf("%s has two series of %q", m.Name, name)
		}
		out[name] = time.Unix(0, int64(start))
	}
	for _, p := range m.GetSum().GetDataPoints() {
		add(p.Attributes, p.StartTimeUnixNano)
	}
	for _, p := range m.GetExponentialHistogram().GetDataPoints() {
		add(p.Attributes, p.StartTimeUnixNano)
	}
	return out
}

// sound checks that a series' time goes forwards.
func sound(t *testing.T, name string, start, end uint64) {
	t.Helper()
	if start == 0 || end <= start {
		t.Errorf("%s counts from %d to %d", name, start, end)
	}
}
