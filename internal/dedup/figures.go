package dedup

import (
	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Figures implements perf.Source.
func (d *Dedup) Figures(r perf.Reporter) {
	c := &d.counts
	const requests, what = "dedup_requests_total", "Requests that were looked into for what they say again, by what became of them: changed, unchanged, unsure (of a form that is left alone), lacking (there was no memory for it)."
	for v, result := range [...]string{changed: "changed", unchanged: "unchanged", unsure: "unsure", lacking: "lacking"} {
		r.Counter(requests, what, float64(c.results[v].Load()), "result", result)
	}
	for m := llm.DedupSafe; m <= llm.DedupBlocks; m++ {
		mode := m.String()
		r.Counter("dedup_changed_total", "Requests that were made shorter, by mode.", float64(c.changed[m].Load()), "mode", mode)
		r.Counter("dedup_messages_total", "Messages that were taken out of requests, or rewritten in them, by mode.", float64(c.messages[m].Load()), "mode", mode)
		r.Counter("dedup_saved_bytes_total", "Bytes that requests became shorter by, by mode.", float64(c.bytes[m].Load()), "mode", mode)
		r.Counter("dedup_saved_tokens_total", "Tokens that requests became shorter by, estimated by their bytes, by mode.", float64(c.tokens[m].Load()), "mode", mode)
	}
	d.ratios.figures(r)
}
