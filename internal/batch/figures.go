package batch

import "sluice/internal/perf"

// Figures implements perf.Source.
func (s *Batch) Figures(r perf.Reporter) {
	s.gather.Figures(r)
	r.Counter("batch_split_total", "Calls with more items or tokens than upstreams take in one, which became several.", float64(s.split.Load()))
	r.Gauge("batch_max_size", "Items of several callers that one call may have: batch.max_batch_size.", float64(s.cfg.MaxBatchSize))
}
