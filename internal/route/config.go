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
	// TellClients has the error of a request that was sent more than once, and
	// can be sent no more, say X-Should-Retry: false, so that OpenAI's SDKs do
	// not begin anew and multiply the attempts.
	TellClients bool `yaml:"tell_clients"`
}

// BreakerConfig says when an upstream that cannot be reached is left alone, and
// when a model of it is that fails.
type BreakerConfig struct {
	// Failures in a row, with no success between, open the breaker.
	Failures int `yaml:"failures"`
	// OpenFor is how long the upstream, or the model, is then not asked. After it
	// one request at a time tries whether it is back.
	OpenFor time.Duration `yaml:"open_for"`
}

// Default returns the settings that hold where nothing else is said.
func Default() Config {
	return Config{
		Retry: RetryConfig{
			MaxAttempts:   3,
			BaseDelay:     100 * time.Millisecond,
			MaxDelay:      5 * time.Second,
			MaxRetryAfter: 5 * time.Second,
			Statuses:      []int{429, 502, 503, 504},
			TellClients:   true,
		},
		Breaker: BreakerConfig{Failures: 5, OpenFor: 10 * time.Second},
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

// ValidateUpstreams reports what does not go together with the upstreams of
// the given names, each as "key: what is wrong".
func (c Config) ValidateUpstreams(names []string) error {
	var errs []error
	if len(names) == 0 {
		errs = append(errs, errors.New("upstreams: there must be at least one"))
	}
	for i, name := range names {
		if name == "" || strings.ContainsFunc(name, notInName) {
			errs = append(errs, fmt.Errorf("upstreams[%d].name: %q must be of letters, digits, '.', '_' and '-'", i, name))
		}
		if slices.Contains(names[:i], name) {
			errs = append(errs, fmt.Errorf("upstreams[%d].name: %q is used twice", i, name))
		}
	}
	if c.DefaultUpstream != "" && !slices.Contains(names, c.DefaultUpstream) {
		errs = append(errs, fmt.Errorf("route.default_upstream: there is no upstream %q; there are %s", c.DefaultUpstream, strings.Join(names, ", ")))
	}
	return errors.Join(errs...)
}

// notInName keeps "/" out of upstream names, where it would make
// "upstream/model" ambiguous, and what would need quoting in a metric or log.
func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
}
