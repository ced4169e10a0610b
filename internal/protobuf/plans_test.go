package protobuf

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	_ "google.golang.org/protobuf/types/known/durationpb" // TestTidyPlans compiles these
	_ "google.golang.org/protobuf/types/known/timestamppb"

	"sluice/internal/perf"
)

// counted counts how often a message is looked for.
type counted struct {
	Types
	finds *atomic.Int32
}

func (c counted) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	c.finds.Add(1)
	return c.Types.FindMessageByName(name)
}

// figures collects what a perf.Source reports.
type figures map[string]float64

func (f figures) Counter(name, _ string, v float64, labels ...string) {
	f[fmt.Sprint(name, labels)] = v
}
func (f figures) Gauge(name, _ string, v float64, labels ...string)    { f[fmt.Sprint(name, labels)] = v }
func (figures) Ratio(string, string, float64, float64, ...string)      {}
func (f figures) Histogram(string, string, *perf.Histogram, ...string) {}

func TestPlans(t *testing.T) {
	_, _, types := testPlan(t, "shapes.Flat")
	a, b := [32]byte{1}, [32]byte{2}
	c := NewPlans(2)
	get := func(schema [32]byte, name protoreflect.FullName) *Plan {
		p, err := c.Get(schema, types, name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	flat := get(a, "shapes.Flat")
	if get(b, "shapes.Flat") == flat {
		t.Error("two schemas share a plan")
	}
	if get(a, "shapes.Flat") != flat {
		t.Error("a plan was made twice")
	}
	get(a, "shapes.Chat") // b's Flat was not used longest
	if get(a, "shapes.Flat") != flat {
		t.Error("the plan that was used last was dropped")
	}
	if _, err := c.Get(a, types, "shapes.None"); err == nil {
		t.Error("a message that is not there has a plan")
	}
	got := figures{}
	c.Figures(got)
	want := figures{
		"protobuf_plan_lookups_total[result hit]": 2, "protobuf_plan_lookups_total[result miss]": 4,
		"protobuf_plan_failures_total[]": 1, "protobuf_plan_evictions_total[]": 1, "protobuf_plans[]": 2,
		"protobuf_fallback_total[type (other)]": 0,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("figures %v, want %v", got, want)
	}
}

// setTypes makes a message type a message set.
type setTypes struct{ Types }

func (s setTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	mt, err := s.Types.FindMessageByName(name)
	return setType{mt}, err
}

type setType struct{ protoreflect.MessageType }

func (s setType) Descriptor() protoreflect.MessageDescriptor {
	return messageSet{s.MessageType.Descriptor()}
}

// What goes to protojson is counted by type, up to a number of types, and stays
// counted when the plan is gone.
func TestPlansFallbacks(t *testing.T) {
	_, _, types := testPlan(t, "test.two.Free")
	c := NewPlans(1)
	p, err := c.Get([32]byte{1}, setTypes{types}, "test.two.Free")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.AppendWire(nil, []byte(`{}`), Options{}, Limits{}) // a message set is refused
	if _, err := c.Get([32]byte{1}, types, "shapes.Flat"); err != nil {
		t.Fatal(err)
	}
	for i := range maxFallbackTypes + 1 {
		c.fallbacks.add(protoreflect.FullName(fmt.Sprint("t", i)))
	}
	got := figures{}
	c.Figures(got)
	if got["protobuf_fallback_total[type test.two.Free]"] != 1 || got["protobuf_fallback_total[type t0]"] != 1 || got["protobuf_fallback_total[type (other)]"] != 2 {
		t.Errorf("figures %v", got)
	}
}

func TestPlansCompileOnce(t *testing.T) {
	_, _, types := testPlan(t, "shapes.Flat")
	var finds atomic.Int32
	c := NewPlans(8)
	plans := make([]*Plan, 16)
	var wg sync.WaitGroup
	for i := range plans {
		wg.Go(func() { plans[i], _ = c.Get([32]byte{1}, counted{types, &finds}, "shapes.Tree") })
	}
	wg.Wait()
	for _, p := range plans {
		if p == nil || p != plans[0] {
			t.Fatalf("plans differ: %v", plans)
		}
	}
	if finds.Load() != 1 {
		t.Errorf("the message was looked for %d times", finds.Load())
	}
}

// Plans that nobody asks for any more are forgotten, those in use are not.
func TestTidyPlans(t *testing.T) {
	c := NewPlans(10)
	get := func(name protoreflect.FullName) {
		if _, err := c.Get([32]byte{1}, protoregistry.GlobalTypes, name); err != nil {
			t.Fatal(err)
		}
	}
	const old, used = "google.protobuf.Duration", "google.protobuf.Timestamp"
	get(old)
	for round, want := range []int{0, 1, 0} {
		get(used)
		if n := c.Tidy(); n != want {
			t.Errorf("round %d: %d forgotten, want %d", round, n, want)
		}
	}
	if n := c.Tidy(); n != 1 || c.used.Len() != 0 || len(c.byKey) != 0 {
		t.Errorf("%d forgotten, %d left", n, c.used.Len())
	}
	get(old)
	if c.misses.Load() != 3 {
		t.Errorf("compiled %d times", c.misses.Load())
	}
}
