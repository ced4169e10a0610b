package successor

import (
	"slices"
	"testing"
)

func TestForgets(t *testing.T) {
	m := New(10)
	observe(m, 7, 1, 2, 1, 2, 1)
	for n := range 10 {
		observe(m, 7, 100+n)
	}
	if got := observe(m, 7, 1); got != nil {
		t.Errorf("predicted %v, which was forgotten", got)
	}
	// Nor does the slot that 2 had stand for what has it now.
	m = New(3)
	observe(m, 7, 1, 2, 1, 2, 1, 3, 1, 4)
	if got := observe(m, 7, 1); slices.ContainsFunc(got, func(n int) bool { return n != 2 }) {
		t.Errorf("after 1 come %v", got)
	}
}

// What cannot be predicted any more keeps no place of a key's successors.
func TestForgottenSuccessorsMakeRoom(t *testing.T) {
	m := New(5)
	for range 4 {
		observe(m, 7, 1, 2, 1, 3, 1, 4, 1, 5)
	}
	for n := range 4 {
		observe(m, 7, 1, 100+n) // 2 to 5 are forgotten, one after the other
	}
	observe(m, 7, 1, 6, 1, 7, 1, 8, 1, 9)
	n := &m.nodes[m.keys.find(place{7, key(1)})]
	for i, next := range n.next {
		if !m.valid(next) || n.count[i] != 1 {
			t.Errorf("successor %d followed %d times, valid %v", i, n.count[i], m.valid(next))
		}
	}
}

// A client that asks for ever new things takes nothing from smaller ones.
func TestLargestContextGivesWay(t *testing.T) {
	m := New(100)
	observe(m, 1, 1, 2, 1, 2)
	observe(m, 2, 3, 4, 5, 3, 4, 5)
	for n := range 1000 {
		observe(m, 3, 1000+n)
	}
	for context, want := range map[uint64][]int{1: {1, 2}, 2: {3, 4}} {
		if got := observe(m, context, want[0]); !slices.Equal(got, want[1:]) {
			t.Errorf("context %d: after %d come %v", context, want[0], got)
		}
	}
	if s := m.Stats(); s.Keys != 100 || s.Forgotten != 1000-95 {
		t.Errorf("stats %+v", s)
	}
}

// Nor does the largest, also when another was the largest before.
func TestSmallerContextKeepsItsKeys(t *testing.T) {
	m := New(80)
	for n := range 40 {
		observe(m, 1, n)
		observe(m, 2, n)
	}
	for n := range 30 {
		observe(m, 3, n) // takes from one of the two
	}
	before := [...]int{m.context[0].held, m.context[1].held, m.context[2].held}
	observe(m, 2, 100)
	if after := [...]int{m.context[0].held, m.context[1].held, m.context[2].held}; after != before {
		t.Errorf("the contexts held %v keys, and %v when the largest had a new one", before, after)
	}
}

// What comes to stand where a context's last key stood did not lead to its next.
func TestForgottenKeyLeadsNowhere(t *testing.T) {
	m := New(3)
	for context := range uint64(4) {
		observe(m, context, 1)
	}
	observe(m, 1, 2)
	observe(m, 0, 2) // its first key was forgotten for what context 3 and then context 1 asked for
	for slot := range m.nodes {
		if n := m.nodes[slot].followed; n > 0 {
			t.Errorf("slot %d: another key came next %d times", slot, n)
		}
	}
}

// However many clients there are, those beyond the bound only lose their place.
func TestContextsAreBounded(t *testing.T) {
	m := New(7 * maxContexts)
	for context := range uint64(3 * maxContexts) {
		observe(m, 1+context, 1, 2)
		observe(m, 0, int(context)%3)
	}
	if got := observe(m, 0, 0); !slices.Equal(got, []int{1}) {
		t.Errorf("the one that kept asking: after 0 come %v, want 1", got)
	}
	if s := m.Stats(); s.Contexts != maxContexts || s.Keys != 6*maxContexts+3 {
		t.Errorf("stats %+v", s)
	}
	check(t, m)
}

// A context that takes the place of another one does not go on from its key.
func TestNewContextBeginsAnew(t *testing.T) {
	m := New(2 * maxContexts)
	for range 4 {
		for context := range uint64(maxContexts + 1) {
			observe(m, context, int(context))
		}
	}
	for context := range uint64(maxContexts + 1) {
		if got := m.Observe(nil, context, key(int(context))); len(got) > 0 {
			t.Fatalf("context %d, which asks for one thing only, is given %d predictions", context, len(got))
		}
	}
}

// check tells whether each key is found, and on the list of one context.
func check(t *testing.T, m *Model) {
	t.Helper()
	listed := 0
	for c := range m.context {
		n := 0
		for slot := m.context[c].keys.newest; slot != none; slot = m.byUse[slot].older {
			if m.nodes[slot].owner != int32(c) || m.keys.find(m.keys.keys[slot]) != slot {
				t.Fatalf("slot %d is lost", slot)
			}
			n++
		}
		if n != m.context[c].held {
			t.Fatalf("context %d holds %d keys and says %d", c, n, m.context[c].held)
		}
		listed += n
	}
	contexts := 0
	for c := m.order.newest; c != none && contexts <= maxContexts; c = m.recent[c].older {
		contexts++
	}
	if s := m.Stats(); contexts != s.Contexts {
		t.Fatalf("%d contexts are listed, stats %+v", contexts, s)
	}
	if s := m.Stats(); listed != s.Keys || s.Keys > len(m.nodes) || s.Contexts > maxContexts {
		t.Fatalf("%d keys are listed, stats %+v", listed, s)
	}
}

func TestSizeIsAtLeastOne(t *testing.T) {
	m := New(-1)
	if got := observe(m, 7, 1, 2, 1, 2, 1); got != nil {
		t.Errorf("one key alone predicts %v", got)
	}
	if s := m.Stats(); s.Keys != 1 || s.Observed != 5 || s.Forgotten != 4 {
		t.Errorf("stats %+v", s)
	}
}
