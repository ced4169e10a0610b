// Package config reads Sluice's configuration: defaults, then one YAML file,
// then environment variables, then flags, the later winning.
//
// It promises that nothing is ignored in silence (an unknown key is a fault
// that names its line and the nearest key there is), that all faults show at
// once, one line each, and that a secret never shows: not in a fault, and not
// in the configuration that Print writes.
//
// Each part of Sluice owns its own Config with its defaults and checks; this
// package composes them and knows none of their keys.
package config

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/internal/admit"
	"sluice/internal/batch"
	"sluice/internal/cache"
	"sluice/internal/cache/redis"
	"sluice/internal/codec"
	"sluice/internal/dedup"
	"sluice/internal/front"
	"sluice/internal/memory"
	"sluice/internal/perf/access"
	"sluice/internal/perf/alarm"
	"sluice/internal/perf/timeline"
	"sluice/internal/protobuf/catalog"
	"sluice/internal/ratelimit"
	kept "sluice/internal/responses"
	"sluice/internal/route"
	"sluice/internal/state"
	"sluice/internal/translate"
	"sluice/internal/upstream"
	"sluice/internal/upstream/anthropic"
	"sluice/internal/upstream/gemini"
	"sluice/internal/upstream/openai"
	"sluice/internal/upstream/protobuf"
	"sluice/internal/upstream/responses"
)

// Config is a whole configuration. One that Load returned is valid, and is not
// changed by anyone.
type Config struct {
	Server     front.Config    `yaml:"server"`
	Stream     Stream          `yaml:"stream"`
	HTTPClient upstream.Config `yaml:"http_client"`
	// Upstreams is empty when none is configured; the simulator then answers.
	Upstreams []Upstream       `yaml:"upstreams"`
	Route     route.Config     `yaml:"route"`
	Responses kept.Config      `yaml:"responses"`
	Dedup     dedup.Config     `yaml:"dedup"`
	Translate translate.Config `yaml:"translate"`
	Cache     Cache            `yaml:"cache"`
	RateLimit ratelimit.Config `yaml:"rate_limit"`
	Admit     admit.Config     `yaml:"admit"`
	Batch     batch.Config     `yaml:"batch"`
	Protobuf  Protobuf         `yaml:"protobuf"`
	Memory    memory.Config    `yaml:"memory"`
	Perf      Perf             `yaml:"perf"`
	Log       Log              `yaml:"log"`

	// StateDir is where a restart finds what the process before it knew; it is
	// made when it is not there. Empty keeps nothing.
	StateDir string `yaml:"state_dir" env:"SLUICE_STATE_DIR"`

	// File is the file it was read from, "" for none.
	File string `yaml:"-"`

	// Unaddressed are the environment's variables that hold a key, as
	// ACME_API_KEY, with no address to send it to: ACME_BASE_URL is not set. They
	// are looked for only where no upstream is listed.
	Unaddressed []string `yaml:"-"`

	doubts []string // that checkFiles found, each as "key: why"
}

// Stream is how event streams are read and written.
type Stream struct {
	front.StreamConfig `yaml:",inline"`

	// FlushInterval is how long events may wait for others to leave together
	// with. The first event of a stream never waits; 0 sends each at once.
	FlushInterval time.Duration `yaml:"flush_interval"`
	// MaxEventBytes bounds one event of an upstream.
	MaxEventBytes int `yaml:"max_event_bytes"`
}

// Cache is the cache with its second level.
type Cache struct {
	cache.Config `yaml:",inline"`

	Redis redis.Config `yaml:",inline"`
}

// Protobuf is the codec with the messages that it knows.
type Protobuf struct {
	codec.Config `yaml:",inline"`

	Catalog catalog.Config `yaml:",inline"`
}

// Perf is how the gateway watches itself.
type Perf struct {
	timeline.Config `yaml:",inline"`

	Alarm alarm.Config `yaml:",inline"`
}

// Protocols are those that an upstream's entry can name. One that names none
// speaks the first.
func Protocols() []upstream.Protocol {
	return []upstream.Protocol{
		openai.Protocol(),
		responses.Protocol(),
		anthropic.Protocol(),
		gemini.Protocol(),
		protobuf.Protocol(),
		protobuf.ProtocolHTTP(),
	}
}

