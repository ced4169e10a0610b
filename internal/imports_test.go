//go:build !race

// Package internal holds the test that keeps the direction of imports.
package internal

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The layers, from the bottom up. docs/ARCHITECTURE.md says why.
var (
	foundation = []string{"llm", "cel", "chattemplate", "dialect", "lifetime", "monotonic", "sse", "jsonscan", "outline", "embeddings", "grpc", "memory", "nearest", "perf", "priority", "protobuf", "redis", "socket", "spool", "state", "tunnel"}
	stages     = []string{"front", "admit", "dedup", "cache", "codec", "batch", "ratelimit", "responses", "route", "translate", "upstream", "simulator", "dashboard"}
	// speakHTTP may import net/http: the edges, and what is at no edge but uses a
	// library that speaks it (figures) or is a client of its own (webhooks, telemetry). All
	// else, the rest of front included, can have the edge replaced beneath it.
	speakHTTP = []string{"internal/front/nethttp", "internal/upstream", "internal/simulator", "internal/grpc", "internal/perf", "internal/perf/alarm", "internal/perf/otlp", "internal/bench/before"}
)

// engines speak HTTP to clients. front chooses one, and nothing else knows any. They
// know of front what its edge is.
var engines = []string{"internal/front/nethttp", "internal/front/lean"}

// within gives the one of the folders that a package is in, "" for none.
func within(pkg string, folders []string) string {
	for _, f := range folders {
		if pkg == f || strings.HasPrefix(pkg, f+"/") {
			return f
		}
	}
	return ""
}

// allowed reports whether a package of Sluice may import another one. Both
// are named from below the module, as "internal/front/merge".
func allowed(from, to string) bool {
	if strings.HasPrefix(from, "cmd/") {
		return to == "internal/config" || to == "internal/gateway" || to == "internal/bench"
	}
	part := func(p string) string {
		p = strings.TrimPrefix(p, "internal/")
		first, _, _ := strings.Cut(p, "/")
		return first
	}
	f, t := part(from), part(to)
	switch {
	case within(to, engines) != "" && from != "internal/front" && within(from, engines) != within(to, engines):
		return false
	case within(from, engines) != "" && t == "front" && within(to, engines) != within(from, engines):
		return to == "internal/front/engine"
	case f == t: // a package and its own subfolders
		return true
	case f == "llm":
		return false
	case t == "testkit":
		return strings.HasSuffix(from, "test") // what tests of several packages share
	case slices.Contains(foundation, f):
		return slices.Contains(foundation, t)
	case slices.Contains(stages, f):
		return slices.Contains(foundation, t)
	case f == "testkit": // of tests alone
		return slices.Contains(foundation, t)
	case f == "bench": // what is measured are processes of their own
		return slices.Contains(foundation, t) || t == "simulator" || to == "internal/upstream/http1"
	case f == "config":
		return t != "gateway" && t != "bench"
	case f == "gateway":
		return t != "bench"
	default:
		return false
	}
}

func TestImportDirection(t *testing.T) {
	type pkg struct {
		ImportPath string
		Imports    []string
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"internal/...", module+"cmd/...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module); ours && !allowed(from, to) {
				t.Errorf("%s must not import %s", from, to)
			}
			if imp == "net/http" && strings.HasPrefix(from, "internal/") && !slices.Contains(speakHTTP, from) {
				t.Errorf("%s must not import net/http", from)
			}
			if first, _, _ := strings.Cut(imp, "/"); from == "internal/llm" && strings.Contains(first, ".") {
				t.Errorf("llm imports only the standard library, not %s", imp)
			}
		}
	}
	if seen < 3 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

// The rule itself is tested, so that a slip in it does not let everything by.
func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"internal/llm", "internal/sse", false},
		{"internal/sse", "internal/llm", true},
		{"internal/sse", "internal/front", false},
		{"internal/front", "internal/route", false},
		{"internal/front", "internal/front/merge", true},
		{"internal/front", "internal/front/lean", true},
		{"internal/front/lean", "internal/front/lean/wire", true},
		{"internal/front/lean/wire", "internal/front/engine", true},
		{"internal/front/lean", "internal/front/nethttp", false},
		{"internal/front/lean", "internal/front/merge", false},
		{"internal/front/lean", "internal/front", false},
		{"internal/front/lean", "internal/memory", true},
		{"internal/front/merge", "internal/front/lean", false},
		{"internal/front/engine", "internal/front/nethttp", false},
		{"internal/gateway", "internal/front/lean", false},
		{"internal/gateway", "internal/front", true},
		{"internal/route", "internal/upstream", false},
		{"internal/upstream/openai", "internal/upstream", true},
		{"internal/upstream/openai", "internal/sse", true},
		{"internal/config", "internal/front", true},
		{"internal/config", "internal/gateway", false},
		{"internal/gateway", "internal/config", true},
		{"cmd/sluice", "internal/gateway", true},
		{"cmd/sluice", "internal/front", false},
		{"cmd/sluice", "internal/bench", true},
		{"cmd/sluice", "internal/bench/before", false},
		{"internal/bench", "internal/gateway", false},
		{"internal/bench", "internal/upstream/http1", true},
		{"internal/bench", "internal/upstream", false},
		{"internal/gateway", "internal/bench", false},
		{"internal/stray", "internal/llm", false},
		{"internal/redis/redistest", "internal/testkit", true},
		{"internal/redis", "internal/testkit", false},
	} {
		if got := allowed(c.from, c.to); got != c.want {
			t.Errorf("allowed(%s, %s) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
