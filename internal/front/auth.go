package front

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

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
	names  []string
	admins []bool
	sums   [][sha256.Size]byte
}

func newKeyring(keys []APIKey) (keyring, error) {
	var k keyring
	for _, key := range keys {
		sum, err := parseHash(key.Hash)
		if err != nil {
			return k, fmt.Errorf("read API key %q: %w", key.Name, err)
		}
		k.names = append(k.names, key.Name)
		k.admins = append(k.admins, key.Admin)
		k.sums = append(k.sums, sum)
	}
	return k, nil
}

// maxKey bounds a client's key in bytes.
const maxKey = 512

// tenant returns the name of the key that a request was sent with and whether
// it is an administrator's; "" and false when no keys are configured.
func (k *keyring) tenant(h http.Header) (name string, admin bool, err error) {
	if len(k.sums) == 0 {
		return "", false, nil
	}
	values := h["Authorization"]
	if len(values) == 0 {
		return "", false, unauthorised("no_api_key", "No API key was given. Send it in the Authorization header, as: Authorization: Bearer YOUR_KEY")
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	key = strings.TrimSpace(key)
	if len(values) > 1 || !strings.EqualFold(scheme, "bearer") || key == "" || len(key) > maxKey {
		return "", false, unauthorised("invalid_api_key", "The Authorization header is not of the form: Bearer YOUR_KEY")
	}
	var buf [maxKey]byte
	sum := sha256.Sum256(buf[:copy(buf[:], key)])
	// Every key is compared, so that the time tells nothing of which one nearly
	// matched or stands first.
	found := -1
	for i := range k.sums {
		if subtle.ConstantTimeCompare(sum[:], k.sums[i][:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return "", false, unauthorised("invalid_api_key", "The API key is not one that this gateway knows.")
	}
	return k.names[found], k.admins[found], nil
}

func unauthorised(code, message string) error {
	return &llm.Error{Status: http.StatusUnauthorized, Type: llm.TypeInvalidRequest, Code: code, Message: message}
}
