package route

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Config is the `route` section: which upstream answers for which model, and
// what happens when one fails.
type Config struct {
	// DefaultUpstream takes the requests that name no model, and the models
	// that nobody lists if its own list could not be had. Empty is the first.
	DefaultUpstream string `yaml:"default_upstream"`

	// Aliases gives models further names: alias to "upstream/model", to a
	// model, or to another alias. An alias wins over a model of that name.
	Aliases map[string]string `yaml:"aliases"`

	// Fallbacks are asked in order when no upstream that serves the model
	// could take the request: model or alias to models, named as in Aliases.
	Fallbacks map[string][]string `yaml:"fallbacks"`

	// Balance says how one of the upstreams that serve a model is chosen: "auto",
	// "weighted", "least-loaded" or "prefix". Auto is prefix.
	Balance string `yaml:"balance"`

	// SlowStart is how long an upstream that comes back, or is new after a reload,
	// gets less than its share, which grows; 0 is not at all.
	SlowStart time.Duration `yaml:"slow_start"`

	Retry   RetryConfig   `yaml:"retry"`
	Breaker BreakerConfig `yaml:"breaker"`
}

// RetryConfig says when a request that failed is sent again.
type RetryConfig struct {
	// MaxAttempts bounds how often a request is sent, the first time included;
	// 1 never repeats one. Every upstream that serves the model, and every
	// fallback, may still be asked once, whatever this number is.
	MaxAttempts int `yaml:"max_attempts"`
	// BaseDelay is the pause before the first repetition. It doubles from one
	// to the next up to MaxDelay; half of each is random. Going to another
	// upstream takes no pause.
	BaseDelay time.Duration `yaml:"base_delay"`
	MaxDelay  time.Duration `yaml:"max_delay"`
	// MaxRetryAfter is the longest Retry-After that a request waits for. With a
	// longer one the client gets the error and the header instead.
	MaxRetryAfter time.Duration `yaml:"max_retry_after"`
	// Statuses of an upstream's reply that say that it did not process the
	// request. An X-Should-Retry in the reply goes before them: a request is not
	// sent again to an upstream that says false, and is where it says true.
	Statuses []int `yaml:"statuses"`
	// TellClients has the error of a request say X-Should-Retry: false that was
	// sent more than once and can be sent no more, or that an upstream may have
	// acted on, so that OpenAI's SDKs neither multiply the attempts nor have the
	// work done twice.
	TellClients bool `yaml:"tell_clients"`
}

// BreakerConfig says when an upstream that cannot be reached is left alone, and
// when a model of it is that fails.
type BreakerConfig struct {
	// Failures in a row, with no success between, open the breaker.
	Failures int `yaml:"failures"`
	// OpenFor is how long the upstream, or the model, is then not asked at most: a
	// sixteenth of it at first, and twice as long after each attempt that fails, or where
	// it has to be left alone again within this time of having come back. After that one
	// request at a time tries whether it is back.
	OpenFor time.Duration `yaml:"open_for"`
	// MaxEjected is the part of a model's upstreams, from 0 to 1, that are left
	// alone at once for failing far more of its calls than the others do; 0 is never.
	MaxEjected float64 `yaml:"max_ejected"`
}

// Default returns the settings that hold where nothing else is said.
func Default() Config {
	return Config{
		Balance:   balanceAuto,
		SlowStart: 30 * time.Second,
		Retry: RetryConfig{
			MaxAttempts:   3,
			BaseDelay:     100 * time.Millisecond,
			MaxDelay:      5 * time.Second,
			MaxRetryAfter: 5 * time.Second,
			Statuses:      []int{429, 502, 503, 504},
			TellClients:   true,
		},
		Breaker: BreakerConfig{Failures: 5, OpenFor: 10 * time.Second, MaxEjected: 0.5},
	}
}

// Validate reports every fault at once, each as "key: what is wrong". What
// depends on the upstreams is checked by ValidateUpstreams.
func (c Config) Validate() error {
	var errs []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(c.Retry.MaxAttempts < 1, "retry.max_attempts: must be at least 1, is %d", c.Retry.MaxAttempts)
	fault(c.Retry.BaseDelay <= 0, "retry.base_delay: must be more than 0, is %v", c.Retry.BaseDelay)
	fault(c.Retry.MaxDelay < c.Retry.BaseDelay, "retry.max_delay: must not be less than base_delay (%v), is %v", c.Retry.BaseDelay, c.Retry.MaxDelay)
	fault(c.Retry.MaxRetryAfter < 0, "retry.max_retry_after: must not be negative, is %v", c.Retry.MaxRetryAfter)
	for i, s := range c.Retry.Statuses {
		fault(s < 400 || s > 599, "retry.statuses[%d]: %d is not a status of an error, 400 to 599", i, s)
	}
	fault(c.Breaker.Failures < 1, "breaker.failures: must be at least 1, is %d", c.Breaker.Failures)
	fault(c.Breaker.OpenFor <= 0, "breaker.open_for: must be more than 0, is %v", c.Breaker.OpenFor)
	fault(!(c.Breaker.MaxEjected >= 0 && c.Breaker.MaxEjected <= 1), "breaker.max_ejected: must be from 0 to 1, is %v", c.Breaker.MaxEjected)
	fault(!slices.Contains(balances(), c.Balance), "balance: must be one of %s, is %q", strings.Join(balances(), ", "), c.Balance)
	fault(c.SlowStart < 0, "slow_start: must not be negative, is %v", c.SlowStart)
	return errors.Join(append(errs, c.validateNames()...)...)
}

