package perf

import (
	"testing"

	"sluice/internal/llm"
)

// TestClass has each way in which a request ends. What failed is the gateway's or
// the upstream's doing.
func TestClass(t *testing.T) {
	const up = "up"
	for name, c := range map[string]struct {
		x      Exchange
		class  string
		failed bool
	}{
		"whole":                         {Exchange{Status: 200, Upstream: up}, "", false},
		"passed redirect":               {Exchange{Status: 304, Upstream: up}, "", false},
		"bad request":                   {Exchange{Status: 400}, "invalid_request", false},
		"too large":                     {Exchange{Status: 413}, "invalid_request", false},
		"no key":                        {Exchange{Status: 401}, "unauthorized", false},
		"forbidden":                     {Exchange{Status: 403}, "unauthorized", false},
		"no such model":                 {Exchange{Status: 404}, "not_found", false},
		"too many":                      {Exchange{Status: 429, Upstream: up}, "rate_limited", false},
		"left before the reply":         {Exchange{}, "client_left", false},
		"left in the middle":            {Exchange{Status: 200, Upstream: up, Aborted: AbortClient}, "client_left", false},
		"takes nothing":                 {Exchange{Status: 200, Upstream: up, Aborted: AbortSlow}, "client_slow", false},
		"the gateway's fault":           {Exchange{Status: 500}, "server_error", true},
		"no upstream to ask":            {Exchange{Status: 503}, "server_error", true},
		"an upstream's status":          {Exchange{Status: 503, Upstream: up, Code: "overloaded", Fault: llm.Answered}, "upstream_error", true},
		"an upstream's useless reply":   {Exchange{Status: 502, Upstream: up, Code: "upstream_bad_reply", Fault: llm.BadReply}, "upstream_error", true},
		"an upstream that hangs":        {Exchange{Status: 504, Upstream: up, Code: "upstream_timeout", Fault: llm.TimedOut}, "timeout", true},
		"an upstream that says so":      {Exchange{Status: 504, Upstream: up, Code: "upstream_timeout", Fault: llm.Answered}, "upstream_error", true},
		"at fault behind a head":        {Exchange{Status: 500, Upstream: up, Fault: llm.Internal}, "server_error", true},
		"ends behind a head":            {Exchange{Status: 503, Upstream: up, Fault: llm.ShuttingDown}, "server_error", true},
		"hangs in the middle":           {Exchange{Status: 200, Late: 504, Upstream: up, Code: "upstream_timeout", Fault: llm.TimedOut, Aborted: AbortUpstream}, "timeout", true},
		"cut":                           {Exchange{Status: 200, Late: 502, Upstream: up, Code: "upstream_cut", Fault: llm.Cut, Aborted: AbortUpstream}, "cut", true},
		"told in the stream":            {Exchange{Status: 200, Upstream: up, Told: true}, "stream_error", true},
		"told, and cut after it":        {Exchange{Status: 200, Late: 502, Upstream: up, Told: true, Aborted: AbortUpstream}, "stream_error", true},
		"told, and the client left":     {Exchange{Status: 200, Upstream: up, Told: true, Aborted: AbortClient}, "stream_error", true},
		"the drain's time is up":        {Exchange{Status: 200, Late: 503, Upstream: up, Aborted: AbortShutdown}, "shutdown", true},
		"a fault in the middle":         {Exchange{Status: 200, Late: 500, Upstream: up, Aborted: AbortInternal}, "server_error", true},
		"silent for too long":           {Exchange{Status: 101, Late: 408, Upstream: up, Aborted: AbortIdle}, "invalid_request", false},
		"carries too much":              {Exchange{Status: 101, Late: 413, Upstream: up, Aborted: AbortLimit}, "invalid_request", false},
		"a request that turns bad":      {Exchange{Status: 200, Late: 400, Aborted: AbortRequest}, "invalid_request", false},
		"refused after a heartbeat":     {Exchange{Status: 200, Late: 429, Upstream: up, Aborted: AbortUpstream}, "rate_limited", false},
		"left after the error":          {Exchange{Status: 200, Late: 502, Upstream: up, Aborted: AbortClient}, "client_left", false},
		"aborted, nobody knows by whom": {Exchange{Status: 200, Aborted: "?"}, "server_error", true},
	} {
		if got := c.x.Class(); got.String() != c.class || got.Failed() != c.failed || c.x.Failed() != c.failed {
			t.Errorf("%s: %q, failed: %v", name, got, c.x.Failed())
		}
	}
}

// TestFaults: each fault is a failure, and of a class.
func TestFaults(t *testing.T) {
	for f := range llm.Faults {
		before := Exchange{Status: 502, Upstream: "up", Fault: f}
		within := Exchange{Status: 200, Late: 502, Upstream: "up", Fault: f, Aborted: AbortUpstream}
		if c := before.Class(); !c.Failed() || within.Class() != c && within.Class() != Cut {
			t.Errorf("%v is of the class %q, within a reply %q", f, c, within.Class())
		}
	}
}

// TestClasses: every class but the first has a name of its own.
func TestClasses(t *testing.T) {
	seen := make(map[string]bool)
	for c := range Classes {
		if name := c.String(); seen[name] || (name == "") != (c == Sound) {
			t.Errorf("class %d is called %q", c, name)
		}
		seen[c.String()] = true
	}
}
