package protobuf

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/chattemplate"
	"sluice/internal/llm"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/protobuf/schema"
	"sluice/internal/upstream"
)

// service is a mapping ready for use. A call that it lacks is nil.
type service struct {
	unary, stream, embed *method
	abort                *mapping.Call
	abortPath            string
	prompts              *prompts // nil where there is no template
}

// prompts makes prompts of chats.
type prompts struct {
	template *chattemplate.Template
	bos, eos string
}

// of gives the prompt for a request, nil where none is to be made. It stays reserved.
func (p *prompts) of(op llm.Operation, body []byte, reserve func(n int) error) ([]byte, error) {
	if p == nil || op != llm.Chat {
		return nil, nil
	}
	return p.template.AppendPrompt([]byte{}, body, chattemplate.Options{BOS: p.bos, EOS: p.eos, Now: time.Now(), Reserve: reserve})
}

// method is a call with readers for its replies.
type method struct {
	*mapping.Call
	path    string
	readers sync.Pool // of *mapping.Reader
}

func (s *source) serve(m *mapping.Mapping) *service {
	p := s.paths
	of := func(c *mapping.Call, path string) *method {
		if c == nil {
			return nil
		}
		return &method{Call: c, path: cmp.Or(path, c.Path()), readers: sync.Pool{New: func() any { return c.NewReader() }}}
	}
	made := &service{unary: of(m.Unary, p.Unary), stream: of(m.Stream, p.Stream), embed: of(m.Embed, p.Embed), abort: m.Abort, prompts: s.chats}
	if m.Abort != nil {
		made.abortPath = cmp.Or(p.Abort, m.Abort.Path())
	}
	return made
}

// source gives the service of an upstream. One whose schema the upstream tells is asked
// for it when it is first needed, and again after Renew.
type source struct {
	cfg    Config
	paths  Paths
	name   string
	chats  *prompts
	header map[string]string // that goes with the question
	tls    *tls.Config       // the same, where the upstream has TLS

	now   atomic.Pointer[service] // nil before the first
	stale atomic.Bool             // it is to be asked again

	mu     sync.Mutex // one asks
	failed time.Time  // when it last did so in vain
	err    error
}

// askAgain is when an upstream is asked for its schema again that did not tell it.
const askAgain = 5 * time.Second

// newSource makes the source of the upstream called name, which has TLS as way says.
func newSource(cfg Config, paths Paths, name string, way *upstream.TLS) (*source, error) {
	s := &source{cfg: cfg, paths: paths, name: name, header: make(map[string]string)}
	if cfg.reflects() {
		var err error
		if s.tls, err = way.Client(); err != nil {
			return nil, err
		}
		for k, v := range cfg.Headers {
			s.header[k] = v
		}
		if !cfg.APIKey.IsZero() {
			s.header["Authorization"] = "Bearer " + cfg.APIKey.Reveal()
		}
	}
	if s.cfg.Text == "" {
		if _, err := s.cfg.ReadFiles(context.Background()); err != nil {
			return nil, err
		}
	}
	if s.cfg.Template != "" {
		t, err := chattemplate.Parse(s.cfg.Template)
		if err != nil {
			return nil, err
		}
		s.chats = &prompts{t, s.cfg.BOSToken, s.cfg.EOSToken}
	}
	if s.cfg.reflects() {
		return s, nil
	}
	declared, err := schema.Parse(schemaName, "application/x-protobuf", []byte(s.cfg.Descriptors), limits)
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.mapping(declared)
	if err != nil {
		return nil, err
	}
	s.now.Store(s.serve(m))
	s.cfg.Text, s.cfg.Descriptors, s.cfg.Template = "", "", "" // the configuration has them
	return s, nil
}

// service gives what there is, and asks the upstream where that is nothing. The one
// before stays where an upstream does not tell another.
func (s *source) service(ctx context.Context) (*service, error) {
	if now := s.now.Load(); now != nil && !s.stale.Load() {
		return now, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now.Load()
	if now != nil && !s.stale.Load() {
		return now, nil
	}
	if s.err == nil || time.Since(s.failed) >= askAgain {
		// Another request is not to wait for what this one's client has given up.
		fresh, err := s.ask(context.WithoutCancel(ctx))
		s.failed, s.err = time.Now(), err
		if err == nil {
			s.now.Store(fresh)
			now = fresh
		}
		s.stale.Store(false)
	}
	if now != nil {
		return now, nil
	}
	e := llm.UpstreamError(s.name, llm.Unreachable, 502, "upstream_schema", "Upstream %s has not told the schema of its messages, or one that the mapping is not for.", s.err)
	e.Unprocessed = true
	return nil, e
}

// ask asks the upstream, and nobody else.
func (s *source) ask(ctx context.Context) (*service, error) {
	base, err := s.cfg.Base()
	if err != nil {
		return nil, err
	}
	scheme, port := "grpc", "80"
	if base.Scheme == "https" {
		scheme, port = "grpcs", "443"
	}
	if p := base.Port(); p != "" {
		port = p
	}
	declared, err := schema.Load(ctx, schema.Source{
		Name: schemaName, Locations: []string{scheme + "://" + net.JoinHostPort(base.Hostname(), port)}, Header: s.header, TLS: s.tls,
	}, limits)
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.mapping(declared)
	if err != nil {
		return nil, err
	}
	return s.serve(m), nil
}

// renew has the upstream asked for its schema again, where it tells it.
func (s *source) renew() {
	if s.cfg.reflects() {
		s.stale.Store(true)
	}
}
