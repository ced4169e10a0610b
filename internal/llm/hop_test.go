package llm

import (
	"strings"
	"testing"
)

func TestHops(t *testing.T) {
	a, b := NewHop(), NewHop()
	if a == b || len(a) < 16 || strings.Trim(a, "sluice-abcdefghijklmnopqrstuvwxyz234567") != "" {
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
	if Passed([]string{""}, "") {
		t.Error("one without a name was passed")
	}
}
