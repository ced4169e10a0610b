package schema

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// text is a .proto file with one message.
func text(pkg, name string) string {
	return fmt.Sprintf("syntax = \"proto3\"; package %s; message %s { int32 x = 1; }", pkg, name)
}

func newRegistry(t testing.TB, o Options) *Registry {
	t.Helper()
	r, err := NewRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Tidy(); err != nil {
		t.Fatal(err)
	}
	return r
}

func put(t testing.TB, r *Registry, name string, s *Schema) [32]byte {
	t.Helper()
	old, err := r.Put(name, s)
	if err != nil {
		t.Fatal(err)
	}
	return old
}

func names(r *Registry) (list []string) {
	for _, s := range r.List() {
		list = append(list, s.Name)
	}
	return list
}

func TestRegistry(t *testing.T) {
	var changes []string
	r := newRegistry(t, Options{OnChange: func(c Change) {
		changes = append(changes, fmt.Sprint(c.Name, c.Old != nil, c.New != nil, c.Dead))
	}})
	a, b := parseOK(t, "a", text("p", "M")), parseOK(t, "b", text("p", "N"))
	if old := put(t, r, "b", a); old != [32]byte{} {
		t.Errorf("%x was replaced", old)
	}
	put(t, r, "a", a)
	if old := put(t, r, "b", b); old != a.Digest {
		t.Errorf("%x was replaced", old)
	}
	if got := names(r); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("it holds %q", got)
	}
	put(t, r, "a", a)
	put(t, r, "a", b)
	if err := r.Remove("a"); err != nil {
		t.Error(err)
	}
	refused(t, r.Remove("a"), ErrUnknown)
	_, err := r.Get("a")
	refused(t, err, ErrUnknown, `did you mean "b"?`)
	if s, err := r.Get("b"); err != nil || s.Digest != b.Digest || s.Name != "b" {
		t.Errorf("%v", err)
	}
	_, err = r.Put("../a", a)
	refused(t, err, nil, "schema name")
	want := []string{"b false true false", "a false true false", "b true true false", "a true true false", "a true true true", "a true false false"}
	for i := range want { // Sprint puts no space between a string and what follows
		want[i] = want[i][:1] + want[i][2:]
	}
	if !slices.Equal(changes, want) {
		t.Errorf("changes\n%q\n%q", changes, want)
	}
}

func TestFind(t *testing.T) {
	r := newRegistry(t, Options{})
	put(t, r, "one", parseOK(t, "one", text("p", "M")))
	put(t, r, "two", parseOK(t, "two", text("p", "M")+" message Only {}"))
	s, md, err := r.Find("", "p.Only")
	if err != nil || s.Name != "two" || md.FullName() != "p.Only" {
		t.Errorf("%v, %v, %v", s, md, err)
	}
	_, _, err = r.Find("", "p.M")
	refused(t, err, ErrAmbiguous, `"p.M"`, "one, two")
	if s, md, err = r.Find("two", "p.M"); err != nil || s.Name != "two" || md.ParentFile().Path() != "two.proto" {
		t.Errorf("%v, %v, %v", s, md, err)
	}
	if _, _, err = r.Find("one", "google.protobuf.Struct"); err != nil {
		t.Error(err)
	}
	_, _, err = r.Find("one", "p.Only")
	refused(t, err, ErrUnknown, `in schema "one"`)
	_, _, err = r.Find("tow", "p.M")
	refused(t, err, ErrUnknown, `schema "tow"`)
	_, _, err = r.Find("", "p.Onlx")
	refused(t, err, ErrUnknown, "in any schema", `did you mean "p.Only"?`)

	// Well-known types are there without a schema's name, and without any schema.
	for _, name := range []protoreflect.FullName{"Any", "Duration", "Timestamp", "Struct", "Value", "ListValue", "FieldMask", "Empty", "Int64Value", "BytesValue"} {
		name = "google.protobuf." + name
		for _, r := range []*Registry{r, newRegistry(t, Options{})} {
			if s, md, err := r.Find("", name); err != nil || md.FullName() != name || s == nil {
				t.Errorf("%s: %v, %v", name, md, err)
			}
		}
	}
	_, _, err = r.Find("", "google.protobuf.Struct.FieldsEntry")
	refused(t, err, ErrUnknown)
	// What an Any holds is found wherever it is, if that is one place.
	all, _, err := r.Find("", "google.protobuf.Any")
	if err != nil {
		t.Fatal(err)
	}
	if mt, err := all.FindMessageByURL("x/p.Only"); err != nil || mt.Descriptor().FullName() != "p.Only" {
		t.Errorf("%v, %v", mt, err)
	}
	_, err = all.FindMessageByURL("x/p.M")
	refused(t, err, ErrAmbiguous, "one, two")
	_, err = all.FindMessageByURL("x/p.None")
	refused(t, err, protoregistry.NotFound)
	_, err = all.FindExtensionByName("p.none")
	refused(t, err, protoregistry.NotFound)

	// Under two names one schema is no two.
	same, err := r.Get("two")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remove("one"); err != nil {
		t.Fatal(err)
	}
	put(t, r, "three", same)
	if again, _, err := r.Find("", "google.protobuf.Any"); err != nil || again.Digest != same.Digest || again.Digest == all.Digest {
		t.Errorf("%v, %v", again, err)
	}
	if s, _, err = r.Find("", "p.M"); err != nil || s.Name != "three" {
		t.Errorf("%v, %v", s, err)
	}
}