func (c Config) validateNames() (errs []error) {
	for _, alias := range slices.Sorted(maps.Keys(c.Aliases)) {
		if alias == "" || c.Aliases[alias] == "" {
			errs = append(errs, fmt.Errorf("aliases.%s: neither the alias nor its model may be empty", alias))
		} else if _, ok := c.follow(alias); !ok {
			errs = append(errs, fmt.Errorf("aliases.%s: leads back to itself", alias))
		}
	}
	for _, model := range slices.Sorted(maps.Keys(c.Fallbacks)) {
		refs := c.Fallbacks[model]
		for i, ref := range refs {
			switch {
			case model == "" || ref == "":
				errs = append(errs, fmt.Errorf("fallbacks.%s[%d]: neither the model nor its fallback may be empty", model, i))
			case ref == model:
				errs = append(errs, fmt.Errorf("fallbacks.%s[%d]: is the model itself", model, i))
			case slices.Contains(refs[:i], ref):
				errs = append(errs, fmt.Errorf("fallbacks.%s[%d]: %q stands there twice", model, i, ref))
			}
		}
	}
	return errs
}

// Follow gives the model that a client's name for it stands for: an alias's, or itself.
func (c Config) Follow(name string) string {
	end, _ := c.follow(name)
	return end
}

// follow gives the name that an alias stands for in the end. A name that is
// no alias stands for itself; ok is false when the aliases run in a circle.
func (c Config) follow(name string) (end string, ok bool) {
	for range len(c.Aliases) + 1 {
		next, alias := c.Aliases[name]
		if !alias {
			return name, true
		}
		name = next
	}
	return name, false
}

// ValidateUpstreams reports what does not go together with the upstreams, of
// which it looks at names and models, each as "key: what is wrong".
func (c Config) ValidateUpstreams(ups []Upstream) error {
	var errs []error
	if len(ups) == 0 {
		errs = append(errs, errors.New("upstreams: there must be at least one"))
	}
	names := make([]string, len(ups))
	for i := range ups {
		name := ups[i].Name
		if name == "" || strings.ContainsFunc(name, notInName) {
			errs = append(errs, fmt.Errorf("upstreams[%d].name: %q must be of letters, digits, '.', '_' and '-'", i, name))
		}
		if slices.Contains(names[:i], name) {
			errs = append(errs, fmt.Errorf("upstreams[%d].name: %q is used twice", i, name))
		}
		names[i] = name
	}
	if c.DefaultUpstream != "" && !slices.Contains(names, c.DefaultUpstream) {
		errs = append(errs, fmt.Errorf("route.default_upstream: there is no upstream %q; there are %s", c.DefaultUpstream, strings.Join(names, ", ")))
	}
	return errors.Join(errs...)
}

// ValidateModels reports the aliases and fallbacks that lead to no model, each as
// "key: what is wrong". A Router bears them, and answers 404.
func (c Config) ValidateModels(ups []Upstream) error {
	var errs []error
	c.references(func(key, ref string) {
		if why := unserved(ups, ref); why != "" {
			errs = append(errs, fmt.Errorf("route.%s: %s", key, why))
		}
	})
	return errors.Join(errs...)
}

// Doubts reports what may be meant but probably is not, each as "key: why".
func (c Config) Doubts(ups []Upstream) (doubts []string) {
	c.references(func(key, ref string) {
		prefix, _, slash := strings.Cut(ref, "/")
		if !slash || slices.ContainsFunc(ups, func(up Upstream) bool { return up.Name == prefix }) {
			return
		}
		if listed := slices.ContainsFunc(ups, func(up Upstream) bool { return hasModel(up.Models, ref) }); !listed && unserved(ups, ref) == "" {
			doubts = append(doubts, fmt.Sprintf("route.%s: there is no upstream %q, so %q is taken for the whole name of a model that an upstream may list", key, prefix, ref))
		}
	})
	return doubts
}

// references visits the models that aliases and fallbacks name, each once for
// each place it stands in; key is the place. Aliases that stand for others are
// followed, and those that run in a circle are passed over.
func (c Config) references(visit func(key, ref string)) {
	follow := func(key, name string) {
		if end, ok := c.follow(name); ok && end != "" {
			visit(key, end)
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(c.Aliases)) {
		if _, another := c.Aliases[c.Aliases[alias]]; !another { // else it is that one's fault
			follow("aliases."+alias, alias)
		}
	}
	for _, model := range slices.Sorted(maps.Keys(c.Fallbacks)) {
		if model == "" {
			continue
		}
		for i, ref := range c.Fallbacks[model] {
			if _, alias := c.Aliases[ref]; !alias {
				follow(fmt.Sprintf("fallbacks.%s[%d]", model, i), ref)
			}
		}
	}
}

// unserved says why no upstream can serve a model; "" where one may, as it says
// itself what it has.
func unserved(ups []Upstream, ref string) string {
	prefix, model, _ := strings.Cut(ref, "/")
	for _, up := range ups {
		if up.Name == prefix && model != "" && len(up.Models) > 0 && !hasModel(up.Models, model) && !slices.ContainsFunc(ups, func(up Upstream) bool { return hasModel(up.Models, ref) }) {
			return fmt.Sprintf("the models of the upstream %q do not have %q", prefix, model)
		}
	}
	for _, up := range ups {
		if len(up.Models) == 0 || up.Name == prefix && hasModel(up.Models, model) || hasModel(up.Models, ref) {
			return ""
		}
	}
	return fmt.Sprintf("no upstream has a model %q", ref)
}

// hasModel reports whether configured models have one of that name.
func hasModel(models []string, name string) bool {
	return slices.ContainsFunc(models, func(m string) bool {
		prefix, ok := strings.CutSuffix(m, "*")
		return m == name || ok && strings.HasPrefix(name, prefix)
	})
}

// notInName keeps "/" out of upstream names, where it would make
// "upstream/model" ambiguous, and what would need quoting in a metric or log.
func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
}
