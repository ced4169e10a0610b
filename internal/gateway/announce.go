package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// announce writes what a person who has just started Sluice wants to know:
// where it listens, what answers, and a line to try.
func (g *Gateway) announce(w io.Writer, addr net.Addr) {
	scheme, flags := "http", ""
	if g.cfg.Server.TLS.Cert != "" {
		scheme, flags = "https", " -k"
	}
	base := scheme + "://" + addr.String()
	_, _ = fmt.Fprintf(w, "Sluice %s listens on %s\n", g.opts.Version, base)
	model := "MODEL"
	if g.sim != nil {
		model = "sim-chat"
		_, _ = fmt.Fprintf(w, "No upstream is configured, so the model is SIMULATED: its replies are invented text.\n")
		_, _ = fmt.Fprintf(w, "Set OPENAI_API_KEY, or give --config FILE, for real models.\n")
	} else {
		names := make([]string, len(g.chain.upstreams))
		for i, m := range g.chain.upstreams {
			base, _, _ := strings.Cut(m.cfg.BaseURL, "?") // a query may hold a key
			names[i] = m.cfg.Name + " (" + base + ")"
		}
		_, _ = fmt.Fprintf(w, "Upstreams: %s\n", strings.Join(names, ", "))
	}
	_, _ = fmt.Fprintf(w, "Dashboard: %s/dashboard\n", base)
	key := ""
	if len(g.cfg.Server.APIKeys) > 0 {
		key = ` -H "Authorization: Bearer $SLUICE_API_KEY"`
	}
	_, _ = fmt.Fprintf(w, "Try: curl%s %s/v1/chat/completions%s -H 'Content-Type: application/json' -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", flags, base, key, model)
}