// Upstream is one model service. The tags "identity" say what cannot change its
// answers; see upstream.Settings.
type Upstream struct {
	// Name is what it is called in "name/model", in metrics and in logs.
	Name string `yaml:"name" identity:"-"` // the operator's word for it
	// Protocol that it speaks, by its name among Protocols.
	Protocol string `yaml:"protocol"`

	// Settings are the keys that are the protocol's own.
	Settings upstream.Settings `yaml:",inline"`

	// Weight is its share of the requests for a model that several upstreams
	// serve.
	Weight int `yaml:"weight" identity:"-"` // says how often it is asked
	// Models that it serves, and no others, by its name ("upstream/model") neither; a
	// name may end in "*". Empty asks the upstream.
	Models []string `yaml:"models" identity:"-"` // the model is in the request
	// HTTPClient is the global section with what this entry changes of it.
	HTTPClient upstream.Config `yaml:"http_client" identity:"-"` // the way there, not what is there
}

// Log is what is logged to standard error, and how.
type Log struct {
	Level  string `yaml:"level" env:"SLUICE_LOG_LEVEL"`   // debug, info, warn or error
	Format string `yaml:"format" env:"SLUICE_LOG_FORMAT"` // text or json

	access.Config `yaml:",inline"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{
		Server: front.Default(),
		Stream: Stream{
			StreamConfig:  front.DefaultStream(),
			FlushInterval: time.Millisecond,
			MaxEventBytes: 8 << 20,
		},
		HTTPClient: upstream.Default(),
		Route:      route.Default(),
		Responses:  kept.Default(),
		Dedup:      dedup.Default(),
		Translate:  translate.Default(),
		Cache:      Cache{Config: cache.Default(), Redis: redis.Default()},
		RateLimit:  ratelimit.Default(),
		Admit:      admit.Default(),
		Batch:      batch.Default(),
		Protobuf:   Protobuf{Config: codec.Default(), Catalog: catalog.Default()},
		Memory:     memory.Default(),
		Perf:       Perf{Config: timeline.Default(), Alarm: alarm.Default()},
		Log:        Log{Level: "info", Format: "text", Config: access.Default()},
	}
}

// Validate returns all faults joined, each as "key: what is wrong".
func (c Config) Validate() error {
	global := c.HTTPClient.Validate()
	faults := []error{
		within("server", c.Server.Validate()),
		within("stream", c.Stream.Validate()),
		within("http_client", global),
		within("route", c.Route.Validate()),
		within("responses", c.Responses.Validate()),
		within("dedup", c.Dedup.Validate()),
		within("translate", c.Translate.Validate()),
		within("cache", c.Cache.Validate()),
		within("rate_limit", c.RateLimit.Validate()),
		within("admit", c.Admit.Validate()),
		within("batch", c.Batch.Validate()),
		within("protobuf", c.Protobuf.Validate()),
		within("memory", c.Memory.Validate()),
		within("perf", c.Perf.Validate()),
		within("log", c.Log.Validate()),
	}
	for i, u := range c.Upstreams {
		faults = append(faults, within(entry(i), u.validate(global == nil)))
		if c.leadsBack(u) {
			faults = append(faults, within(entry(i), errors.New("base_url: is the address that this gateway itself listens on, so that its requests would come back to it: give the address of the service")))
		}
	}
	if len(c.Upstreams) > 0 { // with none the simulator answers
		faults = append(faults, c.Route.ValidateUpstreams(c.routed()), c.Route.ValidateModels(c.routed()))
	}
	return errors.Join(faults...)
}

// DedupKeys gives the modes of de-duplication of the API keys that have one, by their names.
func (c *Config) DedupKeys() map[string]string {
	modes := make(map[string]string)
	for _, k := range c.Server.APIKeys {
		if k.Dedup != "" {
			modes[k.Name] = k.Dedup
		}
	}
	return modes
}

// routed gives what routing checks of the upstreams.
func (c Config) routed() []route.Upstream {
	list := make([]route.Upstream, len(c.Upstreams))
	for i, u := range c.Upstreams {
		list[i] = route.Upstream{Name: u.Name, Models: u.Models}
	}
	return list
}

// Warnings are what may be meant but probably is not, or is a risk, each as
// "key: why".
func (c Config) Warnings() []string {
	var list []string
	for _, w := range c.Server.Warnings() {
		list = append(list, join("server", w))
	}
	if len(c.Upstreams) > 0 {
		list = append(list, c.Route.Doubts(c.routed())...)
	}
	return append(list, c.doubts...)
}

// checkFiles looks at what the configuration names on disk, as a start would, and
// changes nothing. What a start goes on without is a doubt. Files that secrets and
// cache.redis_url name were read before.
func (c *Config) checkFiles(ctx context.Context) error {
	faults := []error{within("server", c.Server.CheckFiles())}
	if c.Protobuf.Enabled {
		unasked, err := c.Protobuf.Catalog.CheckFiles(ctx)
		faults = append(faults, within("protobuf", err))
		for _, one := range unasked {
			c.doubts = append(c.doubts, join("protobuf", one))
		}
	}
	if c.StateDir != "" {
		switch err := state.Check(c.StateDir); {
		case errors.Is(err, state.ErrUnwritable):
			c.doubts = append(c.doubts, "state_dir: nothing will be kept for a restart: "+err.Error())
		case err != nil:
			faults = append(faults, fmt.Errorf("state_dir: %w", err))
		}
	}
	return errors.Join(faults...)
}

// Validate returns all faults joined, each as "key: what is wrong".
func (c Cache) Validate() error { return errors.Join(c.Config.Validate(), c.Redis.Validate()) }

// Validate returns all faults joined, each as "key: what is wrong".
func (p Protobuf) Validate() error { return errors.Join(p.Config.Validate(), p.Catalog.Validate()) }

// Validate returns all faults joined, each as "key: what is wrong".
func (p Perf) Validate() error { return errors.Join(p.Config.Validate(), p.Alarm.Validate()) }

// Validate returns all faults joined, each as "key: what is wrong".
func (s Stream) Validate() error {
	faults := []error{
		s.StreamConfig.Validate(),
		upstream.StreamConfig{FlushInterval: s.FlushInterval, MaxEventBytes: max(s.MaxEventBytes, 0)}.Validate(),
	}
	if s.MaxEventBytes < 4096 {
		faults = append(faults, fmt.Errorf("max_event_bytes: must be at least 4096, is %d", s.MaxEventBytes))
	}
	return errors.Join(faults...)
}

// validate checks one upstream. client says whether its http_client is to be
// checked: a fault of the global one would show again in every upstream.
func (u Upstream) validate(client bool) error {
	var faults []error
	if u.Settings == nil {
		faults = append(faults, fmt.Errorf("protocol: %q is not known", u.Protocol))
	} else {
		faults = append(faults, u.Settings.Validate())
	}
	if u.Weight < 1 {
		faults = append(faults, fmt.Errorf("weight: must be at least 1, is %d", u.Weight))
	}
	for i, m := range u.Models {
		if m == "" || strings.Contains(strings.TrimSuffix(m, "*"), "*") {
			faults = append(faults, fmt.Errorf(`models[%d]: %q is not a model's name, or the beginning of one and "*"`, i, m))
		}
	}
	if client {
		faults = append(faults, within("http_client", u.HTTPClient.Validate()))
	}
	return errors.Join(faults...)
}

// Validate returns all faults joined, each as "key: what is wrong".
func (l Log) Validate() error {
	var faults []error
	for _, w := range []struct {
		key, value string
		known      []string
	}{
		{"level", l.Level, []string{"debug", "info", "warn", "error"}},
		{"format", l.Format, []string{"text", "json"}},
	} {
		if !slices.Contains(w.known, w.value) {
			faults = append(faults, fmt.Errorf("%s: %q is none of %s", w.key, w.value, strings.Join(w.known, ", ")))
		}
	}
	return errors.Join(faults...)
}
