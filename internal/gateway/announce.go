package gateway

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"sluice/internal/config"
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
	if len(g.cfg.Upstreams) == 0 {
		model = "sim-chat"
		_, _ = fmt.Fprintf(w, "No upstream is configured, so the model is SIMULATED: its replies are invented text.\n")
		_, _ = fmt.Fprintf(w, "Set OPENAI_API_KEY, or give --config FILE, for real models.\n")
		announceUnused(w, g.cfg.Unaddressed)
	} else {
		ups := members(g.chain.parts)
		names := make([]string, len(ups))
		for i, m := range ups {
			names[i] = m.cfg.Name + " (" + address(m.cfg) + ")"
		}
		_, _ = fmt.Fprintf(w, "Upstreams: %s\n", strings.Join(names, ", "))
		announceNear(w, slices.DeleteFunc(slices.Clone(g.cfg.Unaddressed), func(name string) bool {
			prefix, _ := strings.CutSuffix(config.NearProvider(name), "_API_KEY")
			return slices.ContainsFunc(ups, func(m *member) bool { return strings.EqualFold(m.cfg.Name, prefix) })
		}))
	}
	_, _ = fmt.Fprintf(w, "Dashboard: %s/dashboard\n", base)
	key := ""
	if len(g.cfg.Server.APIKeys) > 0 {
		key = ` -H "Authorization: Bearer $SLUICE_API_KEY"`
	}
	_, _ = fmt.Fprintf(w, "Try: curl%s %s/v1/chat/completions%s -H 'Content-Type: application/json' -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", flags, base, key, model)
}

// announceUnused names the keys that nobody is asked with, so that a name which is
// not quite right does not end in a simulation that nobody wanted.
func announceUnused(w io.Writer, names []string) {
	const most = 5
	if len(names) == 0 {
		return
	}
	if announceNear(w, names) {
		return
	}
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	address := strings.TrimSuffix(names[0], "_API_KEY") + "_BASE_URL"
	_, _ = fmt.Fprintf(w, "Not used for want of an address: %s%s. To use one say where it belongs, as %s=https://...\n", strings.Join(names, ", "), more, address)
}

// announceNear names the first key that is nearly the one of a known service, and
// reports whether there was one.
func announceNear(w io.Writer, names []string) bool {
	for _, name := range names {
		if meant := config.NearProvider(name); meant != "" {
			_, _ = fmt.Fprintf(w, "%s is not used; did you mean %s?\n", name, meant)
			return true
		}
	}
	return false
}

// address tells where an upstream is, without what may be a key.
func address(u config.Upstream) string {
	base, err := u.Settings.Base()
	if err != nil {
		return "?"
	}
	public := *base
	public.User, public.RawQuery, public.ForceQuery, public.Fragment = nil, "", false, ""
	return public.String()
}
