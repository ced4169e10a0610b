package bench

import (
	"fmt"
	"io"
	"time"
)

// progress tells a person how far a run is: on a terminal in one line that is written
// over, and elsewhere in a line for each experiment.
type progress struct {
	w           io.Writer
	terminal    bool
	experiments int
	rounds      int
	begun       time.Time

	title         string
	done, rounded int
}

// next tells of the next experiment.
func (p *progress) next(title string) {
	p.done, p.rounded, p.title = p.done+1, 0, title
	if p.w == nil {
		return
	}
	if !p.terminal {
		_, _ = fmt.Fprintf(p.w, "%d of %d: %s\n", p.done, p.experiments, title)
		return
	}
	p.show()
}

// round tells of the end of a round.
func (p *progress) round() {
	p.rounded++
	if p.w != nil && p.terminal {
		p.show()
	}
}

func (p *progress) show() {
	left := ""
	if parts := (p.done-1)*p.rounds + p.rounded; parts > 0 {
		all := p.experiments * p.rounds
		left = fmt.Sprintf(", about %v left", (time.Since(p.begun) * time.Duration(all-parts) / time.Duration(parts)).Round(time.Second))
	}
	_, _ = fmt.Fprintf(p.w, "\r\033[K%d of %d: %s, round %d of %d%s", p.done, p.experiments, p.title, min(p.rounded+1, p.rounds), p.rounds, left)
}

// clear takes the line away.
func (p *progress) clear() {
	if p.w != nil && p.terminal {
		_, _ = fmt.Fprint(p.w, "\r\033[K")
	}
}
