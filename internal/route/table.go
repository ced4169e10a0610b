package route

import (
	"slices"
	"strings"
	"time"

	"sluice/internal/jsonscan"
)

// object is a model as an upstream lists it.
type object struct {
	id  string
	raw []byte // JSON, byte for byte
}

// knowledge is what is known of an upstream's models.
type knowledge uint8

const (
	unasked  knowledge = iota
	unlisted           // it was asked, and its list could not be had
	listed             // its list is known, or was configured
)

// table says which upstreams serve which model. It is made anew when a list
// has changed and is not changed itself.
type table struct {
	order    []*upstream
	byName   map[string]*upstream
	known    map[*upstream]knowledge
	serving  map[string][]*upstream
	patterns []pattern
	def      *upstream

	ids     []string // in the order of the list
	objects map[string][]byte
	list    []byte // the reply to GET /v1/models

	readAt map[*upstream]time.Duration // when lists were read: those that are not configured
	oldest time.Duration               // when the oldest of them was
	whole  bool                        // there is no further one that may still be read

	groups groups
}

// pattern is a configured model that ends in "*".
type pattern struct {
	prefix string
	up     *upstream
}

// newTable makes the table of what the upstreams now serve. r.mu is held.
func (r *Router) newTable() *table {
	t := &table{
		order: r.ups, byName: r.byName, def: r.def,
		known:   make(map[*upstream]knowledge, len(r.ups)),
		serving: make(map[string][]*upstream),
		objects: make(map[string][]byte),
		readAt:  make(map[*upstream]time.Duration), whole: true,
	}
	for _, up := range r.ups {
		t.known[up] = up.known
		t.date(up)
		for _, o := range up.models {
			if prefix, ok := strings.CutSuffix(o.id, "*"); ok && up.static {
				t.patterns = append(t.patterns, pattern{prefix, up})
				continue
			}
			t.add(o)
			if ups := t.serving[o.id]; len(ups) == 0 || ups[len(ups)-1] != up {
				t.serving[o.id] = append(ups, up)
			}
		}
	}
	for _, alias := range r.aliasNames {
		t.addAlias(alias, r.aliases[alias])
	}
	t.list = append(t.list, `{"object":"list","data":[`...)
	for i, id := range t.ids {
		if i > 0 {
			t.list = append(t.list, ',')
		}
		t.list = append(t.list, t.objects[id]...)
	}
	t.list = append(t.list, "]}"...)
	return t
}

// date takes in when the upstream's list was read.
func (t *table) date(up *upstream) {
	switch {
	case up.static:
	case up.known == listed:
		if len(t.readAt) == 0 || up.readAt < t.oldest {
			t.oldest = up.readAt
		}
		t.readAt[up] = up.readAt
	case !hasNoList(up.listErr):
		t.whole = false
	}
}

// none reports whether nothing is known of any upstream's models that may
// still be.
func (t *table) none() bool {
	return !t.whole && !slices.ContainsFunc(t.order, func(up *upstream) bool { return t.known[up] == listed })
}

func (t *table) add(o object) {
	if _, there := t.objects[o.id]; !there {
		t.ids = append(t.ids, o.id)
		t.objects[o.id] = o.raw
	}
}

// addAlias lists an alias as the model that it stands for, which is end, or not at
// all where it leads nowhere. It wins over a model of its name. r.mu is held.
func (t *table) addAlias(alias, end string) {
	raw, _ := t.find(end)
	switch {
	case raw != nil:
		raw = named(raw, alias)
	case len(t.resolve(nil, end, 0, true)) > 0:
		raw = ownObject(alias, "sluice")
	default:
		return
	}
	t.add(object{alias, raw})
	t.objects[alias] = raw
}

// find gives the object of a model that a list has, and the upstream whose list
// that is; nil where none has it. r.mu is held.
func (t *table) find(name string) (raw []byte, up *upstream) {
	if up, model, ok := t.split(name); ok && t.serves(up, model) {
		for _, o := range up.models {
			if o.id == model {
				return o.raw, up
			}
		}
	}
	if ups := t.serving[name]; len(ups) > 0 {
		return t.objects[name], ups[0]
	}
	return nil, nil
}

