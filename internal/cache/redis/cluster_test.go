package redis

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/cache"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// cluster starts three masters that share the slots.
func cluster(t *testing.T) (nodes [3]*redistest.Server, ports [3]string) {
	t.Helper()
	ctx := context.Background()
	for i := range nodes {
		ports[i] = redistest.Port(t)
		nodes[i] = redistest.Start(t, "--port", ports[i], "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", redistest.Port(t),
			"--cluster-node-timeout", "60000")
		if err := nodes[i].ClusterAddSlotsRange(ctx, i*16384/3, (i+1)*16384/3-1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i < 3; i++ {
		bus := nodes[i].ConfigGet(ctx, "cluster-port").Val()["cluster-port"]
		if err := nodes[0].Do(ctx, "CLUSTER", "MEET", "127.0.0.1", ports[i], bus).Err(); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Until(t, "cluster", func() bool {
		for _, n := range nodes {
			if info := n.ClusterInfo(ctx).Val(); !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return nodes, ports
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes, ports := cluster(t)
	heard := make(chan cache.Purge, 10)
	a := ready(t, conf("redis://127.0.0.1:"+ports[0]+"?cluster=true"), Options{})
	b := ready(t, conf(fmt.Sprintf("redis://127.0.0.1:%s,127.0.0.1:%s", ports[1], ports[2])), Options{OnPurge: func(p cache.Purge) { heard <- p }})
	var places []cache.Place
	for i := range 16 {
		places = append(places, at("m", fmt.Sprint(i)), at("n", fmt.Sprint(i)))
	}
	fill := func() {
		for _, p := range places {
			stored(t, a, p, "x")
		}
	}
	fill()
	is(t, "in one round trip", get(t, b, places...), strings.TrimSpace(strings.Repeat("x ", 32)))
	for i, n := range nodes {
		if n.DBSize(t.Context()).Val() == 0 {
			t.Errorf("node %d has nothing", i)
		}
	}
	for _, c := range []struct {
		purge cache.Purge
		left  string
	}{
		{cache.Purge{Model: "m"}, strings.TrimSpace(strings.Repeat("- x ", 16))},
		{cache.Purge{Model: "n", Key: places[1].Key}, "x - " + strings.TrimSpace(strings.Repeat("x x ", 15))},
		{cache.Purge{}, strings.TrimSpace(strings.Repeat("- - ", 16))},
	} {
		fill()
		if err := a.Purge(t.Context(), c.purge); err != nil {
			t.Fatal(err)
		}
		is(t, fmt.Sprint(c.purge), get(t, b, places...), c.left)
		is(t, "heard", <-heard, c.purge)
	}
	nodes[1].Kill()
	fails(t, a)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	p, sp := redistest.Port(t), redistest.Port(t)
	s := redistest.Start(t, "--port", p, "--bind", "127.0.0.1")
	if err := s.ConfigSet(t.Context(), "requirepass", "pw").Err(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nprotected-mode no\ndir %s\nsentinel monitor mymaster 127.0.0.1 %s 1\nsentinel auth-pass mymaster pw\n",
		sp, filepath.Dir(file), p)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	redistest.Command(t, "redis-server", "redis-server", file, "--sentinel", "--loglevel", "warning")
	heard := make(chan cache.Purge, 10)
	url := "redis+sentinel://:pw@127.0.0.1:" + sp + "/mymaster/1"
	a := ready(t, conf(url), Options{})
	b := ready(t, conf(url), Options{OnPurge: func(p cache.Purge) { heard <- p }})
	stored(t, a, at("m", "a"), "x")
	is(t, "found", get(t, b, at("m", "a")), "x")
	if err := a.Purge(t.Context(), cache.Purge{Model: "m"}); err != nil {
		t.Fatal(err)
	}
	is(t, "heard", <-heard, cache.Purge{Model: "m"})
	is(t, "purged", get(t, b, at("m", "a")), "-")
	s.Kill()
	fails(t, a)
}
