package route

import (
	"log/slog"

	"sluice/internal/perf"
)

const (
	// outlier is the part of its calls that a replica has to fail to be left alone for
	// its siblings, where they fail less than a part of that.
	outlier, muchLess = 0.4, 1.0 / 3
)

// compare leaves a target alone that fails far more of its calls than its siblings
// do, but never too many of them.
func (c *call) compare(t *target) {
	cfg := &c.router.cfg
	mine := t.up.circuits.find(t.model)
	if cfg.Balance == balanceWeighted || mine == nil || mine.failed() < outlier {
		return
	}
	all, gone, others := 0, 0, 0.0
	for i := range c.targets {
		s := &c.targets[i]
		if s.group != t.group {
			continue
		}
		all++
		switch {
		case s == t:
		case s.broken() > 0 || s.ejected():
			gone++
		default:
			if circuit := s.up.circuits.find(s.model); circuit != nil {
				others += circuit.failed()
			}
		}
	}
	rest := all - 1 - gone
	if rest < 1 || float64(gone+1) > cfg.Breaker.MaxEjected*float64(all) || others/float64(rest) > mine.failed()*muchLess {
		return
	}
	if mine.breaker.eject() {
		t.up.load.ejections.Add(1)
		c.router.log.Warn("model fails far more often than elsewhere and is left alone", slog.String("upstream", t.up.Name),
			slog.String("model", perf.Label(t.model)), slog.Duration("for", cfg.Breaker.OpenFor))
	}
}
