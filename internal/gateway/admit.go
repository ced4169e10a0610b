package gateway

import (
	"sluice/internal/admit"
	"sluice/internal/config"
	"sluice/internal/llm"
)

// admission admits the calls of each upstream.
type admission struct {
	key      admissionKey
	limiters map[string]*admit.Limiter // by upstream
}

// admissionKey is what an admission is made of.
type admissionKey struct {
	cfg admit.Config
	of  []admitted
}

// admitted is an upstream as far as its Limiter depends on it.
type admitted struct {
	name, identity string
	ceiling        int // what its pool carries
}

// admitStage makes what stands between routing and the upstreams.
func admitStage() stage {
	return stage{
		name: "admit",
		key: func(cfg *config.Config) any {
			if !cfg.Admit.Enabled {
				return nil
			}
			return admissionOf(cfg)
		},
		build: func(a *assembly) (*part, error) {
			key := admissionOf(a.cfg)
			s := &admission{key: key, limiters: make(map[string]*admit.Limiter, len(key.of))}
			p := &part{is: s, commit: s.configure}
			before := predecessor[*admission](a, "admit")
			for _, of := range key.of {
				l := before.limiter(of)
				if l == nil {
					l = admit.New(key.cfg, of.name, of.ceiling)
				}
				s.limiters[of.name] = l
				p.figures = append(p.figures, figures{"admit", l})
			}
			return p, nil
		},
	}
}

func admissionOf(cfg *config.Config) admissionKey {
	key := admissionKey{cfg: cfg.Admit}
	ups := cfg.Upstreams
	if len(ups) == 0 {
		ups = []config.Upstream{{Name: simulatorName, HTTPClient: cfg.HTTPClient}}
	}
	for _, u := range ups {
		of := admitted{name: u.Name, ceiling: u.HTTPClient.MaxConnections}
		if u.Settings != nil {
			of.identity = identity(u)
			// Over HTTP/2 a connection carries several calls. Which version an upstream
			// speaks is known only when it is asked.
			base, err := u.Settings.Base()
			if u.HTTPClient.H2C || u.HTTPClient.HTTP2 && err == nil && base.Scheme == "https" {
				of.ceiling *= u.HTTPClient.MaxStreamsPerConnection
			}
		}
		key.of = append(key.of, of)
	}
	return key
}

// limiter gives the Limiter of an upstream that is still the same, with the calls that it
// has under way and what it has learnt; nil where there is none.
func (s *admission) limiter(of admitted) *admit.Limiter {
	if s == nil {
		return nil
	}
	for _, other := range s.key.of {
		if other.name == of.name && other.identity == of.identity {
			return s.limiters[of.name]
		}
	}
	return nil
}

// configure has the Limiters that were there before go by this configuration.
func (s *admission) configure(any) {
	for _, of := range s.key.of {
		s.limiters[of.name].Configure(s.key.cfg, of.ceiling)
	}
}

// before puts an upstream's Limiter before it.
func (s *admission) before(name string, h llm.Handler) llm.Handler {
	if s == nil {
		return h
	}
	return s.limiters[name].Stage(h)
}
