package route

import "time"

// The values of Config.Balance.
const (
	balanceAuto        = "auto"
	balanceWeighted    = "weighted"
	balanceLeastLoaded = "least-loaded"
	balancePrefix      = "prefix"
)

func balances() []string {
	return []string{balanceAuto, balanceWeighted, balanceLeastLoaded, balancePrefix}
}

// cause is why a replica was chosen among several.
type cause uint8

const (
	byWeight     cause = iota
	byTwoChoices       // the less loaded one of two, nothing being known of the prefix
	byPrefix           // it has had the conversation's beginning
	bounded            // those that have had it are too loaded
	outlying           // the one that has had it is far slower than others
	ejected            // it is left alone, but there is no other
	causes             // how many there are
)

func (c cause) String() string {
	return [causes]string{"weight", "two_choices", "prefix", "bounded", "outlier", "ejected"}[c]
}

// candidate is a target that may be chosen, and how it does now.
type candidate struct {
	*target
	replica  *replica
	weight   float64 // less than the upstream's while it starts slowly
	inFlight float64
	expected float64 // seconds to the first event
	waiting  int64   // for it
}

// choose chooses the target to try next: of the first group that has any. It is nil
// where there is none.
func (c *call) choose() (t *target, why cause) {
	for end := 0; end < len(c.targets); {
		first := end
		for end < len(c.targets) && c.targets[end].group == c.targets[first].group {
			end++
		}
		if t, why = c.among(c.targets[first:end]); t != nil {
			return t, why
		}
	}
	return nil, byWeight
}

// among chooses one of a group.
func (c *call) among(group []target) (*target, cause) {
	var only *target
	ready, out := 0, 0
	for i := range group {
		switch t := &group[i]; {
		case !t.ready():
		case t.ejected():
			out++
		default:
			only, ready = t, ready+1
		}
	}
	why := byWeight
	switch {
	case ready+out == 0:
		return nil, why
	case ready == 0:
		why = ejected // one that fails much is better than none
	case ready == 1:
		c.choice = choice{replica: c.only(only, len(group)), learns: len(group) > 1 && c.beginning(only.model) != nil}
		return only, why
	}
	if c.router.cfg.Balance == balanceWeighted {
		c.choice = choice{several: true}
		return c.drawn(group), why
	}
	return c.picked(group, why)
}

// picked is among where there is a choice. What it takes does not stand on the stack,
// where it would stay as long as a stream.
func (c *call) picked(group []target, why cause) (*target, cause) {
	p, ok := c.router.picks.Get().(*pick)
	if !ok {
		p = new(pick)
	}
	defer p.release()
	p.router = c.router
	now, kind := c.router.clock.Now(), kindOf(&c.req)
	for i := range group {
		if t := &group[i]; t.ready() && (why == ejected || !t.ejected()) {
			p.list = append(p.list, t.candidate(now, c.router.cfg.SlowStart, kind))
		}
	}
	if len(p.list) == 0 {
		return nil, why // another request has just closed them off
	}
	pre := c.beginning(p.list[0].model)
	i, how := p.choose(pre)
	if why != ejected {
		why = how
	}
	c.choice = choice{replica: p.list[i].replica, several: true, learns: pre != nil}
	return p.list[i].target, why
}

// choice is what is kept of how a target was chosen.
type choice struct {
	replica *replica // nil where no other serves the model
	several bool     // others could have been chosen
	learns  bool     // the conversation counts as known where this is answered
}

// only gives the replica of the only target that can be chosen now.
func (c *call) only(t *target, of int) *replica {
	if c.router.cfg.Balance == balanceWeighted {
		return nil
	}
	if of > 1 {
		return t.up.load.replicas.make(t.model)
	}
	return t.up.load.replicas.find(t.model)
}

// drawn gives one by weight alone.
func (c *call) drawn(group []target) *target {
	total := 0
	for i := range group {
		if t := &group[i]; t.ready() {
			total += t.up.Weight
		}
	}
	at := int(c.router.rand() * float64(total))
	var some *target
	for i := range group {
		if t := &group[i]; t.ready() {
			if some == nil {
				some = t
			}
			if at -= t.up.Weight; at < 0 {
				return t
			}
		}
	}
	return some // another request has just closed one of them off
}

func (t *target) candidate(now, slowStart time.Duration, kind int) candidate {
	l := t.up.load
	r := l.replicas.make(t.model)
	return candidate{
		target: t, replica: r,
		weight:   float64(t.up.Weight) * min(started(&l.back, now, slowStart), started(&r.back, now, slowStart)),
		inFlight: float64(r.inFlight.Load()), expected: r.expected(now, kind), waiting: r.first[kind].waiting.Load(),
	}
}
