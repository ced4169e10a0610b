package otlp

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// Whatever a collector does, what was recorded is counted once, requests go on, and
// the end does not wait for long.
func TestBadCollectors(t *testing.T) {
	gone := make(chan struct{})
	defer close(gone)
	for name, c := range map[string]struct {
		answer           http.HandlerFunc
		exported, failed float64
	}{
		"takes it": {nil, 2, 0},
		"hangs":    {func(_ http.ResponseWriter, r *http.Request) { wait(r, gone) }, 0, 2},
		"dies":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, 2},
		"refuses":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, 0, 2},
		"is busy":  {busy(429, "3600"), 0, 2},
		"is down":  {busy(503, "soon"), 0, 2},
		"redirects": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/traces")
			w.WriteHeader(307)
		}, 0, 2},
		"is no collector": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			io.WriteString(w, "<html>")
		}, 0, 2},
		"takes a part": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, &coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "(5 too long)"}})
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			col := overHTTP(t)
			for _, v := range []string{"EXPORTER_OTLP_TIMEOUT", "BSP_EXPORT_TIMEOUT", "METRIC_EXPORT_TIMEOUT"} {
				t.Setenv("OTEL_"+v, "3600000") // only the end's own bound is left
			}
			col.traces, col.metrics = c.answer, c.answer
			f := newFixture(t)
			f.flush = 20 * time.Millisecond
			if c.answer == nil || c.exported > 0 {
				f.flush = flushTime
			}
			f.registry.Register("otlp", f.Exporter)
			f.run()
			f.Observe(chat(traced))
			f.stop()
			got := seen(f)
			if got["otlp_spans_total exported"] != c.exported || got["otlp_spans_total failed"] != c.failed || got["otlp_spans_total dropped"] != 0 {
				t.Errorf("figures %v", got)
			}
			state, errs := perf.Degraded, 1.0
			if c.failed == 0 {
				state, errs = perf.Healthy, 0
			}
			if got["otlp_exports_total traces error"] != errs || got["otlp_exports_total traces ok"] != 1-errs || got["otlp_export_seconds traces"] != 1 {
				t.Errorf("figures %v", got)
			}
			f.Examine(func(c perf.Condition) {
				if c.Component == "otlp/traces" && (c.State != state || (c.Error == "") != (state == perf.Healthy)) {
					t.Errorf("condition %+v", c)
				}
			})
			if lines := lines(f.log); (lines == 0) != (c.failed == 0) {
				t.Errorf("%d lines in the log", lines)
			}
		})
	}
}

func wait(r *http.Request, gone chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-gone:
	}
}

func busy(status int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(status)
	}
}

// Nobody listens, or what listens speaks something else, or says nothing.
func TestNoCollector(t *testing.T) {
	for name, address := range map[string]string{
		"closed": testkit.Vacant(t),
		"other":  testkit.Listen(t, func(_ int, c net.Conn) { io.WriteString(c, "220 mail.example ESMTP\r\n") }),
		"silent": testkit.Listen(t, func(_ int, c net.Conn) { io.Copy(io.Discard, c) }),
	} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				f := newFixture(t)
				f.flush = 50 * time.Millisecond
				f.run()
				f.Observe(chat(traced))
				f.stop()
				if got := seen(f); got["otlp_spans_total failed"] != 2 || got["otlp_exports_total metrics error"] != 1 {
					t.Errorf("figures %v", got)
				}
			})
		}
	}
}

// While a collector hangs the buffer fills up to its bound; after that spans are
// dropped, and those in the buffer are sent when the collector is well again.
func TestFullBuffer(t *testing.T) {
	c := overHTTP(t)
	asked, well := make(chan struct{}, 1), make(chan struct{})
	c.traces = func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		wait(r, well)
	}
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "7")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // a batch is sent because it is full
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	f := newFixture(t).run()
	f.Observe(chat(traced))
	<-asked
	for range 100 {
		f.Observe(chat(traced))
	}
	if got := seen(f); got["otlp_spans_total dropped"] != 2*97 {
		t.Errorf("figures %v", got)
	}
	if n := cap(f.spans.filling); n > 2*f.spans.mostBytes {
		t.Errorf("the buffer has %d bytes", n)
	}
	close(well)
	go func() {
		for range asked {
		}
	}()
	f.stop()
	close(asked)
	if got := seen(f); got["otlp_spans_total exported"] != 8 || got["otlp_exports_total traces ok"] != 4 {
		t.Errorf("figures %v", got)
	}
}

// A buffer of few long spans is full by its bytes.
func TestFullByBytes(t *testing.T) {
	f := recording(t)
	x := chat(traced)
	x.Path, x.Model, x.ID, x.Tenant, x.Upstream = strings.Repeat("p", 300), strings.Repeat("m", 300), strings.Repeat("i", 300), strings.Repeat("t", 300), strings.Repeat("u", 300)
	for range f.cfg.Queue / 2 {
		f.Observe(x)
	}
	if raw, spans := f.spans.drain(); len(raw) > f.spans.mostBytes || spans == f.cfg.Queue || spans == 0 {
		t.Errorf("%d spans in %d bytes", spans, len(raw))
	}
}

func TestConnectionSettings(t *testing.T) {
	c := overHTTP(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json") // not supported, and warned of
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	f := newFixture(t).run()
	f.Observe(chat(traced))
	f.stop()
	spans, _, _ := c.received()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.header.Get("Authorization") != "Bearer abc" || c.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("header %v", c.header)
	}
	if len(spansOf(spans)) != 2 || lines(f.log) != 1 {
		t.Errorf("%d spans came, %d lines in the log", len(spansOf(spans)), lines(f.log))
	}
}

// A resource that is not understood is told of, and the rest is sent.
func TestBadResource(t *testing.T) {
	c := overHTTP(t)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "broken")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	f := newFixture(t).run()
	f.Observe(chat(traced))
	f.stop()
	spans, _, _ := c.received()
	if len(spans) != 1 || values(t, spans[0].Resource.Attributes)["service.name"] != "sluice" || lines(f.log) != 1 {
		t.Errorf("%v came, and the log is\n%s", spans, f.log.String())
	}
}

func TestContradiction(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate(t))
	for _, off := range []string{"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"} {
		t.Run(off, func(t *testing.T) {
			t.Setenv(off, "none")
			cfg, _, err := fromProcess()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := New(cfg, Options{Registry: perf.New(), Logger: slog.New(slog.DiscardHandler)}); err == nil {
				t.Error("certificates for a connection without TLS were taken")
			}
		})
	}
}

// A collector that is down is told of once a minute, with how often it failed.
func TestLogIsSparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, o := new(testkit.Buffer), outcome{}
		o.begin("traces", slog.New(slog.NewTextHandler(log, nil)))
		for range 13 { // every 5 s, for a minute
			o.done(time.Now(), errors.New("down"))
			time.Sleep(5 * time.Second)
		}
		if lines(log) != 2 || !strings.Contains(log.String(), "failures_not_logged=11") {
			t.Errorf("the log is\n%s", log.String())
		}
		o.done(time.Now(), nil)
		o.examine(func(c perf.Condition) {
			if c.State != perf.Healthy {
				t.Errorf("it has come back, and yet %+v", c)
			}
		})
	})
}
