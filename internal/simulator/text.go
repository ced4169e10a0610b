package simulator

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWord is the longest run of letters and digits that is one token.
const maxWord = 12

// tokenLen gives the length in bytes of the token that s begins with. A token
// is white space, if any, and then up to 12 letters or digits, or one
// character of any other kind. Ideographs are one token each.
func tokenLen(s string) int {
	i := 0
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !unicode.IsSpace(r) {
			break
		}
		i += n
	}
	for count := 0; i < len(s); count++ {
		r, n := utf8.DecodeRuneInString(s[i:])
		// 0x2E80 is where the scripts begin that are written without spaces.
		word := r < 0x2E80 && (unicode.IsLetter(r) || unicode.IsDigit(r))
		if count == 0 && !word {
			return i + n
		}
		if !word || count == maxWord {
			break
		}
		i += n
	}
	return i
}

// tokenise cuts s into tokens. Joined they are s again.
func tokenise(s string) []string {
	out := make([]string, 0, len(s)/4+1) // for words enough
	for s != "" {
		n := tokenLen(s)
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

// countTokens is len(tokenise(s)).
func countTokens(s string) int {
	count := 0
	for s != "" {
		s = s[tokenLen(s):]
		count++
	}
	return count
}

// digest is what all invention in a reply springs from.
type digest uint64

func newDigest(seed uint64, parts ...string) digest {
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	h.Write(b[:])
	for _, p := range parts {
		binary.LittleEndian.PutUint64(b[:], uint64(len(p)))
		h.Write(b[:])
		h.Write([]byte(p))
	}
	return digest(h.Sum64())
}

// rand is a generator for one purpose.
func (d digest) rand(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(d), purpose))
}

// vocabulary returns the words of invented text, some of them outside ASCII so
// that whatever carries them is put to the test.
func vocabulary() []string {
	return strings.Fields(`the a one every river water gate stone bridge lamp road field garden table window door paper
letter number answer question morning evening winter summer north south light shadow sound signal engine wheel
carries opens closes follows turns holds moves keeps finds crosses slow quick bright quiet heavy small early late
café naïve Straße Ångström δοκιμή проверка 水 門 橋 ✓ → with under over between behind toward across and but because`)
}

// prose invents text of whole sentences that has at least n tokens.
func prose(r *rand.Rand, n int) string {
	words := vocabulary()
	var b strings.Builder
	for count := 0; count < n; {
		if b.Len() > 0 {
			if r.IntN(6) == 0 {
				b.WriteString("\n\n")
			} else {
				b.WriteByte(' ')
			}
		}
		length := 4 + r.IntN(9)
		for i := range length {
			w := words[r.IntN(len(words))]
			if i == 0 {
				first, size := utf8.DecodeRuneInString(w)
				w = string(unicode.ToUpper(first)) + w[size:]
			} else {
				b.WriteByte(' ')
			}
			b.WriteString(w)
			if i > 1 && i < length-1 && r.IntN(9) == 0 {
				b.WriteByte(',')
				count++
			}
		}
		b.WriteByte('.')
		count += length + 1
	}
	return b.String()
}

// exactly returns n tokens, repeating tokens when there are too few.
func exactly(tokens []string, n int) []string {
	if len(tokens) == 0 {
		tokens = []string{"."}
	}
	for len(tokens) < n {
		tokens = append(tokens, tokens[:min(len(tokens), n-len(tokens))]...)
	}
	return tokens[:n]
}

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// identifier invents an id such as "chatcmpl-" and 24 letters and digits.
func (d digest) identifier(prefix string, purpose uint64) string {
	r := d.rand(purpose)
	b := make([]byte, 0, len(prefix)+24)
	b = append(b, prefix...)
	for range 24 {
		b = append(b, alphanumerics[r.IntN(len(alphanumerics))])
	}
	return string(b)
}
