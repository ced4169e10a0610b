package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"sluice/internal/nearest"
	"sluice/internal/upstream"
)

const (
	keySuffix = "_API_KEY"
	urlSuffix = "_BASE_URL"
	ownPrefix = "SLUICE_"
)

// upstreams reads the list of upstreams. Each begins with the defaults, the
// global http_client among them, and has the keys of its protocol.
func (d *decoder) upstreams(root ast.Node, cfg *Config, protocols []upstream.Protocol) {
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
			p, known := d.protocol(n, protocols)
			cfg.Upstreams[i] = newUpstream(cfg, p)
			d.decode(n, reflect.ValueOf(&cfg.Upstreams[i]).Elem(), entry(i))
			if !known {
				d.unknownProtocol(cfg.Upstreams[i].Protocol, entry(i)+".protocol", protocols)
			}
			d.lowerKept(&cfg.Upstreams[i].HTTPClient, entry(i)+".http_client")
		}
		return
	}
}

// protocol finds the protocol of an upstream's entry: the first where it names
// none, and where it names one that is not known.
func (d *decoder) protocol(n ast.Node, protocols []upstream.Protocol) (p upstream.Protocol, known bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		return protocols[0], true // a fault of its own
	}
	for it := m.MapRange(); it.Next(); {
		if key, _ := scalarText(it.KeyValue().Key); key != "protocol" {
			continue
		}
		text, ok := scalarText(it.KeyValue().Value)
		if !ok {
			break
		}
		name, err := d.text.expand(text, false)
		if err != nil {
			break
		}
		i := slices.IndexFunc(protocols, func(p upstream.Protocol) bool { return p.Name == name })
		if i < 0 {
			return protocols[0], false
		}
		return protocols[i], true
	}
	return protocols[0], true
}

func (d *decoder) unknownProtocol(name, path string, protocols []upstream.Protocol) {
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = strconv.Quote(p.Name)
	}
	verb := "is"
	if len(names) > 1 {
		verb = "are"
	}
	o, _ := d.originOf(path)
	d.add(o, path, fmt.Sprintf("%q is not known; there %s %s", name, verb, strings.Join(names, ", ")))
}

// entry gives the path of an upstream.
func entry(i int) string { return "upstreams[" + strconv.Itoa(i) + "]" }

func newUpstream(cfg *Config, p upstream.Protocol) Upstream {
	u := Upstream{Protocol: p.Name, Settings: p.Settings(), Weight: 1, HTTPClient: cfg.HTTPClient}
	if p.HTTP2 {
		u.HTTPClient.HTTP2, u.HTTPClient.H2C, u.HTTPClient.BalanceAddresses = true, true, true
		// Servers of gRPC close connections that ping more often.
		u.HTTPClient.PingInterval = max(u.HTTPClient.PingInterval, 6*time.Minute)
	}
	return u
}

// readUpstreams reads the files that the upstreams' settings name. All faults are
// returned as Validate does, and what was not asked as doubts.
func (c *Config) readUpstreams(ctx context.Context) error {
	var faults []error
	for i, u := range c.Upstreams {
		r, ok := u.Settings.(upstream.Reader)
		if !ok || u.Settings.Validate() != nil {
			continue
		}
		unasked, err := r.ReadFiles(ctx)
		faults = append(faults, within(entry(i), err))
		for _, one := range unasked {
			c.doubts = append(c.doubts, join(entry(i), one))
		}
	}
	return errors.Join(faults...)
}

// registerFromEnv adds the upstreams whose usual variables are set: the key of a
// service that is known, OpenAI's address, and any other's NAME_API_KEY with
// NAME_BASE_URL. A file that
// lists upstreams is complete, so that a key which happens to be in the
// environment brings in nobody; there the variables fill in the key and
// the address that an entry of their name leaves out. The services speak the first
// of the protocols, where none of their own is among them.
func registerFromEnv(cfg *Config, protocols []upstream.Protocol, env map[string]string, f *faults) {
	p := protocols[0]
	if len(cfg.Upstreams) > 0 {
		for i := range cfg.Upstreams {
			fillFromEnv(&cfg.Upstreams[i], i, p.Name, env, f)
		}
		return
	}
	cfg.Unaddressed = unaddressed(env)
	for _, prefix := range providers(env) {
		speaks := p
		// An address may say which of the service's two APIs it is of.
		usual := strings.HasSuffix(strings.TrimRight(env[prefix+urlSuffix], "/"), "/openai")
		if i := slices.IndexFunc(protocols, func(p upstream.Protocol) bool { return p.Name == known(prefix).native }); i >= 0 && !usual {
			speaks = protocols[i]
		}
		u := newUpstream(cfg, speaks)
		u.Name = strings.ToLower(prefix)
		fillFromEnv(&u, len(cfg.Upstreams), p.Name, env, f)
		cfg.Upstreams = append(cfg.Upstreams, u)
	}
}

// fillFromEnv sets the key and the address that an upstream's entry leaves out,
// where its protocol has these keys. The protocol called usual is OpenAI's.
func fillFromEnv(u *Upstream, i int, usual string, env map[string]string, f *faults) {
	prefix := strings.ToUpper(strings.ReplaceAll(u.Name, "-", "_"))
	if prefix == "" || strings.HasPrefix(prefix+"_", ownPrefix) {
		return
	}
	for _, one := range fields(reflect.ValueOf(u).Elem()) {
		path := entry(i) + "." + one.key
		if _, given := f.origins[path]; given {
			continue
		}
		switch one.key {
		case "api_key":
			if value := env[prefix+keySuffix]; value != "" {
				f.set(prefix+keySuffix, path, one.value, value)
			}
		case "base_url":
			if value := env[prefix+urlSuffix]; value != "" {
				f.set(prefix+urlSuffix, path, one.value, value)
			} else if one.value.Kind() == reflect.String && one.value.Len() == 0 {
				one.value.SetString(known(prefix).url(u.Protocol, usual))
			}
		}
	}
}

// providers gives the prefixes of the variables that name an upstream, OpenAI
// first and the others in the order of the alphabet.
func providers(env map[string]string) (prefixes []string) {
	for name := range maps.Keys(env) {
		prefix, ok := strings.CutSuffix(name, keySuffix)
		if ok && prefix != openAI && eligible(prefix) && (env[prefix+urlSuffix] != "" || known(prefix).baseURL != "") {
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
		if ok && eligible(prefix) && env[prefix+urlSuffix] == "" && known(prefix).baseURL == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// NearProvider gives the variable of a known service that a variable's name may
// have been meant for, "" where none is near. A short name has many neighbours
// that are services of their own.
func NearProvider(name string) string {
	for _, p := range providersKnown() {
		if known := p.prefix + keySuffix; nearest.Distance(name, known, 3) < min(3, 1+len(p.prefix)/3) {
			return known
		}
	}
	return ""
}
