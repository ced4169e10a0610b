package llm

import (
	"strings"
	"testing"
)

func TestHops(t *testing.T) {
	a, b := NewHop(), NewHop()
	if a == b || len(a) < 16 || strings.Trim(a, "-abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Fatalf("%q and %q", a, b)
	}
	for _, c := range []struct {
		values        []string
		passed, alone bool
	}{
		{nil, false, true},
		{[]string{a}, true, true},
		{[]string{b}, false, true},
		{[]string{b, a}, true, true},
		{[]string{b + " ,\t" + a + " ; x=\"y\""}, true, true},
		{[]string{"cdn.example, " + a}, true, false},
		{[]string{"cdn.example:80;a=b"}, false, false},
		{[]string{"x" + a, a + "x"}, false, false},
		{[]string{", ,"}, false, true},
	} {
		if Passed(c.values, a) != c.passed || HopsAlone(c.values) != c.alone {
			t.Errorf("%q: %v, %v", c.values, Passed(c.values, a), HopsAlone(c.values))
		}
	}
	for _, c := range []struct {
		values []string
		want   string
		ok     bool
	}{
		{nil, "", true},
		{[]string{"cloudflare; loops=1, cloudflare"}, "", true},
		{[]string{"cloudflare, " + a + ";x=y", b}, a + ", " + b, true},
		{[]string{"sluice-, sluice-x, sluice-cloudflares, " + a + "x," + strings.ToUpper(a)}, "", true},
		{[]string{strings.Repeat(a+",", maxHops)}, strings.TrimSuffix(strings.Repeat(a+", ", maxHops), ", "), true},
		{[]string{strings.Repeat(a+",", maxHops), b}, "", false},
	} {
		if hops, ok := Hops(c.values); hops != c.want || ok != c.ok {
			t.Errorf("%q: %q, %v", c.values, hops, ok)
		}
	}
	if Passed([]string{""}, "") {
		t.Error("one without a name was passed")
	}
}

// FuzzHops: whatever a client says, what is handed on are names like those of gateways, few of
// them, and a gateway that finds itself in what came finds itself in that.
func FuzzHops(f *testing.F) {
	a := NewHop()
	f.Add("cloudflare; loops=1, "+a+";a=\"b\"", a)
	f.Add(strings.Repeat(a+",", maxHops+1), a)
	f.Fuzz(func(t *testing.T, one, two string) {
		values := []string{one, two}
		hops, ok := Hops(values)
		if !ok {
			return
		}
		if hops != "" && !HopsAlone([]string{hops}) || len(hops) > maxHops*(len(a)+2) || strings.Count(hops, ",") >= maxHops {
			t.Errorf("%q: %q", values, hops)
		}
		if again, ok := Hops([]string{hops}); !ok || again != hops || Passed(values, a) != Passed([]string{hops}, a) {
			t.Errorf("%q: %q, and of that %q", values, hops, again)
		}
	})
}
