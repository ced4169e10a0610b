package route

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

const (
	// maxCircuits bounds the models of one upstream whose failures are counted:
	// their names may come from clients.
	maxCircuits = 100
	// recent is how long a model's failure is told of in figures and health when
	// nobody has asked for it since.
	recent = 5 * time.Minute
	// weight is that of one call in the share of calls that failed.
	weight = 0.1
)

// circuit is what is held against one model of an upstream: many serve several
// from one address, and one that is broken or being loaded says nothing about
// the others. Only a model that has failed has one.
type circuit struct {
	up       *upstream
	model    string
	breaker  breaker
	fault    atomic.Pointer[llm.Error] // of the last call that failed
	failedAt atomic.Int64              // when that was, on the clock
	share    atomic.Uint64             // of the last calls, those that failed: a float64
}

// circuits are those of one upstream.
type circuits struct{ perModel[circuit] }

// make gives the model's circuit, in place of the one that matters least where
// there are too many. It is nil for a name that is too long to be one.
func (cs *circuits) make(up *upstream, model string) *circuit {
	return cs.perModel.make(model, dropLeast, func(model string) *circuit { return newCircuit(up, model) })
}

// dropLeast drops the circuit that matters least, where there are too many.
func dropLeast(all map[string]*circuit) bool {
	if len(all) < maxCircuits {
		return true
	}
	least := slices.MinFunc(slices.Collect(maps.Values(all)), func(a, b *circuit) int {
		if a, b := a.breaker.isOpen.Load(), b.breaker.isOpen.Load(); a != b {
			return map[bool]int{false: -1, true: 1}[a]
		}
		return cmp.Compare(a.failedAt.Load(), b.failedAt.Load())
	})
	delete(all, least.model)
	return true
}

func newCircuit(up *upstream, model string) *circuit {
	c := &circuit{up: up, model: model}
	c.breaker.clock, c.breaker.cfg = up.router.clock, up.router.cfg.Breaker
	return c
}

// known lists the circuits whose model failed in the last minutes or is not
// asked for now, by name.
func (cs *circuits) known(now time.Duration) (list []*circuit) {
	for _, c := range cs.all() {
		if now-time.Duration(c.failedAt.Load()) < recent || c.breaker.left() > 0 {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *circuit) int { return cmp.Compare(a.model, b.model) })
	return list
}

// works counts a call that the model answered.
func (c *circuit) works(probe bool) {
	c.weigh(0)
	if c.breaker.succeed(probe) {
		c.share.Store(0)
		c.up.load.cameBack(c.model, c.breaker.clock.Now())
		c.up.router.log.Info("model is back", slog.String("upstream", c.up.Name), slog.String("model", perf.Label(c.model)))
	}
}

// fails counts one that it failed.
func (c *circuit) fails(o outcome, e *llm.Error, probe bool) {
	c.weigh(1)
	c.fault.Store(faultOf(e))
	c.failedAt.Store(int64(c.breaker.clock.Now()))
	if c.breaker.fail(probe) {
		c.up.router.log.Warn("model fails and is left alone", slog.String("upstream", c.up.Name), slog.String("model", perf.Label(c.model)),
			slog.String("cause", o.String()), slog.Duration("for", c.breaker.left()))
	}
}

// weigh takes a call into the share of those that failed. A model that is well
// writes nothing.
func (c *circuit) weigh(failed float64) {
	for {
		old := c.share.Load()
		if old == 0 && failed == 0 {
			return
		}
		share := math.Float64frombits(old)*(1-weight) + failed*weight
		if share < weight*weight {
			share = 0
		}
		if c.share.CompareAndSwap(old, math.Float64bits(share)) {
			return
		}
	}
}

// mostFail reports whether the model fails most of its calls.
func (c *circuit) mostFail() bool { return c.failed() > 0.5 }

// failed is the part of the last calls that failed.
func (c *circuit) failed() float64 { return math.Float64frombits(c.share.Load()) }

func (c *circuit) inherit(old *circuit) {
	c.breaker.inherit(&old.breaker)
	c.fault.Store(old.fault.Load())
	c.failedAt.Store(old.failedAt.Load())
	c.share.Store(old.share.Load())
}

// maxCode bounds the part of an upstream's own code that is kept, in bytes.
const maxCode = 64

// faultOf is what is kept of an error: nothing that may be large.
func faultOf(e *llm.Error) *llm.Error {
	code := e.Code
	if len(code) > maxCode {
		code = strings.Clone(code[:maxCode])
	}
	return &llm.Error{Fault: e.Fault, Status: e.Status, Code: code, Message: e.Message, Hint: e.Hint}
}

// brief says what a fault that was kept was, to a client that another one's text is
// nothing to.
func brief(e *llm.Error) string {
	if e == nil {
		return "an error"
	}
	code := strings.ToValidUTF8(e.Code, "\ufffd")
	switch {
	case e.Fault != llm.Answered:
		return code
	case !e.Named():
		return fmt.Sprintf("status %d", e.Status)
	default:
		return fmt.Sprintf("status %d (%s)", e.Status, code)
	}
}

// held says why a target is not asked, "" where it may be.
func (t *target) held() string {
	if left := t.up.breaker.left(); left > 0 {
		return fmt.Sprintf("Upstream `%s` could not be reached %d times in a row, last with %s, and is not tried for another %v.",
			t.up.Name, t.up.breaker.failures.Load(), brief(t.up.fault.Load()), seconds(left))
	}
	c := t.up.circuits.find(t.model)
	if c == nil {
		return ""
	}
	left := c.breaker.left()
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("Upstream `%s` failed %d requests for %s in a row, the last with %s, and is not asked for it for another %v.",
		t.up.Name, c.breaker.failures.Load(), quoted(c.model), brief(c.fault.Load()), seconds(left))
}

// quoted names a model in a text.
func quoted(model string) string {
	if model == noModel {
		return "no model"
	}
	return "`" + shown(model) + "`"
}

// seconds rounds a time up to a whole number of them: that is what Retry-After
// can say.
func seconds(d time.Duration) time.Duration {
	return max(d+time.Second-1, time.Second).Truncate(time.Second)
}
