package soak

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ledger holds what became of all requests.
type ledger struct {
	book     sync.Mutex
	outcomes map[string]map[string]int // by kind
	faults   map[string]int            // what was wrong, by kind and what
	examples map[string][]string
	ids      map[uint64]struct{}
	statuses map[string]map[string]int // by operation and class, as /metrics has them
	left     map[string]int            // by operation: clients that left, of which nobody knows how far they got
}

// shown is how many examples of a fault are.
const shown = 4

// ended notes what became of a request of a kind.
func (l *ledger) ended(kind, what string) {
	l.book.Lock()
	defer l.book.Unlock()
	if l.outcomes == nil {
		l.outcomes = map[string]map[string]int{}
	}
	if l.outcomes[kind] == nil {
		l.outcomes[kind] = map[string]int{}
	}
	l.outcomes[kind][what]++
}

// wrong notes what must not be: "what: details".
func (l *ledger) wrong(kind, fault string) {
	what, _, _ := strings.Cut(fault, ":")
	l.ended(kind, "WRONG")
	l.book.Lock()
	defer l.book.Unlock()
	if l.faults == nil {
		l.faults, l.examples = map[string]int{}, map[string][]string{}
	}
	key := kind + ": " + what
	l.faults[key]++
	if len(l.examples[key]) < shown {
		l.examples[key] = append(l.examples[key], fault)
	}
}

var seed = maphash.MakeSeed()

// identified reports whether the id of a reply is another one than all before.
func (l *ledger) identified(id string) bool {
	sum := maphash.String(seed, id)
	l.book.Lock()
	defer l.book.Unlock()
	if l.ids == nil {
		l.ids = map[uint64]struct{}{}
	}
	_, known := l.ids[sum]
	l.ids[sum] = struct{}{}
	return id != "" && !known
}

// counted notes a request as the gateway counts it.
func (l *ledger) counted(operation, class string) {
	l.book.Lock()
	defer l.book.Unlock()
	if l.statuses == nil {
		l.statuses, l.left = map[string]map[string]int{}, map[string]int{}
	}
	if class == classLeft {
		l.left[operation]++
	}
	if l.statuses[operation] == nil {
		l.statuses[operation] = map[string]int{}
	}
	l.statuses[operation][class]++
}

// Classes of requests as the gateway counts them, beside 2xx and its like.
const (
	classLeft   = "client_left"
	classBroken = "broken"
)

// print writes what became of each kind.
func (l *ledger) print(w io.Writer) {
	fmt.Fprint(w, "\n| kind | requests | what became of them |\n| --- | ---: | --- |\n")
	for _, kind := range slices.Sorted(maps.Keys(l.outcomes)) {
		all := l.outcomes[kind]
		sum := 0
		var parts []string
		for _, what := range slices.SortedFunc(maps.Keys(all), func(a, b string) int { return cmp.Or(all[b]-all[a], strings.Compare(a, b)) }) {
			sum += all[what]
			parts = append(parts, fmt.Sprintf("%d %s", all[what], what))
		}
		fmt.Fprintf(w, "| %s | %d | %s |\n", kind, sum, strings.Join(parts, ", "))
	}
}

// faulty prints what was wrong, and reports whether anything was.
func (l *ledger) faulty(w io.Writer) bool {
	for _, key := range slices.Sorted(maps.Keys(l.faults)) {
		fmt.Fprintf(w, "\n%d × %s\n", l.faults[key], key)
		for _, e := range l.examples[key] {
			fmt.Fprintf(w, "    %s\n", e)
		}
	}
	return len(l.faults) > 0
}
