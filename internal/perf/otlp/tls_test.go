package otlp

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
)

func fromProcess() (Config, bool, error) { return FromEnv(os.Getenv) }

// certificate writes the certificate of httptest's servers to a file.
func certificate(t *testing.T) string {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Spans go to the collector that a certificate vouches for, and to no other.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &coltracepb.ExportTraceServiceResponse{})
	}))
	defer s.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", s.URL+"/v1/traces")
	send := func() figures {
		f := newFixture(t)
		f.flush = 20 * time.Second
		f.run()
		f.Observe(chat(traced))
		f.stop()
		return seen(f)
	}
	if got := send(); got["otlp_spans_total failed"] != 2 {
		t.Errorf("a stranger's certificate: %v", got)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate(t))
	if got := send(); got["otlp_spans_total exported"] != 2 {
		t.Errorf("the collector's certificate: %v", got)
	}
}
