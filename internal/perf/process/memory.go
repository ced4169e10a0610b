package process

import (
	"fmt"
	"math"

	"sluice/internal/memory"
	"sluice/internal/perf"
)

// allowance is a limit of memory and what is used of it, in bytes.
type allowance struct {
	used, most int64
	advice     string // for when it is nearly used up
}

func (a *allowance) ratio() float64 { return float64(a.used) / float64(a.most) }

// nearest gives the allowance of which the greatest part is used, nil for none.
func nearest(list []allowance) (n *allowance) {
	for i := range list {
		if n == nil || list[i].ratio() > n.ratio() {
			n = &list[i]
		}
	}
	return n
}

// allowances lists the limits that hold for the process: those of its control
// group and of the groups above it, at which it is killed, and GOMEMLIMIT, which
// Go keeps to by collecting garbage more and more. known is false where no
// control group tells what is used. p.mu is held.
func (p *Process) allowances() (list []allowance, known bool) {
	if p.groups == nil { // once: a process stays in its group
		p.groups = memory.Groups(p.root)
	}
	for _, g := range p.groups {
		used, ok := g.Use(p.root)
		known = known || ok
		if most, limited := g.Limit(p.root); ok && limited {
			list = append(list, allowance{used, most,
				"Give the container or service more memory, or lower cache.max_bytes or server.max_connections: at the limit the process is killed, or slowed down where it is memory.high."})
		}
	}
	if most := p.runtime.bytes(goLimit); most > 0 && most < math.MaxInt64 {
		list = append(list, allowance{p.runtime.bytes(goTotal) - p.runtime.bytes(goReleased), most,
			"Give it more memory (memory.limit_bytes, GOMEMLIMIT, or the container's), or lower cache.max_bytes or server.max_connections: at the limit garbage is collected all the time."})
	}
	return list, known
}

// examineMemory compares what is used with what may be.
func (p *Process) examineMemory(report func(perf.Condition)) {
	p.runtime.read()
	list, known := p.allowances()
	n := nearest(list)
	if n == nil && !known {
		return
	}
	c := perf.Condition{Component: "process/memory"}
	if n != nil && n.ratio() > scarce {
		c.State, c.Advice = perf.Degraded, n.advice
		c.Error = fmt.Sprintf("%d of %d MiB are used", n.used>>20, n.most>>20)
	}
	report(c)
}
