package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"sluice/internal/llm"
)

// Protocol is a way to speak with model services. Each is a package below this
// one and a line in package config, and needs nothing anywhere else.
type Protocol struct {
	// Name is what the key "protocol" of an upstream's entry says.
	Name string
	// Settings returns the keys of an entry that are the protocol's own, set to
	// their defaults: a pointer to a struct with "yaml" tags. None may be called
	// like one of the keys that all entries have.
	Settings func() Settings
	// HTTP2 says that it is spoken over HTTP/2 alone: without TLS too, where nobody
	// asks the upstream first. Its requests are spread over all addresses.
	HTTP2 bool
}

// Reader is what Settings are that name files. A reload sees what these hold, and that
// it changed, by the settings themselves.
type Reader interface {
	// ReadFiles reads them into the settings, and checks what they hold. It is called
	// when Validate has found nothing, and its faults are as those are. unasked says
	// what could not be checked, as "key: why".
	ReadFiles(ctx context.Context) (unasked []string, err error)
}

// Settings are the part of an upstream's configuration that its protocol
// defines. Nobody changes them once they are in use.
//
// All fields count for the identity by which replies are cached: two upstreams
// that differ in one never answer for each other. A field that cannot change an
// answer is tagged `identity:"-"`, a map whose keys are in any case
// `identity:"fold"`.
type Settings interface {
	// Validate reports every fault at once, each as "key: what is wrong".
	Validate() error
	// Base returns where the upstream is. It is asked for when Validate has
	// found nothing.
	Base() (*url.URL, error)
	// Handler makes what serves the upstream's requests.
	Handler(Setup) (llm.Handler, error)
}

// Setup is what a protocol's handler is made with, besides its settings.
type Setup struct {
	Name   string // the upstream's, for errors
	Client *Client
	Stream StreamConfig
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

// ParseBase reads the key base_url, as most protocols have it. Its error is
// "base_url: what is wrong".
func ParseBase(text string) (*url.URL, error) {
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
