package route

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Examine implements perf.Examined: each upstream is judged by the requests that
// it got, since asking it only to know would cost money.
func (r *Router) Examine(report func(perf.Condition)) {
	for i, h := range r.Health() {
		c := perf.Condition{Component: "upstream/" + h.Upstream, Vital: "upstreams"}
		if fault := r.ups[i].fault.Load(); fault != nil && h.Failures > 0 {
			c.Error = told(fault)
		}
		switch {
		case h.Breaker == "open":
			c.State = perf.Unhealthy
			c.Advice = fmt.Sprintf("%d requests in a row could not be sent, so it is left alone for another %v. Check its base_url and the network, and whether it runs.",
				h.Failures, h.RetryIn.Round(time.Second))
		case h.Breaker == "half-open":
			c.State, c.Advice = perf.Degraded, "It could not be reached, and the next request tries whether it is back."
		case len(h.Failing) > 0:
			c.State, c.Error, c.Advice = perf.Degraded, modelErrors(h.Failing), modelAdvice(h.Failing)
			if r.allOpen(i, h.Failing) {
				c.State = perf.Unhealthy
			}
		case h.ListError != nil && !hasNoList(h.ListError):
			c.State, c.Error = perf.Degraded, "model list: "+h.ListError.Error()
			c.Advice = "Its model list cannot be read. Name its models under upstreams[].models, or check its base_url and api_key."
		}
		report(c)
	}
}

// told is what the report says of a fault.
func told(fault *llm.Error) string {
	if fault.Hint == "" {
		return fault.Message
	}
	return fault.Message + " " + fault.Hint
}

// maxNamed bounds the models that a condition names.
const maxNamed = 3

func modelErrors(failing []ModelHealth) string {
	var all []string
	for _, m := range failing[:min(len(failing), maxNamed)] {
		text := "it failed"
		if m.Fault != nil {
			text = told(m.Fault)
		}
		all = append(all, "model "+quoted(m.Model)+": "+text)
	}
	return joined(all, len(failing))
}

func modelAdvice(failing []ModelHealth) string {
	var all []string
	for _, m := range failing[:min(len(failing), maxNamed)] {
		switch {
		case m.Ejected:
			all = append(all, fmt.Sprintf("%s fails far more often than at other upstreams, which are asked in its place for another %v.", quoted(m.Model), m.RetryIn.Round(time.Second)))
		case m.Breaker == "open":
			all = append(all, fmt.Sprintf("%d requests in a row for %s failed, so it is left alone for another %v.", m.Failures, quoted(m.Model), m.RetryIn.Round(time.Second)))
		case m.Breaker == "half-open":
			all = append(all, fmt.Sprintf("%s failed, and the next request for it tries whether it is back.", quoted(m.Model)))
		default:
			all = append(all, fmt.Sprintf("%s fails most of its calls.", quoted(m.Model)))
		}
	}
	return strings.Join(all, " ") + " Check the model's name, the api_key's right to it and what its provider says; the upstream's other models are asked as before."
}

func joined(some []string, n int) string {
	s := strings.Join(some, "; ")
	if n > len(some) {
		s += fmt.Sprintf("; and %d more", n-len(some))
	}
	return s
}

// allOpen reports whether nothing that the upstream is known to serve is asked
// for now.
func (r *Router) allOpen(i int, failing []ModelHealth) bool {
	models := r.ups[i].objectsOf(r)
	return len(models) > 0 && !slices.ContainsFunc(models, func(o object) bool {
		return !slices.ContainsFunc(failing, func(m ModelHealth) bool { return m.Model == o.id && m.Breaker == "open" })
	})
}
