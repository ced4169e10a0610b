package front

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/internal/llm"
)

// Passthrough says which requests are handed on that no route is there for, as
// those for files, batches and stored responses are: "all", "none", or patterns.
// They go out with the upstream's key, to which all that is in its account
// belongs, whoever put it there.
//
// A pattern is a path below /v1/, with a method before it or without. A "*" in
// it stands for one segment of the path, the last one for all that follow:
// "/v1/files", "GET /v1/files/*", "/v1/fine_tuning/jobs/*/events".
type Passthrough []string

const passAll, passNone = "all", "none"

// Lone says that one value may be given without a list around it.
func (Passthrough) Lone() {}

// faults returns what is wrong with it. Nil is sound.
func (p Passthrough) faults() (faults []error) {
	if p != nil && len(p) == 0 {
		return []error{errors.New("the list is empty; say none, all, or which paths")}
	}
	for _, text := range p {
		if text == passAll || text == passNone {
			if len(p) > 1 {
				faults = append(faults, fmt.Errorf("%q stands alone and not in a list with others", text))
			}
			continue
		}
		if _, err := parsePattern(text); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// passthrough is a Passthrough ready for use.
type passthrough struct {
	all  bool
	list []pattern
}

// newPassthrough takes a list that was checked.
func newPassthrough(list Passthrough) (p passthrough) {
	for _, text := range list {
		if text == passAll {
			p.all = true
		} else if one, err := parsePattern(text); err == nil {
			p.list = append(p.list, one)
		}
	}
	return p
}

// allows reports whether a request may be handed on. path is as an upstream gets
// it. One with escapes matches no pattern, nor one with what some servers take
// for a separator: an upstream could see another path in it than the pattern's.
func (p *passthrough) allows(method, path string) bool {
	if p.all {
		return true
	}
	if strings.ContainsAny(path, `%\;`) {
		return false
	}
	for i := range p.list {
		if p.list[i].matches(method, path) {
			return true
		}
	}
	return false
}

// pattern is one of methods and paths.
type pattern struct {
	method   string // "" for any
	segments []string
}

func parsePattern(text string) (p pattern, err error) {
	path := text
	if method, rest, ok := strings.Cut(text, " "); ok {
		p.method, path = method, rest
		if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
			return p, fmt.Errorf("%q: %q is none of GET, POST, PUT, PATCH, DELETE", text, method)
		}
	}
	below, ok := strings.CutPrefix(path, "/v1/")
	if !ok || below == "" {
		return p, fmt.Errorf("%q is neither all nor none nor a path below /v1/, as /v1/files or GET /v1/files/*", text)
	}
	p.segments = strings.Split(below, "/")
	for _, s := range p.segments {
		if s == "" || s == "." || s == ".." || s != "*" && strings.ContainsAny(s, "*%\\;?# ") {
			return p, fmt.Errorf("%q: %q is neither * nor a segment of a path without escapes", text, s)
		}
	}
	return p, nil
}

func (p *pattern) matches(method, path string) bool {
	if p.method != "" && p.method != method && !(p.method == "GET" && method == "HEAD") {
		return false
	}
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return false
	}
	for i, want := range p.segments {
		name, after, more := strings.Cut(rest, "/")
		if name == "" || want != "*" && want != name {
			return false
		}
		if i == len(p.segments)-1 {
			return !more || want == "*"
		}
		if !more {
			return false
		}
		rest = after
	}
	return false
}

// mayPassOn refuses what an upstream would be asked for and the key's holder may
// not ask it for.
func (in *request) mayPassOn() error {
	if in.req.Op != llm.Passthrough || in.tenant.passthrough.allows(in.q.Method, in.req.Path) {
		return nil
	}
	if in.st.answers != nil && in.st.answers(in.req.Path) {
		return nil // the gateway's own
	}
	return llm.Errorf(403, "passthrough_refused", "%s %s would be handed on to the upstream's account, which this gateway's configuration does not allow. "+
		"What may be is set by passthrough, beside the key under server.api_keys or under server for all.", in.q.Method, in.q.EscapedPath())
}

// Warnings returns what is no fault and yet a risk, each as "key: what it is",
// the key below `server`.
func (c Config) Warnings() []string {
	var names []string
	for _, k := range c.APIKeys {
		if k.Passthrough == nil && !k.Admin && slices.Equal(c.Passthrough, Passthrough{passAll}) {
			names = append(names, k.Name)
		}
	}
	if len(names) == 0 || len(c.APIKeys) < 2 {
		return nil
	}
	who := strings.Join(names[:min(len(names), 5)], ", ")
	if len(names) > 5 {
		who += fmt.Sprintf(" and %d more", len(names)-5)
	}
	return []string{fmt.Sprintf("api_keys: %s may ask the upstreams for everything, also for what others keep there: files, batches, fine-tuned models, stored responses and "+
		"chats, vector stores can be listed, read and deleted by whoever has a key; set passthrough (none, or a list of paths) under server or beside the keys, or beside them "+
		"passthrough: all where that is wanted", who)}
}
