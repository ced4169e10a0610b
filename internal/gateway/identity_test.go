package gateway

import (
	"reflect"
	"strings"
	"testing"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/openai"
)

// own gives the settings of an upstream that speaks OpenAI's API.
func own(u *config.Upstream) *openai.Config { return u.Settings.(*openai.Config) }

func TestIdentity(t *testing.T) {
	made := func(change func(*config.Upstream)) string {
		u := config.Upstream{Name: "one", Protocol: "openai", Weight: 1, Settings: &openai.Config{
			BaseURL: "https://one.example/v1", APIKey: llm.NewSecret("k1-secret"),
			Headers: map[string]string{"Api-Version": "1", "Team": "a"},
		}}
		change(&u)
		return identity(u)
	}
	base := made(func(*config.Upstream) {})
	// A digest that was once written to disk has to be found again.
	if want := "a0ecf649b17b69e62820684a71e4d22e138ff1bd3240cefa51737a15ca13d8b7"; base != want {
		t.Errorf("identity %s, want %s", base, want)
	}
	for name, change := range map[string]func(*config.Upstream){
		"weight":      func(u *config.Upstream) { u.Weight = 2 },
		"models":      func(u *config.Upstream) { u.Models = []string{"m"} },
		"header case": func(u *config.Upstream) { own(u).Headers = map[string]string{"api-version": "1", "team": "a"} },
	} {
		if made(change) != base {
			t.Errorf("%s counts", name)
		}
	}
	seen := map[string]string{base: "nothing"}
	for name, change := range map[string]func(*config.Upstream){
		"address":       func(u *config.Upstream) { own(u).BaseURL = "https://two.example/v1" },
		"protocol":      func(u *config.Upstream) { u.Protocol = "other" },
		"key":           func(u *config.Upstream) { own(u).APIKey = llm.NewSecret("k2-secret") },
		"header value":  func(u *config.Upstream) { own(u).Headers["Team"] = "b" },
		"header gone":   func(u *config.Upstream) { delete(own(u).Headers, "Team") },
		"header joined": func(u *config.Upstream) { own(u).Headers = map[string]string{"Api-Version": "1" + "\x04Team\x01a"} },
		"key in header": func(u *config.Upstream) {
			own(u).APIKey, own(u).Headers["Authorization"] = llm.Secret{}, "Bearer k1-secret"
		},
	} {
		id := made(change)
		if other, ok := seen[id]; ok {
			t.Errorf("%s is the same as %s", name, other)
		}
		if strings.Contains(id, "secret") {
			t.Errorf("%s shows the key", id)
		}
		seen[id] = name
	}
}

// TestIdentityHasEveryField changes each field of a configuration, of every
// protocol. One that is added counts, or stands here with the reason why not.
func TestIdentityHasEveryField(t *testing.T) {
	// What cannot change an answer.
	excluded := map[string]string{
		"Name":                     "the operator's word for it",
		"Weight":                   "how often it is asked",
		"Models":                   "the model is in the request",
		"HTTPClient":               "the way there: bounds, waits, versions of HTTP",
		"Settings.MaxMessageBytes": "what is larger is no answer",
		"Settings.Compression":     "the same message, packed",
		"Settings.Limits.Deadline": "of the invented protocol",
	}
	found := map[string]bool{}
	for _, p := range append(config.Protocols(), parrot(), upstream.Protocol{Name: "odd", Settings: func() upstream.Settings { return &oddSettings{hidden: "h"} }}) {
		fresh := func() *config.Upstream {
			return &config.Upstream{Name: "one", Protocol: p.Name, Settings: p.Settings(), Weight: 1, HTTPClient: upstream.Default()}
		}
		base := identity(*fresh())
		if again := identity(*fresh()); again != base {
			t.Fatalf("%s: %s, then %s", p.Name, base, again)
		}
		seen := map[string]string{base: "nothing"}
		for i := 0; ; i++ {
			u := fresh()
			n := i
			path := changeLeaf(t, reflect.ValueOf(u).Elem(), "", &n)
			if path == "" {
				if i < 25 {
					t.Errorf("%s: only %d fields", p.Name, i)
				}
				break
			}
			out := ""
			for e := range excluded {
				if path == e || strings.HasPrefix(path, e+".") || strings.HasPrefix(path, e+"[") {
					out, found[e] = e, true
				}
			}
			id := identity(*u)
			switch {
			case out != "" && id != base:
				t.Errorf("%s: %s counts, and should not: %s", p.Name, path, excluded[out])
			case out == "" && seen[id] != "":
				t.Errorf("%s: changing %s gives the same as changing %s", p.Name, path, seen[id])
			case out == "":
				seen[id] = path
			}
		}
	}
	for e := range excluded {
		if !found[e] {
			t.Errorf("there is no %s", e)
		}
	}
}

// oddSettings have fields of all kinds, and could be confused.
type oddSettings struct {
	parrotSettings `yaml:",inline"`

	List    []string
	Lists   [][]string
	Map     map[string]string
	Maps    map[string][]int
	Folded  map[string]string `identity:"fold"`
	Structs []struct{ A, B string }
	Secrets []llm.Secret
	Pointer *string
	Float   float64
	Bool    bool
	Uint    uint16
	Array   [2]int
	hidden  string
	Last    []string
}

