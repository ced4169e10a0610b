package responses

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/memory"
	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// shared is a rig whose second level is at a URL, and up.
func shared(t *testing.T, url string, timeout time.Duration, more Options) *rig {
	t.Helper()
	more.Redis = &redis.Use{URL: url, Timeout: timeout, Prefix: "test:", Servers: &redis.Servers{}}
	g := newRig(t, nil, more)
	testkit.Until(t, "the second level is up", g.level.client.Up)
	return g
}

// TestSecondLevel: what one machine keeps another has, until it is deleted or expires.
func TestSecondLevel(t *testing.T) {
	s := redistest.Start(t)
	one, two := shared(t, s.URL(), time.Second, Options{}), shared(t, s.URL(), time.Second, Options{})
	first := one.ask(t, "a", `{"model":"m","input":"One"}`)
	second := two.ask(t, "a", `{"model":"m","input":"Two","previous_response_id":"`+first+`"}`)
	third := one.ask(t, "a", `{"model":"m","input":"Three","previous_response_id":"`+second+`"}`)
	wants(t, one.asked, "One", "Two", "Three")
	if text, err := two.get("a", third+"/input_items"); err != nil || strings.Count(text, `"Yes"`) != 2 {
		t.Errorf("%v %s", err, text)
	}
	if _, err := two.get("b", third); refusal(err) != "404 " {
		t.Errorf("%v", err)
	}
	keys, err := s.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 3 {
		t.Errorf("%v %v", keys, err)
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, "test:responses:1:") || strings.Contains(k, "sluice_") {
			t.Error(k)
		}
		if left := s.PTTL(t.Context(), k).Val(); left > day || left < day-time.Minute {
			t.Errorf("%s is kept for %v", k, left)
		}
	}
	// Both have the second in memory; one deletes it.
	if _, err := one.get("a", second); err != nil {
		t.Fatal(err)
	}
	if _, err := two.do("b", "DELETE", "/v1/responses/"+second, ""); refusal(err) != "404 " {
		t.Errorf("%v", err)
	}
	must(t, "", func() error { _, err := two.do("a", "DELETE", "/v1/responses/"+second, ""); return err }())
	for _, g := range []*rig{one, two} {
		if _, err := g.get("a", second); refusal(err) != "404 " {
			t.Errorf("%v", err)
		}
		if _, err := g.do("a", "DELETE", "/v1/responses/"+second, ""); refusal(err) != "404 " {
			t.Errorf("%v", err)
		}
		if _, err := g.get("a", third); err != nil {
			t.Error(err)
		}
	}
}

