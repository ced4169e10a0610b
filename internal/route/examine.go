package route

import (
	"fmt"
	"time"

	"sluice/internal/perf"
)

// Examine implements perf.Examined: each upstream is judged by the requests that
// it got, since asking it only to know would cost money.
func (r *Router) Examine(report func(perf.Condition)) {
	for i, h := range r.Health() {
		c := perf.Condition{Component: "upstream/" + h.Upstream, Vital: "upstreams"}
		if fault := r.ups[i].fault.Load(); fault != nil && h.Failures > 0 {
			c.Error = fault.Message
		}
		switch {
		case h.Breaker == "open":
			c.State = perf.Unhealthy
			c.Advice = fmt.Sprintf("%d requests in a row failed, so it is left alone for another %v. Check its base_url, its api_key and what its provider says.",
				h.Failures, h.RetryIn.Round(time.Second))
		case h.Breaker == "half-open":
			c.State, c.Advice = perf.Degraded, "It failed, and the next request tries whether it is back."
		case h.ListError != nil && !hasNoList(h.ListError):
			c.State, c.Error = perf.Degraded, "model list: "+h.ListError.Error()
			c.Advice = "Its model list cannot be read. Name its models under upstreams[].models, or check its base_url and api_key."
		}
		report(c)
	}
}
