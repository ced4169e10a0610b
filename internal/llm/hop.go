package llm

import (
	"crypto/rand"
	"strings"
)

// LoopField is the field of a request that has the names of those whom it has passed, so that
// each of them notices when it comes back (RFC 8586). The name is as a canonical one is written.
const LoopField = "Cdn-Loop"

const hopPrefix = "sluice-"

// NewHop makes the name of a gateway in LoopField. It is another one after every start.
func NewHop() string { return hopPrefix + strings.ToLower(rand.Text()[:12]) }

// Passed reports whether a request has passed the gateway of a name. values are those of
// LoopField.
func Passed(values []string, hop string) bool {
	return hop != "" && anyHop(values, func(id string) bool { return id == hop })
}

// HopsAlone reports whether gateways alone have named themselves in values of LoopField.
func HopsAlone(values []string) bool {
	return !anyHop(values, func(id string) bool { return !strings.HasPrefix(id, hopPrefix) })
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