// named gives a model's object the id that it is asked for by: a client goes on
// with the id that it gets.
func named(raw []byte, id string) []byte {
	v, ok := jsonscan.Get(raw, "id")
	if was, err := jsonscan.String(raw[v.Start:v.End]); !ok || err != nil || was == id {
		return raw
	}
	b := append([]byte(nil), raw[:v.Start]...)
	b = jsonscan.AppendString(b, id)
	return append(b, raw[v.End:]...)
}

// ownObject describes a model that no upstream has described.
func ownObject(id, owner string) []byte {
	b := jsonscan.AppendString([]byte(`{"id":`), id)
	b = append(b, `,"object":"model","created":0,"owned_by":`...)
	return append(jsonscan.AppendString(b, owner), '}')
}

// resolve appends the upstreams that serve the model of the given name, which
// is no alias. With last it also takes an upstream whose list is not known.
func (t *table) resolve(dst []target, name string, group int, last bool) []target {
	up, model, named := t.split(name)
	// A list that an upstream gave may lag behind; a configured one is meant.
	if named && (t.known[up] != listed || t.serves(up, model) || !up.static && !t.has(name)) {
		return append(dst, target{up: up, model: model, group: group})
	}
	n := len(dst)
	for _, up := range t.serving[name] {
		dst = append(dst, target{up: up, model: name, group: group})
	}
	for _, p := range t.patterns {
		if strings.HasPrefix(name, p.prefix) && !contains(dst[n:], p.up, name) {
			dst = append(dst, target{up: p.up, model: name, group: group})
		}
	}
	if len(dst) > n {
		return dst
	}
	if up := t.unknown(last); up != nil {
		return append(dst, target{up: up, model: name, group: group})
	}
	return dst
}

// split takes "upstream/model" apart.
func (t *table) split(name string) (up *upstream, model string, ok bool) {
	prefix, model, _ := strings.Cut(name, "/")
	up = t.byName[prefix]
	return up, model, up != nil && model != ""
}

// has reports whether any list has the name as it is.
func (t *table) has(name string) bool { return len(t.serving[name]) > 0 }

func (t *table) serves(up *upstream, model string) bool {
	return slices.Contains(t.serving[model], up) || slices.ContainsFunc(t.patterns, func(p pattern) bool {
		return p.up == up && strings.HasPrefix(model, p.prefix)
	})
}

func contains(targets []target, up *upstream, model string) bool {
	return slices.ContainsFunc(targets, func(t target) bool { return t.up == up && t.model == model })
}

// unknown gives an upstream that may serve a model that nobody lists: the
// default one or else the first, if it could not say what it serves. One that
// was not asked yet counts when it is the only one, or with last.
func (t *table) unknown(last bool) *upstream {
	may := func(up *upstream) bool {
		return t.known[up] == unlisted || t.known[up] == unasked && (last || len(t.order) == 1)
	}
	if may(t.def) {
		return t.def
	}
	for _, up := range t.order {
		if may(up) {
			return up
		}
	}
	return nil
}

// near gives a few of the names that exist, the most similar ones first.
func (t *table) near(name string) []string {
	const few = 3
	best := make([]string, 0, few+1)
	score := make([]int, 0, few+1)
	for _, id := range t.ids {
		n := likeness(id, name)
		i := len(best)
		for i > 0 && score[i-1] < n {
			i--
		}
		if i < few {
			best = insert(best, i, id, few)
			score = insert(score, i, n, few)
		}
	}
	return best
}

func insert[T any](s []T, i int, v T, limit int) []T {
	s = append(s, v)
	copy(s[i+1:], s[i:])
	s[i] = v
	return s[:min(len(s), limit)]
}

// likeness counts the ASCII characters that a and b begin and end with alike,
// whatever their case. It is cheap on purpose: a client that guesses names
// must not cost more than a look at each.
func likeness(a, b string) int {
	n, m := min(len(a), len(b)), 0
	for m < n && lower(a[m]) == lower(b[m]) {
		m++
	}
	front := m
	for m < n && lower(a[len(a)-1-(m-front)]) == lower(b[len(b)-1-(m-front)]) {
		m++
	}
	return m
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
