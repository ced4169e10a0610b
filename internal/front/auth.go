package front

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

const hashPrefix = "sha256:"

// HashKey gives the form in which a client's key stands in the config. The key
// should be a random one of at least 128 bits: its hash is not salted.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// keyring holds the hashes of the keys that clients may use.
type keyring struct {
	tenants []tenant
	sums    [][sha256.Size]byte
	nobody  tenant // without keys
}

// tenant is who holds a key.
type tenant struct {
	name        string
	admin       bool
	passthrough passthrough
	priority    llm.Priority // the highest that its requests may have
	meter       llm.Meter    // nil for none

	// held is how many bytes its requests have reserved; nil where there is no other key.
	held *atomic.Int64
}

func newKeyring(cfg *Config) (keyring, error) {
	k := keyring{nobody: tenant{passthrough: newPassthrough(cfg.Passthrough), priority: highest, meter: cfg.Meter}}
	for _, key := range cfg.APIKeys {
		sum, err := parseHash(key.Hash)
		if err != nil {
			return k, fmt.Errorf("read API key %q: %w", key.Name, err)
		}
		most, err := mostOf(key.Priority)
		if err != nil {
			return k, fmt.Errorf("read priority of API key %q: %w", key.Name, err)
		}
		list := key.Passthrough
		if list == nil {
			list = cfg.Passthrough
		}
		t := tenant{name: key.Name, admin: key.Admin, passthrough: newPassthrough(list), priority: most, meter: key.Meter}
		if len(cfg.APIKeys) > 1 {
			t.held = new(atomic.Int64)
		}
		k.tenants = append(k.tenants, t)
		k.sums = append(k.sums, sum)
	}
	return k, nil
}

// maxKey bounds a client's key in bytes.
const maxKey = 512

// tenant returns whose key a request was sent with; inQuery is the one that stood there, ""
// for none.
func (k *keyring) tenant(h engine.Header, inQuery string) (*tenant, error) {
	if len(k.sums) == 0 {
		return &k.nobody, nil
	}
	sum, err := bearer(h, inQuery)
	if err != nil {
		return nil, err
	}
	return k.find(&sum)
}

// find returns whose key it is that has a hash.
func (k *keyring) find(sum *[sha256.Size]byte) (*tenant, error) {
	// Every key is compared, so that the time tells nothing of which one nearly
	// matched or stands first.
	found := -1
	for i := range k.sums {
		if subtle.ConstantTimeCompare(sum[:], k.sums[i][:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return nil, unauthorised("invalid_api_key", "The API key is not one that this gateway knows.")
	}
	return &k.tenants[found], nil
}

// bearer gives the hash of the key that a request was sent with.
func bearer(h engine.Header, inQuery string) (sum [sha256.Size]byte, err error) {
	values := h.Values("Authorization")
	if !slices.ContainsFunc(values, saysSomething) {
		if key := cmp.Or(otherKey(h), inQuery); key != "" {
			return hashed(key)
		}
	}
	if len(values) == 0 {
		return sum, unauthorised("no_api_key", "No API key was given. Send it in the Authorization header, as: Authorization: Bearer YOUR_KEY")
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	key = strings.TrimSpace(key)
	if len(values) > 1 || !strings.EqualFold(scheme, "bearer") || key == "" || len(key) > maxKey {
		return sum, unauthorised("invalid_api_key", "The Authorization header is not of the form: Bearer YOUR_KEY")
	}
	return hashed(key)
}

// saysSomething reports whether a value of Authorization has more in it than the scheme: what
// a program sends that has no key for it must not hide the one that it has elsewhere.
func saysSomething(value string) bool {
	value = strings.TrimSpace(value)
	return value != "" && !strings.EqualFold(value, "bearer")
}

// otherKey gives the key that stands where the SDKs of other dialects put it, or among a
// WebSocket's subprotocols; "" for none.
func otherKey(h engine.Header) string {
	for _, name := range [...]string{"X-Api-Key", "X-Goog-Api-Key"} {
		if values := h.Values(name); len(values) == 1 {
			if key := strings.TrimSpace(values[0]); key != "" {
				return key
			}
		}
	}
	return protocolKey(h)
}

func hashed(key string) (sum [sha256.Size]byte, err error) {
	if len(key) > maxKey {
		return sum, unauthorised("invalid_api_key", "The API key is longer than any that this gateway knows.")
	}
	var buf [maxKey]byte
	return sha256.Sum256(buf[:copy(buf[:], key)]), nil
}

// mayReadFigures lets a request for /metrics pass: the figures tell who asks for
// what, and how much.
func (st *state) mayReadFigures(h engine.Header) error {
	if st.cfg.OpenMetrics || len(st.keys.sums) == 0 && st.metricsKey == nil {
		return nil
	}
	sum, err := bearer(h, "")
	if err != nil {
		return err
	}
	if st.metricsKey != nil && subtle.ConstantTimeCompare(sum[:], st.metricsKey[:]) == 1 {
		return nil
	}
	who, err := st.keys.find(&sum)
	if err == nil && !who.admin {
		err = llm.Errorf(403, "metrics_key_required", "GET /metrics takes the key of an administrator, which that of %q is not, "+
			"or the one of server.metrics_key. server.open_metrics: true opens it to everybody.", who.name)
	}
	return err
}

func unauthorised(code, message string) error {
	return &llm.Error{Status: 401, Type: llm.TypeInvalidRequest, Code: code, Message: message}
}
