package simulator

import (
	"io"

	"sluice/internal/memory"
)

// room is the memory that one exchange has for what it reads and makes. What is expected to
// take more than small is reserved before it is there.
type room struct {
	account    *memory.Account // nil is without bound
	need, held int64
}

// small is what an exchange may have without a reservation, in bytes.
const small = 16 << 10

// take asks for n bytes more, which the exchange has until it ends. It panics with
// an *llm.Error of status 400 where there never is so much room, and of 503 where there is none now.
func (r *room) take(n int) {
	r.need += int64(n)
	if r.need <= small {
		return
	}
	if !r.account.Fits(r.need) {
		panic(badRequest("", "reply_too_large", "The call and its reply would take more memory than the simulator may have. Ask for less."))
	}
	if err := r.account.Begin(r.need - r.held); err != nil {
		panic(err)
	}
	r.held = r.need
}

// reserved is a reader of what the room is taken for, four times as much: a buffer that grows,
// and what is made of it.
type reserved struct {
	io.Reader
	room *room
}

func (r reserved) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.room.take(4 * n)
	return n, err
}

// end gives back what was taken.
func (r *room) end() { r.account.Give(r.held) }

// written takes what tokens that there are need when they are joined and encoded.
func (r *room) written(tokens ...string) {
	r.take(512)
	for _, t := range tokens {
		n := len(t)
		for i := range len(t) {
			if c := t[i]; c < ' ' || c == '"' || c == '\\' {
				n += 5 // it may become \u0000
			}
		}
		r.take(4 * n)
	}
}
