package llm

import (
	"crypto/rand"
	"strings"
)

// LoopField is the field of a request that has the names of those whom it has passed, so that
// each of them notices when it comes back (RFC 8586). The name is as a canonical one is written.
const LoopField = "Cdn-Loop"

const (
	hopPrefix = "sluice-"
	hopRandom = 12 // characters behind it
	// maxHops bounds the gateways that a request may have passed, which are handed on.
	maxHops = 8
)

// NewHop makes the name of a gateway in LoopField. It is another one after every start.
func NewHop() string { return hopPrefix + strings.ToLower(rand.Text()[:hopRandom]) }

// Passed reports whether a request has passed the gateway of a name. values are those of
// LoopField.
func Passed(values []string, hop string) bool {
	return hop != "" && anyHop(values, func(id string) bool { return id == hop })
}

// HopsAlone reports whether gateways alone have named themselves in values of LoopField.
func HopsAlone(values []string) bool {
	return !anyHop(values, func(id string) bool { return !isHop(id) })
}

// Hops gives the names of gateways among values of LoopField as one value, without their
// parameters. It is empty where there are none, and ok is false where there are more than
// are handed on. Whatever else a client, or a proxy before the gateway, has in that field is
// no upstream's affair: one that goes by it would refuse the request.
func Hops(values []string) (hops string, ok bool) {
	n := 0
	anyHop(values, func(id string) bool {
		if !isHop(id) {
			return false
		}
		if n++; n > 1 {
			hops += ", "
		}
		hops += id
		return n == maxHops+1
	})
	if n > maxHops {
		return "", false
	}
	return hops, true
}

// isHop reports whether a name is like those of NewHop.
func isHop(id string) bool {
	random, ok := strings.CutPrefix(id, hopPrefix)
	return ok && len(random) == hopRandom && strings.Trim(random, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// anyHop reports whether f is true for one of the names, of which each may have parameters.
func anyHop(values []string, f func(id string) bool) bool {
	for _, v := range values {
		for info := range strings.SplitSeq(v, ",") {
			id, _, _ := strings.Cut(info, ";")
			if id = strings.Trim(id, " \t"); id != "" && f(id) {
				return true
			}
		}
	}
	return false
}