// TestForeignValues: what others wrote in the place of replies is as good as nothing.
func TestForeignValues(t *testing.T) {
	s := redistest.Start(t)
	g := shared(t, s.URL(), time.Second, Options{})
	id := g.ask(t, "", `{"model":"m","input":"One"}`)
	place := g.level.place(keyOf("", id))
	value := s.Get(t.Context(), place).Val()
	other := newID()
	for name, v := range map[string]string{
		"damaged": value[:len(value)-20] + "x" + value[len(value)-19:], "cut": value[:len(value)-1], "another's": value, "large": strings.Repeat("x", 5<<20), "nonsense": "x",
	} {
		s.Set(t.Context(), g.level.place(keyOf("", other)), v, time.Hour)
		if _, err := g.get("", other); refusal(err) != "404 " {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Del(t.Context(), g.level.place(keyOf("", other)))
	s.RPush(t.Context(), g.level.place(keyOf("", other)), "x")
	if _, err := g.get("", other); refusal(err) != "404 " || !g.level.client.Up() {
		t.Errorf("%v", err)
	}
	s.Del(t.Context(), place) // the server was short of room
	if _, err := g.get("", id); err != nil {
		t.Error(err)
	}
}

// TestLevelThatDoesNotAnswer: a request waits for the time-out at most, a few times, and what
// is in memory is there.
func TestLevelThatDoesNotAnswer(t *testing.T) {
	s := redistest.Start(t)
	r := redistest.RelayTo(t, s)
	g := shared(t, "redis://"+r.Addr().String(), 100*time.Millisecond, Options{})
	id := g.ask(t, "", `{"model":"m","input":"One"}`)
	r.Set(redistest.Silent)
	for range 2 * redis.Failures {
		id = g.ask(t, "", `{"model":"m","input":"Two","previous_response_id":"`+id+`"}`)
	}
	if n := strings.Count(g.asked, "Two"); n != 2*redis.Failures {
		t.Errorf("%d turns were said", n)
	}
	if g.level.client.Up() || g.store.figures.dropped.Load() == 0 {
		t.Error("it is still asked")
	}
	if _, err := g.get("", newID()); refusal(err) != "503 responses_unavailable" {
		t.Errorf("%v", err)
	}
	if _, err := g.do("", "DELETE", "/v1/responses/"+id, ""); refusal(err) != "503 responses_unavailable" {
		t.Errorf("%v", err)
	}
	if _, err := g.do("", "POST", "/v1/responses", `{"model":"m","input":"a","previous_response_id":"`+newID()+`"}`); refusal(err) != "503 responses_unavailable" {
		t.Errorf("%v", err)
	}
}

// TestFetchedIsReserved: what comes from the second level takes its room of the budget, or
// none.
func TestFetchedIsReserved(t *testing.T) {
	s := redistest.Start(t)
	one := shared(t, s.URL(), time.Second, Options{})
	id := one.ask(t, "", `{"model":"m","input":"`+strings.Repeat("x", 10_000)+`"}`)
	budget := new(memory.Budget)
	budget.Resize(5000)
	two := shared(t, s.URL(), time.Second, Options{Account: budget.Account("responses")})
	if _, err := two.get("", id); refusal(err) != "503 gateway_overloaded" || budget.Used() != 0 {
		t.Errorf("%v, %d bytes", err, budget.Used())
	}
	budget.Resize(50_000)
	if _, err := two.get("", id); err != nil || budget.Used() < 10_000 {
		t.Errorf("%v, %d bytes", err, budget.Used())
	}
}

// TestValues: a value gives back what it was made of.
func TestValues(t *testing.T) {
	a := newTurn(nil, []byte(`1`), nil)
	b := newTurn(a, nil, []byte(`2,3`))
	c := newTurn(b, []byte(`4`), []byte(`5`))
	r := &reply{key: keyOf("a", "b"), head: []byte(`{"output":[`), tail: []byte(`]}`), turn: c, expires: time.UnixMilli(1_800_000_000_123)}
	value := appendValue([]byte("before"), r)[len("before"):]
	if most := c.size + r.own() + envelope; int64(len(value)) > most {
		t.Errorf("%d bytes are more than %d", len(value), most)
	}
	got := readValue(value, r.key)
	if got == nil || string(got.turn.input) != "1,2,3,4" || string(got.turn.output) != "5" || string(got.head)+string(got.tail) != `{"output":[]}` || !got.expires.Equal(r.expires) {
		t.Fatalf("%+v", got)
	}
	if readValue(value, keyOf("a", "c")) != nil {
		t.Error("found under another key")
	}
}

// FuzzValue: whatever stands in the second level does no harm.
func FuzzValue(f *testing.F) {
	k := keyOf("a", "b")
	f.Add(appendValue(nil, &reply{key: k, head: []byte("{"), tail: []byte("}"), turn: newTurn(nil, []byte("1"), []byte("2")), expires: time.UnixMilli(1)}), true)
	f.Add([]byte("-"), false)
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		if n := len(b) - 4; sum && n > 0 { // right where all else may be wrong
			b = appendSum(b[:n], b[:n])
		}
		if r := readValue(b, k); r != nil {
			if again := readValue(appendValue(nil, r), k); again == nil || fmt.Sprint(again.turn) != fmt.Sprint(r.turn) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
	})
}
