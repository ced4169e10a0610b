package redis

import (
	"encoding/hex"
	"encoding/json"

	"sluice/internal/cache"
)

// message tells of a purge: {"from":"…","epoch":1,"model":"…","key":"<hex>"}, the
// last two only if the purge has them. The channel's name has the version.
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
}

func encode(m message) string {
	w := wireMessage{From: m.From, Epoch: m.Epoch, Model: m.Model}
	if m.Key != (cache.Key{}) {
		w.Key = hex.EncodeToString(m.Key[:])
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
	if w.Key != "" {
		key, err := hex.DecodeString(w.Key)
		if err != nil || len(key) != len(m.Key) || cache.Key(key) == (cache.Key{}) {
			return message{}, false
		}
		m.Key = cache.Key(key)
	}
	return m, true
}
