package openai

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// Config is what an upstream of this protocol needs to be told.
type Config struct {
	// BaseURL is where the upstream's API begins, which is where OpenAI has
	// "https://api.openai.com/v1". A query in it goes with every request.
	BaseURL string `yaml:"base_url"`

	// APIKey is sent as "Authorization: Bearer"; none is sent when it is empty.
	APIKey llm.Secret `yaml:"api_key"`

	// Headers are further fields of every request, such as api-key. They take
	// the place of fields of the same name that a client sent.
	Headers map[string]string `yaml:"headers" identity:"fold"`
}

// Protocol is the protocol as an upstream's entry names it.
func Protocol() upstream.Protocol {
	return upstream.Protocol{Name: "openai", Settings: func() upstream.Settings { return &Config{} }}
}

// Base implements upstream.Settings.
func (c Config) Base() (*url.URL, error) { return upstream.ParseBase(c.BaseURL) }

// Handler implements upstream.Settings.
func (c Config) Handler(s upstream.Setup) (llm.Handler, error) {
	return New(c, s.Name, s.Client, s.Stream)
}

// Validate reports every fault at once, each as "key: what is wrong".
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, err := c.Base(); err != nil {
		faults = append(faults, err)
	}
	if !visible(c.APIKey.Reveal()) {
		fault("api_key: it holds a space, a line end or another character that a key cannot have")
	}
	seen := make(map[string]string, len(c.Headers))
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		canonical := canonicalName(name)
		switch {
		case !token(name):
			fault("headers: %q is not a header name", name)
		case seen[canonical] != "":
			fault("headers: %s and %s are the same header", seen[canonical], name)
		case llm.OfTransport(canonical):
			fault("headers: %s is set by the transport and cannot be configured", name)
		case canonical == "Authorization" && !c.APIKey.IsZero():
			fault("headers: %s and api_key set the same header; give one of them", name)
		case !fieldValue(c.Headers[name]):
			fault("headers: the value of %s holds a control character", name)
		}
		seen[canonical] = name
	}
	return errors.Join(faults...)
}

// canonicalName gives a header name in the form of llm.Field.
func canonicalName(name string) string {
	b := []byte(name)
	upper := true
	for i, c := range b {
		switch {
		case upper && 'a' <= c && c <= 'z':
			b[i] = c - 'a' + 'A'
		case !upper && 'A' <= c && c <= 'Z':
			b[i] = c - 'A' + 'a'
		}
		upper = c == '-'
	}
	return string(b)
}

// token reports whether s is a header name (RFC 9110 section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// fieldValue reports whether s can be a header's value (RFC 9110 section 5.5).
func fieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
