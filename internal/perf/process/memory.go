package process

import (
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

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
	for _, folder := range p.controlGroups() {
		used, ok := p.number(folder + "/memory.current")
		known = known || ok
		if most, limited := p.number(folder + "/memory.max"); ok && limited && most > 0 {
			list = append(list, allowance{used, most,
				"Give the container or service more memory, or lower cache.max_bytes or server.max_connections: at the limit the process is killed."})
		}
	}
	if most := p.runtime.bytes(goLimit); most > 0 && most < math.MaxInt64 {
		list = append(list, allowance{p.runtime.bytes(goTotal) - p.runtime.bytes(goReleased), most,
			"Give it more memory (memory.limit_bytes, GOMEMLIMIT, or the container's), or lower cache.max_bytes or server.max_connections: at the limit garbage is collected all the time."})
	}
	return list, known
}

// controlGroups lists the folders of the process's control group (version 2) and
// of those above it. They are read once: a process stays in its group.
func (p *Process) controlGroups() []string {
	if p.groups != nil {
		return p.groups
	}
	const top = "sys/fs/cgroup"
	own := "/"
	b, _ := os.ReadFile(p.root + "proc/self/cgroup") // none is the topmost
	for line := range strings.Lines(string(b)) {
		if folder, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = path.Clean("/" + folder) // from outside a container it begins with ".."
		}
	}
	for ; own != "/"; own = path.Dir(own) {
		p.groups = append(p.groups, top+own)
	}
	p.groups = append(p.groups, top)
	return p.groups
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

// number reads a file that holds one; "max" is none.
func (p *Process) number(name string) (n int64, ok bool) {
	b, err := os.ReadFile(p.root + name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
