package perf

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// promHistogram is a Distribution as a Prometheus metric: with classic buckets,
// which the text formats show, and the same values in native ones, which
// Prometheus takes over the protobuf format where it is told to.
type promHistogram struct {
	prometheus.Metric // has the labels and nothing counted
	d                 Distribution
	exemplars         []Exemplar
}

// Write implements prometheus.Metric.
func (p promHistogram) Write(out *dto.Metric) error {
	if err := p.Metric.Write(out); err != nil {
		return err
	}
	h := &dto.Histogram{
		SampleCount: proto.Uint64(p.d.Count), SampleSum: proto.Float64(p.d.Sum),
		Schema: proto.Int32(Schema), ZeroThreshold: proto.Float64(ZeroThreshold), ZeroCount: proto.Uint64(p.d.Zero),
	}
	out.Histogram = h
	for i, n := range p.d.Below(classic[:]) {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(classic[i]), CumulativeCount: proto.Uint64(n)})
	}
	p.native(h)
	for _, e := range p.exemplars {
		p.exemplify(h, e)
	}
	return nil
}

// native adds the buckets as spans of neighbours, each with its difference to
// the one before.
func (p promHistogram) native(h *dto.Histogram) {
	if len(p.d.Buckets) == 0 {
		// Without a span it would not be taken for a native histogram.
		h.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
		return
	}
	var last int64
	next := int32(0) // the index after the last bucket
	for i, b := range p.d.Buckets {
		at := int32(b.Index)
		if i == 0 || at != next {
			h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(at - next), Length: proto.Uint32(0)})
		}
		span := h.PositiveSpan[len(h.PositiveSpan)-1]
		*span.Length++
		h.PositiveDelta = append(h.PositiveDelta, int64(b.Count)-last)
		last, next = int64(b.Count), at+1
	}
}

// exemplify adds an example to the classic bucket that it lies in, and to the
// native ones.
func (p promHistogram) exemplify(h *dto.Histogram, e Exemplar) {
	x := &dto.Exemplar{
		Label: []*dto.LabelPair{{Name: proto.String("trace_id"), Value: proto.String(e.Trace.String())}},
		Value: proto.Float64(e.Value), Timestamp: timestamppb.New(e.At),
	}
	h.Exemplars = append(h.Exemplars, x)
	for _, b := range h.Bucket {
		if e.Value <= b.GetUpperBound() {
			b.Exemplar = x
			return
		}
	}
}
