package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"sluice/internal/config"
)

// identity sums up what decides on an upstream's answers: the protocol, the
// address, and the key and headers that say who asks. It is the same on every
// machine and after every start, and tells none of them.
func identity(u config.Upstream) string {
	b := []byte("sluice upstream 1")
	add := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, s := range [...]string{u.Protocol, u.BaseURL, u.APIKey.Reveal()} {
		add(s)
	}
	headers := make(map[string]string, len(u.Headers))
	for name, value := range u.Headers {
		headers[strings.ToLower(name)] = value
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		add(name)
		add(headers[name])
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
