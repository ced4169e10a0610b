package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strings"

	"sluice/internal/config"
	"sluice/internal/dialect/known"
	"sluice/internal/translate"
	"sluice/internal/upstream"
)

// identity sums up what decides on an upstream's answers: the protocol, the
// address, the key and headers that say who asks, and whatever else its
// protocol is told. It is the same on every machine and after every start, and
// tells none of them.
//
// Every field of the configuration is in it, in their order, but for those that
// are tagged `identity:"-"`: a new one cannot be forgotten. Unless it is tagged,
// it changes the identities, and what was cached is not found any more.
func identity(u config.Upstream) string {
	d := digest{b: []byte("sluice upstream 1")}
	d.put(reflect.ValueOf(u), "", 0)
	sum := sha256.Sum256(d.b)
	return hex.EncodeToString(sum[:])
}

// identityWith is identity, with what of the translation decides on the answers: a service that
// requires a limit of them cuts them at ours where a client set none. With the limit that is the
// default it is identity alone.
func identityWith(u config.Upstream, cfg translate.Config) string {
	id := identity(u)
	if limit := cfg.MaxTokens; limit != translate.Default().MaxTokens && known.Limited(upstream.SpeechOf(u.Settings).Asks) {
		id += fmt.Sprintf("/%d", limit)
	}
	return id
}

// digest puts values one behind the other, such that two configurations of one
// protocol give the same bytes only when they are the same.
type digest struct {
	b    []byte
	open bool // the last field can be of any length, and has no end yet
}

// noLength ends a list or a map: no text is so long.
const noLength = math.MaxUint64

func (d *digest) text(s string) {
	if d.open {
		d.b = binary.AppendUvarint(d.b, noLength)
		d.open = false
	}
	d.b = binary.AppendUvarint(d.b, uint64(len(s)))
	d.b = append(d.b, s...)
}

// put puts in a value with all that is in it. tag is that of its field, depth
// how many lists, maps and pointers it is inside of.
func (d *digest) put(v reflect.Value, tag string, depth int) {
	switch v.Kind() {
	case reflect.Struct: // one of them is a secret
		for f, value := range v.Fields() {
			if tag := f.Tag.Get("identity"); tag != "-" {
				d.put(value, tag, depth)
			}
		}
	case reflect.Interface: // of the one kind that the protocol says
		if !v.IsNil() {
			d.put(v.Elem().Elem(), tag, depth)
		}
	case reflect.Pointer:
		d.text(fmt.Sprint(!v.IsNil()))
		if !v.IsNil() {
			d.put(v.Elem(), tag, depth+1)
		}
	case reflect.Slice, reflect.Array:
		d.begin(v, depth)
		for i := range v.Len() {
			d.put(v.Index(i), tag, depth+1)
		}
		d.open = depth == 0
	case reflect.Map:
		d.begin(v, depth)
		for _, e := range entries(v, tag == "fold") {
			d.text(e.key)
			d.put(e.value, tag, depth+1)
		}
		d.open = depth == 0
	default:
		d.text(fmt.Sprint(v))
	}
}

// begin begins a list or a map. A field's has its end where the next begins;
// one inside of another is told by its length.
func (d *digest) begin(v reflect.Value, depth int) {
	if depth > 0 {
		d.text(fmt.Sprint(v.Len()))
	} else if d.open {
		d.b = binary.AppendUvarint(d.b, noLength)
	}
	d.open = false
}

type entry struct {
	key   string
	value reflect.Value
}

// entries lists a map in the order of its keys, which are made lower case with
// fold.
func entries(m reflect.Value, fold bool) []entry {
	list := make([]entry, 0, m.Len())
	for it := m.MapRange(); it.Next(); {
		key := fmt.Sprint(it.Key())
		if fold {
			key = strings.ToLower(key)
		}
		list = append(list, entry{key, it.Value()})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].key < list[j].key })
	return list
}
