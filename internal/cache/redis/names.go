package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"sluice/internal/cache"
)

// names makes the names of keys; the package comment says how they look.
type names struct {
	base    string // what all begin with
	epoch   string
	channel string
}

// modelLen is how long the name of a model is within a key.
const modelLen = 16

func newNames(prefix string) names {
	base := prefix + "1:"
	return names{base: base, epoch: base + "epoch", channel: base + "purge"}
}

func (n names) place(p cache.Place) string {
	b := make([]byte, 0, maxPrefix+2+modelLen+1+2*len(p.Key))
	b = append(b, n.base...)
	b = appendModel(b, p.Model)
	b = append(b, ':')
	return string(hex.AppendEncode(b, p.Key[:]))
}

func appendModel(b []byte, model string) []byte {
	sum := sha256.Sum256([]byte(model))
	return hex.AppendEncode(b, sum[:modelLen/2])
}

// pattern matches the keys of the replies that p is about, for SCAN.
func (n names) pattern(p cache.Purge) string {
	b := []byte(glob.Replace(n.base))
	if p.Model == "" {
		b = append(b, '*') // not the epoch, which has no colon after it
	} else {
		b = appendModel(b, p.Model)
	}
	b = append(b, ':')
	if p.Key == (cache.Key{}) {
		return string(append(b, '*'))
	}
	return string(hex.AppendEncode(b, p.Key[:]))
}

// glob takes the meaning from the characters that have one in a pattern.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`) //nolint:gochecknoglobals // it has no state
