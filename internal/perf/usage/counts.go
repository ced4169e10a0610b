package usage

import "sluice/internal/perf"

// Counts are the numbers of tokens that a reply told up to now, each by itself: streams of
// Messages tell the input as they begin, and the output, with or without the input once more,
// as they end. They are summed only when all is said. The zero value is that of a reply that
// has told nothing.
type Counts struct {
	n    [counted]int64 // 0 where it does not say
	said uint16         // which it says, a bit for each
}

// Event takes what a later event of the same stream says, and reports whether it says anything.
// Those of the Responses API, and of some services, have their usage in an object that they wrap.
func (c *Counts) Event(raw []byte) bool { return mentioned(raw) && c.event(raw) }

// Usage sums the counts. Some services give both the names of chats and those of the
// Responses API, with 0 under one of the two.
func (c *Counts) Usage() perf.Usage {
	if !c.tells(prompt) && !c.tells(input) && !c.tells(completion) && !c.tells(output) {
		return perf.Usage{}
	}
	u := perf.Usage{Known: true, Input: c.most(prompt, input) + c.of(toolInput), Output: c.most(completion, output) + c.of(thoughts), Cached: c.most(cachedPrompt, cachedInput)}
	if !c.tells(prompt) && u.Cached == 0 { // as Messages have it; others count them in
		u.Cached = c.of(cacheRead)
		u.Input += u.Cached + c.of(cacheWritten)
	}
	u.Cached = min(u.Cached, u.Input)
	return u
}

// update takes each count that later says. Some services repeat as 0 what they told, which
// takes nothing back: what a reply took does not become less.
func (c *Counts) update(later *Counts) {
	for i, n := range later.n {
		if n > 0 {
			c.n[i] = n
		}
	}
	c.said |= later.said
}

// tells reports whether it says a count, which may be 0.
func (c *Counts) tells(f field) bool { return c.said&(1<<(f-prompt)) != 0 }

func (c *Counts) of(f field) int64 { return c.n[f-prompt] }

func (c *Counts) most(a, b field) int64 { return max(c.of(a), c.of(b)) }

func (c *Counts) say(f field, n int64) {
	c.n[f-prompt] = n
	c.said |= 1 << (f - prompt)
}

func (c *Counts) forget(f field) {
	c.n[f-prompt] = 0
	c.said &^= 1 << (f - prompt)
}
