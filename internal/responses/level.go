package responses

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/perf"
	"sluice/internal/redis"
)

// level is the second level.
type level struct {
	client *redis.Client
	prefix string
	took   perf.Histogram
}

// What values begin with; the last byte of magic is the version.
const (
	magic  = "slr\x01"
	buried = "-" // all of a value
)

// envelope is what a value has beside the texts at most, in bytes.
const envelope = 128

func newLevel(u *redis.Use) (*level, error) {
	client, prefix, err := u.Client("store of responses", "responses:1:")
	if err != nil {
		return nil, err
	}
	return &level{client: client, prefix: prefix}, nil
}

func (l *level) place(k key) string { return l.prefix + hex.EncodeToString(k[:]) }

// do has f run within the time-out, whatever becomes of the request: what it tells the server
// is to be told.
func (l *level) do(f redis.Commands) error {
	return l.client.Do(context.Background(), func(ctx context.Context, server redis.Server) error {
		began := time.Now()
		err := f(ctx, server)
		l.took.Observe(time.Since(began))
		return err
	})
}

// read gives the first n bytes of what a key has, nil for nothing.
func (l *level) read(k key, n int64) ([]byte, error) {
	var value []byte // of no use where it was not waited for
	err := l.do(func(ctx context.Context, server redis.Server) (err error) {
		value, err = server.GetRange(ctx, l.place(k), 0, n-1).Bytes()
		if goredis.HasErrorPrefix(err, "WRONGTYPE") { // which is not from here
			value, err = nil, nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}

// put stores a value.
func (l *level) put(k key, value []byte, life time.Duration) error {
	return l.do(func(ctx context.Context, server redis.Server) error {
		return server.Set(ctx, l.place(k), value, life).Err()
	})
}

// bury puts in the place of a value that it was deleted, for those who have it in memory.
func (l *level) bury(k key, life time.Duration) (found bool, err error) {
	first, err := l.read(k, 1)
	if err != nil || len(first) == 0 || string(first) == buried {
		return false, err
	}
	err = l.do(func(ctx context.Context, server redis.Server) error {
		err := server.SetXX(ctx, l.place(k), buried, life).Err()
		if errors.Is(err, goredis.Nil) { // it has expired
			err = nil
		}
		return err
	})
	return err == nil, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // the one table there is, read only

// appendValue appends a reply as it stands in the second level. The package comment has the
// layout.
func appendValue(dst []byte, r *reply) []byte {
	from := len(dst)
	dst = append(append(dst, magic...), r.key[:]...)
	dst = binary.AppendUvarint(dst, uint64(r.expires.UnixMilli()))
	turns := r.turn.turns()
	n := 0
	earlier := func(yield func([]byte)) {
		for i, t := range turns {
			yield(t.input)
			if i < len(turns)-1 {
				yield(t.output)
			}
		}
	}
	earlier(func(items []byte) { n = joined(n, len(items)) })
	dst = appendText(dst, r.head)
	dst = binary.AppendUvarint(dst, uint64(n))
	at := len(dst)
	earlier(func(items []byte) { dst = appendItems(dst, at, items) })
	dst = appendText(dst, r.turn.output)
	dst = appendText(dst, r.tail)
	return appendSum(dst, dst[from:])
}

func appendSum(dst, value []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(value, castagnoli))
}

// joined is how long a list of n bytes becomes by more items, that long.
func joined(n, more int) int {
	if n > 0 && more > 0 {
		n++
	}
	return n + more
}

// appendItems appends items to the list that begins at from.
func appendItems(dst []byte, from int, items []byte) []byte {
	if len(dst) > from && len(items) > 0 {
		dst = append(dst, ',')
	}
	return append(dst, items...)
}

func appendText(dst, text []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// readValue reads what appendValue wrote for a key; nil for what is damaged, from elsewhere or
// of another key. The reply's texts are those of b.
func readValue(b []byte, k key) *reply {
	n := len(b) - crc32.Size
	if n < len(magic)+len(k) || string(b[:len(magic)]) != magic || key(b[len(magic):][:len(k)]) != k ||
		crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return nil
	}
	b = b[len(magic)+len(k) : n]
	ms, n := binary.Uvarint(b)
	if n <= 0 || ms > 1<<50 {
		return nil
	}
	b = b[n:]
	var texts [4][]byte
	for i := range texts {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil
		}
		texts[i], b = b[n:][:size:size], b[n:][size:]
	}
	if len(b) > 0 {
		return nil
	}
	return &reply{key: k, head: texts[0], tail: texts[3], turn: newTurn(nil, texts[1], texts[2]), expires: time.UnixMilli(int64(ms)), shared: true}
}