// A full registry takes replacements, and what is removed makes room.
func TestRegistryIsBounded(t *testing.T) {
	a, b, c := parseOK(t, "a", text("p", "A")), parseOK(t, "b", text("p", "B")), parseOK(t, "c", text("p", "C"))
	for _, o := range []Options{{MaxSchemas: 2}, {MaxBytes: int64(2*len(a.Descriptors()) + 1)}} {
		r := newRegistry(t, o)
		put(t, r, "a", a)
		put(t, r, "b", b)
		_, err := r.Put("c", c)
		refused(t, err, ErrFull)
		put(t, r, "b", c)
		if err := r.Remove("a"); err != nil {
			t.Error(err)
		}
		put(t, r, "c", c)
	}
}

func TestUploadDoesNotReplaceConfigured(t *testing.T) {
	r := newRegistry(t, Options{Dir: t.TempDir()})
	up := parseOK(t, "s", text("p", "M"))
	put(t, r, "s", up)
	put(t, r, "s", load(t, "testdata/protos")) // configured ones replace any
	_, err := r.Put("s", up)
	refused(t, err, ErrConfigured)
}

// Who reads sees a whole snapshot while others write.
func TestRegistryIsConcurrent(t *testing.T) {
	r := newRegistry(t, Options{Dir: t.TempDir()})
	a, b := parseOK(t, "a", text("p", "M")), parseOK(t, "b", text("p", "M")+" message B {}")
	put(t, r, "fix", a)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			name := fmt.Sprint("s", i%2)
			for range 20 {
				put(t, r, name, b)
				r.Remove(name) // another may have
			}
		})
		wg.Go(func() {
			for range 1000 {
				if _, _, err := r.Find("fix", "p.M"); err != nil {
					t.Error(err)
				}
				r.Find("", "p.B")
				if n := len(r.List()); n < 1 || n > 3 {
					t.Errorf("%d schemas", n)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkFind(b *testing.B) {
	r := newRegistry(b, Options{})
	for i := range 10 {
		name := fmt.Sprint("s", i)
		put(b, r, name, parseOK(b, name, text(name, "M")))
	}
	for name, schema := range map[string]string{"any": "", "named": "s7"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := r.Find(schema, "s7.M"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Every request that names a message looks it up.
func TestAllocFind(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	r := newRegistry(t, Options{})
	put(t, r, "s", parseOK(t, "s", text("p", "M")))
	for _, schema := range []string{"", "s"} {
		if n := testing.AllocsPerRun(100, func() { r.Find(schema, "p.M") }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