// TestIdentityIsUnambiguous has configurations that look alike once they are put
// one behind the other.
func TestIdentityIsUnambiguous(t *testing.T) {
	x, empty := "x", ""
	seen := map[string]int{}
	for i, s := range []oddSettings{
		{}, {List: []string{""}}, {List: []string{"", ""}}, {List: []string{"a", "b"}}, {List: []string{"a"}, Last: []string{"b"}},
		{List: []string{"ab"}}, {List: []string{"a\x01b"}}, {Last: []string{"a", "b"}},
		{Lists: [][]string{{}}}, {Lists: [][]string{{}, {}}}, {Lists: [][]string{{"a"}, {"b"}}}, {Lists: [][]string{{"a", "b"}}},
		{Lists: [][]string{{"a"}, {}, {"b"}}}, {Lists: [][]string{{"a", "1", "b"}}},
		{Map: map[string]string{"a": "b"}}, {Map: map[string]string{"A": "b"}}, {Map: map[string]string{"a": "b", "c": "d"}},
		{Map: map[string]string{"a": "b"}, Maps: map[string][]int{"c": {}}}, {Maps: map[string][]int{"a": {1}, "b": {}}}, {Maps: map[string][]int{"a": {}, "b": {1}}},
		{Pointer: &x}, {Pointer: &empty}, {Structs: []struct{ A, B string }{{"a", ""}}}, {Structs: []struct{ A, B string }{{"", "a"}}},
		{Secrets: []llm.Secret{llm.NewSecret("a")}}, {Folded: map[string]string{"A": "b"}},
	} {
		id := identity(config.Upstream{Protocol: "odd", Settings: &s})
		if other, ok := seen[id]; ok {
			t.Errorf("%d is the same as %d", i, other)
		}
		seen[id] = i
	}
	if identity(config.Upstream{Settings: &oddSettings{Folded: map[string]string{"A": "1", "b": "2"}}}) !=
		identity(config.Upstream{Settings: &oddSettings{Folded: map[string]string{"a": "1", "B": "2"}}}) {
		t.Error("the case of a folded key counts")
	}
}

// changeLeaf changes the n-th thing that can be changed below v and returns its
// path, "" where there are fewer. Lists and maps are also made longer.
func changeLeaf(t *testing.T, v reflect.Value, path string, n *int) string {
	t.Helper()
	hit := func() bool { *n--; return *n < 0 }
	set := func(to any) string {
		if !v.CanSet() { // an unexported field
			v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
		}
		v.Set(reflect.ValueOf(to).Convert(v.Type()))
		return path
	}
	switch v.Kind() {
	case reflect.Struct:
		for f, value := range v.Fields() {
			at := strings.TrimPrefix(path+"."+f.Name, ".")
			if f.Anonymous {
				at = path
			}
			if found := changeLeaf(t, value, at, n); found != "" {
				return found
			}
		}
		return ""
	case reflect.Interface:
		return changeLeaf(t, v.Elem().Elem(), path, n)
	}
	switch {
	case v.Kind() == reflect.String && hit():
		return set(v.String() + "x")
	case v.Kind() == reflect.Bool && hit():
		return set(!v.Bool())
	case v.CanInt() && hit():
		return set(v.Int() + 1)
	case v.CanUint() && hit():
		return set(v.Uint() + 1)
	case v.CanFloat() && hit():
		return set(v.Float() + 0.5)
	case v.Kind() == reflect.Array:
		return changeLeaf(t, v.Index(1), path+"[1]", n)
	case v.Kind() == reflect.Pointer && hit():
		return set(reflect.New(v.Type().Elem()).Interface())
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		found := changeLeaf(t, v.Elem(), path+"*", n)
		if found == "" {
			v.SetZero()
		}
		return found
	case v.Kind() == reflect.Slice && hit(): // an empty element
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return path + "[]"
	case v.Kind() == reflect.Slice && hit(): // and two
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		return path + "[][]"
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if found := changeLeaf(t, v.Index(0), path+"[0]", n); found != "" {
			return found
		}
		v.SetZero()
		return ""
	case v.Kind() == reflect.Map:
		for _, key := range []string{"k", "l"} {
			element := reflect.New(v.Type().Elem()).Elem()
			name := path + "[" + key + "]"
			if !hit() {
				if name = changeLeaf(t, element, name, n); name == "" {
					continue
				}
			}
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf(key), element)
			return name
		}
		return ""
	case v.Kind() == reflect.String, v.Kind() == reflect.Bool, v.CanInt(), v.CanUint(), v.CanFloat():
		return "" // not this one
	}
	t.Fatalf("%s is of a kind that is not known here, nor to identity: %v", path, v.Type())
	return ""
}

// The simulator has another port after each start, and the same answers.
func TestSimulatorIdentity(t *testing.T) {
	one, _ := run(t, load(t), nil)
	two, _ := run(t, load(t), nil)
	a, nameA, okA := one.chain.router.Group("sim-chat")
	b, nameB, okB := two.chain.router.Group("sim-chat")
	if !okA || !okB || a != b || nameA != "sim-chat" || nameB != nameA {
		t.Errorf("%x %s %v, %x %s %v", a, nameA, okA, b, nameB, okB)
	}
}
