package redis

import (
	"encoding/hex"
	"encoding/json"

	"sluice/internal/cache"
)

// message tells of a purge: {"from":"…","epoch":1,"model":"…","key":"<hex>","id":"<hex>"},
// the last three only if the purge has them. The channel's name has the version.
// Who does not know of ids forgets everything.
type message struct {
	From  string // who purged
	Epoch int64  // the number of the purge
	cache.Purge
}

// maxMessage bounds a message, in bytes.
const maxMessage = 64 << 10

type wireMessage struct {
	From  string `json:"from"`
	Epoch int64  `json:"epoch"`
	Model string `json:"model,omitempty"`
	Key   string `json:"key,omitempty"`
	ID    string `json:"id,omitempty"`
}

func encode(m message) string {
	w := wireMessage{From: m.From, Epoch: m.Epoch, Model: m.Model}
	for _, k := range []struct {
		from cache.Key
		to   *string
	}{{m.Key, &w.Key}, {m.ID, &w.ID}} {
		if k.from != (cache.Key{}) {
			*k.to = hex.EncodeToString(k.from[:])
		}
	}
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// decode reads a message; it reports false for what is none.
func decode(text string) (m message, ok bool) {
	var w wireMessage
	if len(text) > maxMessage || json.Unmarshal([]byte(text), &w) != nil || w.From == "" {
		return message{}, false
	}
	m.From, m.Epoch, m.Model = w.From, w.Epoch, w.Model
	for _, k := range []struct {
		from string
		to   *cache.Key
	}{{w.Key, &m.Key}, {w.ID, &m.ID}} {
		if k.from == "" {
			continue
		}
		key, err := hex.DecodeString(k.from)
		if err != nil || len(key) != len(k.to) || cache.Key(key) == (cache.Key{}) {
			return message{}, false
		}
		*k.to = cache.Key(key)
	}
	return m, true
}
