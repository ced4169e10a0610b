package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// caching has both answer from memory: nginx from files in the page cache that
// it keeps open. max is how many entries Sluice keeps; a run has fewer, so that
// the eviction policy turns none away.
func caching(cpus string, max int) setup {
	return setup{
		cpus: cpus,
		http: "sendfile on; open_file_cache max=4096 inactive=1h; proxy_cache_path replies keys_zone=replies:16m max_size=1g inactive=1h;",
		location: `client_body_buffer_size 64k; proxy_cache replies; proxy_cache_methods POST; proxy_cache_valid 200 1h;
    proxy_cache_key "$request_uri|$request_body"; add_header X-Cache $upstream_cache_status;`,
		sections: fmt.Sprintf("cache: {max_size: %d, max_bytes: 128MiB, response_ttl: 1h}\n", max),
	}
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
func hits(ctx context.Context, p plan) error {
	if err := hitCost(ctx, p); err != nil {
		return err
	}
	if err := contention(ctx, p); err != nil {
		return err
	}
	return footprint(ctx, p)
}

func hitCost(ctx context.Context, p plan) error {
	lab, err := newLab(ctx, &p, caching("0", 4*manyKeys))
	if err != nil {
		return err
	}
	defer lab.close()
	if err := lab.fill(ctx, model1KB, model16KB); err != nil {
		return err
	}
	fmt.Printf("hits, each proxy on one CPU; c=%d, %s per load, median of %d rounds\n\n", p.conns, p.duration, p.rounds)
	err = lab.compare(ctx, []load{
		{name: "600 B request, 1 kB reply", body: keyedBody(model1KB, 0)},
		{name: "600 B request, 16 kB reply", body: keyedBody(model16KB, 0)},
	})
	if err != nil {
		return err
	}
	for first, cpu := range []string{"0", "1"} {
		if err := lab.latency(ctx, cpu, first*manyKeys); err != nil {
			return err
		}
	}
	return pin(ctx, "0,1")
}

// contention loads both where they may use both CPUs.
func contention(ctx context.Context, p plan) error {
	p.conns = 64
	lab, err := newLab(ctx, &p, caching("0,1", 4*manyKeys))
	if err != nil {
		return err
	}
	defer lab.close()
	if err := lab.fill(ctx, model1KB); err != nil {
		return err
	}
	fmt.Printf("\nhits, each proxy on both CPUs, the load on one of them; c=%d\n\n", p.conns)
	body := keyedBody(model1KB, 0)
	return lab.compare(ctx, []load{
		{name: "one key", body: body},
		{name: fmt.Sprintf("%d keys, Zipf", manyKeys), body: body, script: zipf(body)},
	})
}

// fill has both proxies store the replies to manyKeys requests, and makes sure
// that they did.
func (l *lab) fill(ctx context.Context, models ...string) error {
	for _, p := range []*proxy{l.nginx, l.sluice} {
		c, err := dial(ctx, p.addr)
		if err != nil {
			return err
		}
		defer c.close()
		for range 2 {
			for _, model := range models {
				for n := range manyKeys {
					if _, err := c.ask(keyedBody(model, n)); err != nil {
						return fmt.Errorf("fill %s: %w", p.name, err)
					}
				}
			}
		}
		if c.hits != len(models)*manyKeys {
			return fmt.Errorf("%s has stored the replies to %d of %d requests", p.name, c.hits, len(models)*manyKeys)
		}
	}
	return nil
}

// latency prints how long a client on a CPU waits for misses and for hits, one
// after the other on one connection, the proxies in turn. Its requests begin
// with number first.
func (l *lab) latency(ctx context.Context, cpu string, first int) error {
	if err := pin(ctx, cpu); err != nil {
		return err
	}
	const misses, repeats = 100, 20
	proxies := []*proxy{l.nginx, l.sluice}
	var clients [2]*client
	for i, p := range proxies {
		c, err := dial(ctx, p.addr)
		if err != nil {
			return err
		}
		defer c.close()
		clients[i] = c
	}
	var waits [2][2][]float64 // of each proxy: of misses and of hits
	for round := range 1 + repeats {
		for i, c := range clients {
			for n := range misses {
				took, err := c.ask(keyedBody(modelWait, first+n))
				if err != nil {
					return fmt.Errorf("%s: %w", proxies[i].name, err)
				}
				which := min(round, 1)
				waits[i][which] = append(waits[i][which], float64(took))
			}
		}
	}
	fmt.Printf("\n%-44s %14s %14s %10s\n", fmt.Sprintf("median wait on CPU %s, model thinks %v", cpu, thinkTime), "miss", "hit", "change")
	for i, c := range clients {
		if c.hits != misses*repeats {
			return fmt.Errorf("%s: %d hits, not %d", proxies[i].name, c.hits, misses*repeats)
		}
		miss, hit := median(waits[i][0]), median(waits[i][1])
		fmt.Printf("%-44s %14s %14s %9.3f%%\n", proxies[i].name, round(miss), round(hit), 100*(hit/miss-1))
	}
	return nil
}

func round(ns float64) time.Duration { return time.Duration(ns).Round(100 * time.Nanosecond) }

// pin has this process run on some CPUs only.
func pin(ctx context.Context, cpus string) error {
	out, err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", cpus, strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pin to CPU %s: %w\n%s", cpus, err, out)
	}
	return nil
}
