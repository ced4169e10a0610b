package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// scenario is a way in which an upstream fails.
type scenario struct {
	name  string
	mode  int32  // of the first replica's link
	fault string // that every fifth request has, for the simulator
}

func scenarios() []scenario {
	return []scenario{
		{name: "one request in five is refused with 503, once", fault: "status=503,fail-first=1"},
		{name: "one of two replicas is down", mode: refuses},
		{name: "one of two replicas takes requests and says nothing", mode: hangs},
		{name: "one of two replicas ends its replies in the middle", mode: cuts},
	}
}

// recovery measures what clients notice of faults.
func recovery() experiment {
	return experiment{
		rows: []Row{{
			ID: faultsRow, Title: "Requests that fail when an upstream does",
			Claim: Claim{Quote: "错误恢复：增强的错误处理和重试机制", Text: "errors are recovered from by better handling and by retries"},
			Method: "Two replicas of the simulator, one of which fails, in four ways (below); 100 requests a second, whether or not others have been answered, every second one a stream, before a gateway that has just started. A request succeeds where its whole reply came. Both sides give up a reply that has not begun after 500 ms. " +
				"A reply that was cut in the middle cannot be saved by anyone, and a whole reply whose request may have been acted on is not asked for again: what can be saved then is all requests after the first few.",
			Off: beforeText + "; the replicas in turn", On: nowText + ", and http_client: {" + impatient + "}",
		}},
		why: "a real service does not fail when it is asked to",
		measure: func(ctx context.Context, r *run, rows map[string]*Row) error {
			list := scenarios()
			figures := make([]Figure, 1, 1+2*len(list))
			figures[0] = Figure{Name: "requests that failed, of all", Unit: Share}
			for _, s := range list {
				figures = append(figures, Figure{Name: s.name + ": requests that failed", Unit: Share}, Figure{Name: s.name + ": time to a whole reply", Unit: Seconds})
			}
			err := r.each(ctx, func(round, side int) error {
				all := figures[0].side(round, side)
				for i, s := range list {
					failed, asked, took, err := r.suffer(ctx, s, side)
					if err != nil {
						return fmt.Errorf("%s: %w", s.name, err)
					}
					*figures[1+2*i].side(round, side) = Side{Amount: failed, Per: asked}
					*figures[2+2*i].side(round, side) = Side{Samples: took}
					all.Amount += failed
					all.Per += asked
				}
				return nil
			})
			rows[faultsRow].Figures = figures
			return err
		},
	}
}

// patience is how long both sides wait for a reply to begin.
const (
	patience  = 500 * time.Millisecond
	impatient = "response_header_timeout: 500ms, first_event_timeout: 500ms"
)

// suffer asks a fresh gateway of a side while an upstream fails.
func (r *run) suffer(ctx context.Context, s scenario, side int) (failed, asked float64, took []float64, err error) {
	const every = 10 * time.Millisecond
	var links [2]*link
	var ups []upstream
	var urls []string
	for i := range links {
		if links[i], err = connect(r.simulator.addr, 0, nil); err != nil {
			return 0, 0, nil, err
		}
		defer links[i].close()
		urls = append(urls, "http://"+links[i].addr)
		ups = append(ups, upstream{name: fmt.Sprintf("replica-%d", i+1), url: urls[i] + "/v1"})
	}
	var g *child
	if side == 0 {
		g, err = r.before(ctx, connectionsBefore, keptBefore, patience, urls...)
	} else {
		g, err = r.gateway(ctx, "the gateway", config{ups, []string{"http_client: {" + impatient + "}"}})
	}
	if err != nil {
		return 0, 0, nil, err
	}
	defer g.stop()
	links[0].fail(s.mode)
	times := r.times(4*every, 10, 300)
	replies := make([]reply, times)
	var asking sync.WaitGroup
	defer asking.Wait()
	next := time.Now()
	for i := range replies {
		n := r.number()
		fault := ""
		if s.fault != "" && i%5 == 2 {
			fault = fmt.Sprintf("%s,key=%s-%d", s.fault, r.key[:8], n)
		}
		q := r.chat(n, fault)
		if i%2 == 1 {
			q = r.stream(n, fault)
		}
		asking.Go(func() {
			c := client{addr: g.addr, key: r.key}
			defer c.close()
			replies[i] = c.ask(ctx, q)
		})
		next = next.Add(every)
		if err := sleep(ctx, time.Until(next)); err != nil {
			return 0, 0, nil, err
		}
	}
	asking.Wait()
	if err := ctx.Err(); err != nil {
		return 0, 0, nil, err
	}
	failed, took, err = tally(replies, g, r.simulator)
	return failed, float64(times), took, err
}

// tally counts the replies that failed, and says what the others took. Those who were to
// answer have to be there still: what a program fails at that has ended says nothing of how it copes.
func tally(replies []reply, all ...*child) (failed float64, took []float64, err error) {
	for _, c := range all {
		err = errors.Join(err, c.alive())
	}
	for _, a := range replies {
		if a.good {
			took = append(took, a.took.Seconds())
		} else {
			failed++
		}
	}
	return failed, took, err
}
