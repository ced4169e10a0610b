package perf

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/prometheus/common/expfmt"

	"sluice/internal/llm"
)

// Serve answers with all figures, in the Prometheus or OpenMetrics format that the
// request's Accept asks for, or with those that its name[] names, packed where the
// client takes that. A figure that cannot be reported is left out and the others are
// still there. It is an llm.Handler.
func (r *Registry) Serve(_ context.Context, req *llm.Request, out llm.Sink) error {
	families, err := r.prom.Gather()
	if len(families) == 0 && err != nil {
		return err
	}
	accept := make(http.Header)
	for _, f := range req.Header {
		if f.Name == "Accept" {
			accept.Add(f.Name, f.Value)
		}
	}
	format := expfmt.NegotiateAccept(accept, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	h := llm.Head{Status: http.StatusOK, Kind: llm.Pieces, Length: -1, Header: []llm.Field{
		{Name: "Content-Type", Value: string(format)}, {Name: "Vary", Value: "Accept"}, {Name: "Vary", Value: "Accept-Encoding"},
	}}
	packed := llm.TakesGzip(req.Header)
	if packed {
		h.Header = append(h.Header, llm.Field{Name: "Content-Encoding", Value: "gzip"})
	}
	if err := out.Start(&h); err != nil {
		return err
	}
	var w io.Writer = &scrapeWriter{out: out}
	end := func() error { return nil }
	if packed {
		z := gzip.NewWriter(w)
		w, end = z, z.Close
	}
	query, _ := url.ParseQuery(req.RawQuery)
	names := query["name[]"]
	e := expfmt.NewEncoder(w, format)
	for _, family := range families {
		if len(names) > 0 && !slices.Contains(names, family.GetName()) {
			continue
		}
		if err := e.Encode(family); err != nil {
			return err
		}
	}
	if c, ok := e.(expfmt.Closer); ok { // OpenMetrics has an end
		if err := c.Close(); err != nil {
			return err
		}
	}
	return end()
}

// scrapeWriter hands on to a Sink what is written to it.
type scrapeWriter struct {
	out   llm.Sink
	event [1]llm.Event
}

func (w *scrapeWriter) Write(b []byte) (int, error) {
	w.event[0].Raw = b
	if err := w.out.Send(w.event[:]); err != nil {
		return 0, err
	}
	return len(b), nil
}
