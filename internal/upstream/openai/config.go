package openai

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
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
	Headers map[string]string `yaml:"headers"`
}

// StreamConfig is how event streams are read.
type StreamConfig struct {
	// FlushInterval is how long after events were sent the next are read when
	// they come faster than that, so that they leave together. 0 reads at
	// once; at most 50 ms. The first event is never delayed.
	FlushInterval time.Duration

	// MaxEventBytes bounds one event; 0 is sse.DefaultMaxEvent.
	MaxEventBytes int

	// FirstEventTimeout bounds the time from the request to the first event
	// that is not a comment. IdleTimeout, which is needed with it, bounds the
	// time between two pieces after that. 0 leaves the time-outs to the
	// transport: its idle time-out then holds from the reply's head on.
	FirstEventTimeout, IdleTimeout time.Duration
}

// maxFlushInterval keeps a cancelled stream's end within 100 ms.
const maxFlushInterval = 50 * time.Millisecond

// Validate reports every fault at once, each as "key: what is wrong".
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, err := parseBase(c.BaseURL); err != nil {
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

// Validate reports every fault at once, each as "key: what is wrong".
func (s StreamConfig) Validate() error {
	var faults []error
	if s.FlushInterval < 0 || s.FlushInterval > maxFlushInterval {
		faults = append(faults, fmt.Errorf("flush_interval: %v is not between 0 and %v", s.FlushInterval, maxFlushInterval))
	}
	if s.MaxEventBytes < 0 {
		faults = append(faults, fmt.Errorf("max_event_bytes: %d is below 0", s.MaxEventBytes))
	}
	return errors.Join(faults...)
}

func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// url.Parse's error repeats the URL, which may hold a password.
		return nil, errors.New("base_url: it is not a URL")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, fmt.Errorf("base_url: %q is not an http or https URL", u.Redacted())
	case u.User != nil:
		return nil, errors.New("base_url: it holds a user name; give the key as api_key")
	case u.Fragment != "":
		return nil, fmt.Errorf("base_url: %q has a fragment", text)
	}
	return u, nil
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
