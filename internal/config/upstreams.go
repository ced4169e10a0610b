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
	openAIName    = "openai"
	openAIBaseURL = "https://api.openai.com/v1"

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

// registerFromEnv adds the upstreams whose usual variables are set: OpenAI's
// key or address, and any other's NAME_API_KEY with NAME_BASE_URL. A file that
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
	if u.BaseURL == "" && u.Name == openAIName && absent("base_url") {
		u.BaseURL = openAIBaseURL
	}
}

// providers gives the prefixes of the variables that name an upstream, OpenAI
// first and the others in the order of the alphabet.
func providers(env map[string]string) (prefixes []string) {
	openAI := strings.ToUpper(openAIName)
	for name := range maps.Keys(env) {
		prefix, ok := strings.CutSuffix(name, urlSuffix)
		if ok && prefix != "" && prefix != openAI && !strings.HasPrefix(name, ownPrefix) && env[prefix+keySuffix] != "" {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.Sort(prefixes)
	if env[openAI+keySuffix] != "" || env[openAI+urlSuffix] != "" {
		prefixes = slices.Insert(prefixes, 0, openAI)
	}
	return prefixes
}
