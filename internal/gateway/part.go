package gateway

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/perf"
)

// stage says how a part is made. docs/adding.md says how to add one.
type stage struct {
	name string // of the part, which no other has

	// key gives all that the part is made of, as far as it comes from the
	// configuration; nil where that turns the part off. Chains share the part while
	// the key, and what the part uses, stays the same.
	key func(*config.Config) any

	// anew has each chain make a part of its own, whatever the key.
	anew bool

	// build makes the part, without an effect on anything that is in use: the chain
	// may still be refused. What has to wait for that belongs into part.commit and
	// part.run.
	build func(*assembly) (*part, error)
}

// part is something that chains hold: one stage of the way of requests, or what
// stages share. All but is may be nil.
type part struct {
	// is is the part itself, for those who use it.
	is any

	// figures are registered while the part belongs to the chain in use.
	figures []figures

	// stage puts the part in front of next. It is called for each chain.
	stage func(c *chain, next llm.Handler) llm.Handler

	// renew is called in place of build for a part that another chain shares, for
	// what is outside of the configuration and may have changed. Like build it has
	// no effect; commit has, and cannot fail.
	renew func(*config.Config) (commit func(), err error)

	// commit is called when the first chain with the part is sure to come into use,
	// before it takes requests. before is what the part of that name is in the chain
	// before, which is still in use; nil for none.
	commit func(before any)

	// use is called with the handler that stage made for the chain which comes into
	// use, and with nil when there is none any more.
	use func(llm.Handler)

	// run does the background work, until ctx is done. It is called once, when the
	// first chain with the part comes into use.
	run func(ctx context.Context)

	// tidy is done again and again while the part belongs to the chain in use.
	tidy []memory.Task

	// close is called when no chain has the part any more, after run has returned.
	close func()

	holding
}

// figures are a source of figures with the name of its system.
type figures struct {
	system string
	source perf.Source
}

// holding is what the gateway notes about a part.
type holding struct {
	name   string
	key    any
	uses   []used
	chains atomic.Int32 // that hold it; the last one closes it
	forget []func()     // take the figures out; nil while they are not in

	begin sync.Once
	stop  context.CancelFunc // nil before begin
	done  sync.WaitGroup
}

// used is what a part asked for while it was built.
type used struct {
	name string
	part *part // nil where there was none
}

// fits reports whether the part is what a key, and what there is to use, would
// make again.
func (p *part) fits(key any, parts []*part) bool {
	return reflect.DeepEqual(p.key, key) && !slices.ContainsFunc(p.uses, func(u used) bool { return find(parts, u.name) != u.part })
}

// find gives the part of a name, nil for none.
func find(parts []*part, name string) *part {
	for _, p := range parts {
		if p.name == name {
			return p
		}
	}
	return nil
}

// start begins the background work, once.
func (p *part) start() {
	if p.run == nil {
		return
	}
	p.begin.Do(func() {
		ctx, stop := context.WithCancel(context.Background())
		p.stop = stop
		p.done.Go(func() { p.run(ctx) })
	})
}

// join puts the figures into the registry, where they are not in.
func (p *part) join(registry *perf.Registry) {
	if p.forget != nil {
		return
	}
	for _, f := range p.figures {
		p.forget = append(p.forget, registry.Register(f.system, f.source))
	}
}

// leave takes them out.
func (p *part) leave() {
	for _, forget := range p.forget {
		forget()
	}
	p.forget = nil
}

// release is called by a chain that holds the part no longer.
func (p *part) release() {
	if p.chains.Add(-1) > 0 {
		return
	}
	if p.stop != nil {
		p.stop()
		p.done.Wait()
	}
	if p.close != nil {
		p.close()
	}
}
