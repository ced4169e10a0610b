package perf

import (
	"context"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sluice/internal/llm"
)

// newScrape makes what writes the figures in the formats that Prometheus reads.
// The library's own way to do so is a handler of net/http's, which no connection
// is behind here. A figure that cannot be reported is left out and the others are
// still there.
func newScrape(r prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true,
	})
}

// Serve answers with all figures, in the Prometheus or OpenMetrics format that the
// request's Accept asks for. It is an llm.Handler.
func (r *Registry) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	header := make(http.Header, len(req.Header))
	for _, f := range req.Header {
		header[f.Name] = append(header[f.Name], f.Value)
	}
	scrape := &http.Request{Method: req.Method, URL: &url.URL{Path: req.Path, RawQuery: req.RawQuery}, Header: header}
	w := scrapeWriter{out: out, header: make(http.Header)}
	r.scrape.ServeHTTP(&w, scrape.WithContext(ctx))
	w.WriteHeader(http.StatusOK)
	return w.err
}

// scrapeWriter hands on to a Sink what is written to it.
type scrapeWriter struct {
	out    llm.Sink
	header http.Header
	begun  bool
	err    error
	event  [1]llm.Event
}

func (w *scrapeWriter) Header() http.Header { return w.header }

func (w *scrapeWriter) WriteHeader(status int) {
	if w.begun {
		return
	}
	w.begun = true
	h := llm.Head{Status: status, Kind: llm.Pieces, Length: -1}
	for name, values := range w.header {
		for _, v := range values {
			h.Header = append(h.Header, llm.Field{Name: name, Value: v})
		}
	}
	w.err = w.out.Start(&h)
}

func (w *scrapeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.err != nil {
		return 0, w.err
	}
	w.event[0].Raw = b
	if w.err = w.out.Send(w.event[:]); w.err != nil {
		return 0, w.err
	}
	return len(b), nil
}
