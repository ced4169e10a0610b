package jsonscan

import (
	"encoding/json"
	"sluice/internal/testkit"
	"strings"
	"testing"
)

func TestTexts(t *testing.T) { testkit.Each(t, testTexts) }

func testTexts(t *testing.T, in testkit.Inputs) {
	// What RFC 8259 leaves open: numbers of any size and escapes of half a
	// surrogate pair are accepted, other encodings than UTF-8 and a byte order
	// mark are not.
	accepts := func(name string) bool {
		return strings.HasPrefix(name, "i_number_") || strings.HasPrefix(name, "i_structure_500_") ||
			strings.Contains(name, "surrogate") && !strings.Contains(name, "UTF8")
	}
	for _, text := range in.Texts(t) {
		name, body := text.Name, text.Body
		fault := Validate(body, 0)
		switch {
		case strings.HasPrefix(name, "n_") && fault == nil:
			t.Errorf("%s was accepted", name)
		case strings.HasPrefix(name, "y_") && fault != nil:
			t.Errorf("%s: %v", name, fault)
		case strings.HasPrefix(name, "i_") && (fault == nil) != accepts(name):
			t.Errorf("%s: %v", name, fault)
		}
		if fault == nil && !json.Valid(body) {
			t.Errorf("%s is not accepted by encoding/json", name)
		}
	}
}

func TestNaughtyStrings(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		list := in.Strings(t)
		body, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(body, 0); err != nil {
			t.Error(err)
		}
		for _, s := range list {
			checkString(t, s)
		}
	})
}

// checkString encodes and decodes s, here and in encoding/json.
func checkString(t *testing.T, s string) {
	t.Helper()
	raw := AppendString(nil, s)
	if n := Room([]byte(s)); n < len(raw) {
		t.Errorf("%q takes %d bytes, not %d at most", s, len(raw), n)
	}
	var theirs string
	if err := json.Unmarshal(raw, &theirs); err != nil || theirs != strings.ToValidUTF8(s, "\ufffd") && strings.ToValidUTF8(s, "") == s {
		t.Errorf("%q was encoded as %s: %v", s, raw, err)
	}
	if got, err := String(raw); err != nil || got != theirs {
		t.Errorf("%s was decoded as %q, %v", raw, got, err)
	}
	other, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := String(other); err != nil || got != theirs {
		t.Errorf("%s was decoded as %q, %v", other, got, err)
	}
}

// bodies gives the JSON requests and replies.
func bodies(t testing.TB, in testkit.Inputs) (list [][]byte) {
	t.Helper()
	for _, p := range in.Pairs(t) {
		for _, s := range []string{p.Request, p.Response} {
			if json.Valid([]byte(s)) {
				list = append(list, []byte(s))
			}
		}
	}
	return list
}

func TestRecordedBodies(t *testing.T) {
	testkit.Simulation(t)
	testkit.Each(t, testBodies)
}

func testBodies(t *testing.T, in testkit.Inputs) {
	for _, body := range bodies(t, in) {
		if err := Validate(body, 0); err != nil {
			t.Fatalf("%v: %.200s", err, body)
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil {
			continue
		}
		for key, want := range members {
			v, ok := Get(body, key)
			if !ok || string(body[v.Start:v.End]) != string(want) {
				t.Errorf("Get %q of %.200s", key, body)
			}
		}
	}
}
