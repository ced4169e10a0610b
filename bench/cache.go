package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// caching has all answer from memory: nginx from files in the page cache that
// it keeps open. max is how many entries Sluice keeps, as it does without being
// told when it is 0; a run that draws keys has fewer, so that the eviction policy
// turns none away.
func caching(cpus string, max int) setup {
	s := setup{
		cpus: cpus,
		http: "sendfile on; open_file_cache max=4096 inactive=1h; proxy_cache_path replies keys_zone=replies:16m max_size=1g inactive=1h;",
		location: `client_body_buffer_size 64k; proxy_cache replies; proxy_cache_methods POST; proxy_cache_valid 200 1h;
    proxy_cache_key "$request_uri|$request_body"; add_header X-Cache $upstream_cache_status;`,
	}
	if max > 0 {
		s.sections = fmt.Sprintf("cache: {max_size: %d, max_bytes: 128MiB, response_ttl: 1h}\n", max)
	}
	return s
}

// manyKeys is how many requests there are in a load that draws them.
const manyKeys = 1000

// zipf is a script that sends manyKeys requests, the nth most frequent one 1/n
// times as often as the most frequent (G. Zipf, 1935). They are drawn before the
// load begins, so that drawing does not slow it.
func zipf(body string) string {
	return fmt.Sprintf(`local requests, upTo, total = {}, {}, 0
function init()
  for i = 1, %[1]d do
    requests[i] = wrk.format(nil, nil, nil, (wrk.body:gsub("%[2]s", string.format("%%06d", i - 1), 1)))
    total = total + 1 / i
    upTo[i] = total
  end
  picks = {}
  for n = 1, 65536 do
    local r, low, high = math.random() * total, 1, %[1]d
    while low < high do
      local mid = math.floor((low + high) / 2)
      if upTo[mid] < r then low = mid + 1 else high = mid end
    end
    picks[n] = requests[low]
  end
end
local n = 0
function request()
  n = n %% 65536 + 1
  return picks[n]
end
`, manyKeys, fmt.Sprintf("%06d", 0))
}

// hits measures what answers from memory cost.
func hits(ctx context.Context, w io.Writer, p plan) error {
	for _, part := range []func(context.Context, io.Writer, plan) error{hitCost, contention, footprint} {
		if err := part(ctx, w, p); err != nil {
			return err
		}
	}
	return nil
}

func hitCost(ctx context.Context, w io.Writer, p plan) error {
	lab, err := labWith(ctx, &p, caching(proxied, 4*manyKeys))
	if err != nil {
		return err
	}
	defer lab.close()
	if err := lab.fill(ctx, manyKeys, model1KB, model16KB); err != nil {
		return err
	}
	fmt.Fprintf(w, "Each proxy on one CPU; c=%d, %v per load, median of %d rounds\n\n", p.conns, p.duration, p.rounds)
	err = lab.hitCosts(ctx, newTable(w, "hits", lab.columns()), []load{
		{name: "600 B request, 1 kB reply", body: keyedBody(model1KB, 0)},
		{name: "600 B request, 16 kB reply", body: keyedBody(model16KB, 0)},
	})
	if err != nil {
		return err
	}
	for i, cpu := range []string{proxied, peers} {
		if err := lab.hitLatency(ctx, w, cpu, i*manyKeys); err != nil {
			return err
		}
	}
	return nil
}

// hitCosts prints what each load costs, and how many hits a second there were.
func (l *lab) hitCosts(ctx context.Context, t table, loads []load) error {
	for _, ld := range loads {
		cost, rate, err := l.compare(ctx, ld)
		if err != nil {
			return err
		}
		cost.mock = nil // it is not asked
		t.print(cost, rate)
	}
	return nil
}

// contention loads all where they may use both CPUs.
func contention(ctx context.Context, w io.Writer, p plan) error {
	p.conns = 64
	lab, err := labWith(ctx, &p, caching(both, 4*manyKeys))
	if err != nil {
		return err
	}
	defer lab.close()
	if err := lab.fill(ctx, manyKeys, model1KB); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nEach proxy on both CPUs, the load on one of them; c=%d\n\n", p.conns)
	body := keyedBody(model1KB, 0)
	return lab.hitCosts(ctx, newTable(w, "hits", lab.columns()), []load{
		{name: "one key", body: body},
		{name: fmt.Sprintf("%d keys, Zipf", manyKeys), body: body, script: zipf(body)},
	})
}

// fill has all proxies store the replies to some requests, and makes sure that
// they did.
func (l *lab) fill(ctx context.Context, keys int, models ...string) error {
	for _, p := range l.proxies {
		c, err := dial(ctx, p.target)
		if err != nil {
			return err
		}
		defer c.close()
		for range 2 {
			for _, model := range models {
				for n := range keys {
					if _, err := c.ask(keyedBody(model, n)); err != nil {
						return fmt.Errorf("fill %s: %w", p.name, err)
					}
				}
			}
		}
		if c.hits != len(models)*keys {
			return fmt.Errorf("%s has stored the replies to %d of %d requests", p.name, c.hits, len(models)*keys)
		}
	}
	return nil
}

// hitLatency prints how long a client on a CPU waits for misses and for hits, one
// after the other on one connection, the proxies in turn. Its requests begin
// with number first.
func (l *lab) hitLatency(ctx context.Context, w io.Writer, cpu string, first int) (err error) {
	if err := pin(ctx, os.Getpid(), cpu); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pin(ctx, os.Getpid(), peers)) }()
	const misses, repeats = 100, 20
	var clients []*client
	for _, p := range l.proxies {
		c, err := dial(ctx, p.target)
		if err != nil {
			return err
		}
		defer c.close()
		clients = append(clients, c)
	}
	waits := make([][2][]float64, len(clients)) // for misses and for hits
	for round := range 1 + repeats {
		for i, c := range clients {
			for n := range misses {
				took, err := c.ask(keyedBody(modelWait, first+n))
				if err != nil {
					return fmt.Errorf("%s: %w", l.proxies[i].name, err)
				}
				which := min(round, 1)
				waits[i][which] = append(waits[i][which], float64(took))
			}
		}
	}
	fmt.Fprintf(w, "\n| median wait on CPU %s, model thinks %v | miss | hit | change |\n| --- | ---: | ---: | ---: |\n", cpu, thinkTime)
	for i, c := range clients {
		if c.hits != misses*repeats {
			return fmt.Errorf("%s: %d hits, not %d", l.proxies[i].name, c.hits, misses*repeats)
		}
		miss, hit := median(waits[i][0]), median(waits[i][1])
		fmt.Fprintf(w, "| %s | %s | %s | %.3f %% |\n", l.proxies[i].name, round(miss), round(hit), 100*(hit/miss-1))
	}
	return nil
}

func round(ns float64) time.Duration { return time.Duration(ns).Round(100 * time.Nanosecond) }
