package route

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// List is an upstream's model list as it was read. It can be kept as JSON;
// whoever does adds the time that passes to Age.
type List struct {
	Upstream, Identity string        // as in Upstream
	Age                time.Duration // since it was read
	// Models is a JSON array of the models, byte for byte as the upstream
	// describes them. json.RawMessage would not stay so.
	Models []byte
}

// maxAge bounds the age of a list that is taken over, so that ages can be
// added up.
const maxAge = 1 << 62

// Lists returns the model lists that upstreams gave, for Options.Lists of a
// later Router.
func (r *Router) Lists() []List {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lists []List
	for _, up := range r.ups {
		if up.static || up.known != listed {
			continue
		}
		l := List{Upstream: up.Name, Identity: up.Identity, Age: r.clock.Now() - up.readAt, Models: []byte{'['}}
		for i, o := range up.models {
			if i > 0 {
				l.Models = append(l.Models, ',')
			}
			l.Models = append(l.Models, o.raw...)
		}
		l.Models = append(l.Models, ']')
		lists = append(lists, l)
	}
	return lists
}

// restore takes over the upstream's list from an earlier run, where nothing
// else is known. One that is damaged is dropped.
func (up *upstream) restore(lists []List) {
	i := slices.IndexFunc(lists, func(l List) bool { return l.Upstream == up.Name && l.Identity == up.Identity })
	if i < 0 || up.known != unasked {
		return
	}
	l := &lists[i]
	models, err := parseKept(l.Models)
	if err != nil {
		up.router.log.Warn("stored model list dropped", slog.String("upstream", up.Name), slog.Any("error", err))
		return
	}
	up.known, up.models = listed, models
	up.readAt = up.router.clock.Now() - min(max(l.Age, 0), maxAge)
}

// parseKept reads a list that was kept outside, by the rules for one from the
// wire.
func parseKept(b []byte) ([]object, error) {
	if len(b) > maxListBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", maxListBytes)
	}
	return parseList(bytes.Clone(b))
}
