package config

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/internal/llm"
)

const (
	keySuffix = "_API_KEY"
	urlSuffix = "_BASE_URL"
	ownPrefix = "SLUICE_"
)

// upstreams reads the list of upstreams. Each begins with the defaults, the
// global http_client among them.
func (d *decoder) upstreams(root ast.Node, cfg *Config) {
	m, ok := root.(ast.MapNode)
	if !ok {
		return // none, or already a fault
	}
	for it := m.MapRange(); it.Next(); {
		pair := it.KeyValue()
		if key, _ := scalarText(pair.Key); key != "upstreams" {
			continue
		}
		if _, null := pair.Value.(*ast.NullNode); null {
			return
		}
		nodes, ok := d.list(pair.Value, "upstreams")
		if !ok {
			return
		}
		cfg.Upstreams = make([]Upstream, len(nodes))
		for i, n := range nodes {
			cfg.Upstreams[i] = newUpstream(cfg)
			d.decode(n, reflect.ValueOf(&cfg.Upstreams[i]).Elem(), entry(i))
			d.lowerKept(&cfg.Upstreams[i].HTTPClient, entry(i)+".http_client")
		}
		return
	}
}

// entry gives the path of an upstream.
func entry(i int) string { return "upstreams[" + strconv.Itoa(i) + "]" }

func newUpstream(cfg *Config) Upstream {
	return Upstream{Protocol: protocolOpenAI, Weight: 1, HTTPClient: cfg.HTTPClient}
}

// registerFromEnv adds the upstreams whose usual variables are set: the key of a
// service that is known, OpenAI's address, and any other's NAME_API_KEY with
// NAME_BASE_URL. A file that
// lists upstreams is complete, so that a key which happens to be in the
// environment brings in nobody; there the variables fill in the key and
// the address that an entry of their name leaves out.
func registerFromEnv(cfg *Config, env map[string]string, f *faults) {
	if len(cfg.Upstreams) > 0 {
		for i := range cfg.Upstreams {
			fillFromEnv(&cfg.Upstreams[i], i, env, f)
		}
		return
	}
	cfg.Unaddressed = unaddressed(env)
	for _, prefix := range providers(env) {
		u := newUpstream(cfg)
		u.Name = strings.ToLower(prefix)
		fillFromEnv(&u, len(cfg.Upstreams), env, f)
		cfg.Upstreams = append(cfg.Upstreams, u)
	}
}

func fillFromEnv(u *Upstream, i int, env map[string]string, f *faults) {
	prefix := strings.ToUpper(strings.ReplaceAll(u.Name, "-", "_"))
	if prefix == "" || strings.HasPrefix(prefix+"_", ownPrefix) {
		return
	}
	absent := func(key string) bool { _, given := f.origins[entry(i)+"."+key]; return !given }
	if value := env[prefix+keySuffix]; value != "" && absent("api_key") {
		u.APIKey = llm.NewSecret(value)
		f.origins[entry(i)+".api_key"] = origin{name: prefix + keySuffix}
	}
	if value := env[prefix+urlSuffix]; value != "" && absent("base_url") {
		u.BaseURL = value
		f.origins[entry(i)+".base_url"] = origin{name: prefix + urlSuffix}
	}
	if u.BaseURL == "" && absent("base_url") {
		u.BaseURL = knownURL(prefix)
	}
}

// providers gives the prefixes of the variables that name an upstream, OpenAI
// first and the others in the order of the alphabet.
func providers(env map[string]string) (prefixes []string) {
	for name := range maps.Keys(env) {
		prefix, ok := strings.CutSuffix(name, keySuffix)
		if ok && prefix != openAI && eligible(prefix) && (env[prefix+urlSuffix] != "" || knownURL(prefix) != "") {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.Sort(prefixes)
	if env[openAI+keySuffix] != "" || env[openAI+urlSuffix] != "" {
		prefixes = slices.Insert(prefixes, 0, openAI)
	}
	return prefixes
}

// eligible reports whether a prefix can be an upstream's. SLUICE_API_KEY is a
// client's.
func eligible(prefix string) bool { return prefix != "" && !strings.HasPrefix(prefix+"_", ownPrefix) }

// unaddressed gives the variables that hold a key for which no address is known,
// in the order of the alphabet. Most belong to other programs.
func unaddressed(env map[string]string) (names []string) {
	for name := range maps.Keys(env) {
		prefix, ok := strings.CutSuffix(name, keySuffix)
		if ok && eligible(prefix) && env[prefix+urlSuffix] == "" && knownURL(prefix) == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// NearProvider gives the variable of a known service that a variable's name may
// have been meant for, "" where none is near.
func NearProvider(name string) string {
	for _, p := range providersKnown() {
		if known := p.prefix + keySuffix; distance(name, known, 3) < 3 {
			return known
		}
	}
	return ""
}
