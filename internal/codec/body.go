package codec

import (
	"io"
	"slices"

	"sluice/internal/llm"
)

// trusted is how much memory in bytes is taken because a client announces a body
// of that size. What is more comes as the body does.
const trusted = 64 << 10

// read gives the request's whole body, at most MaxInputBytes of it.
func (k *conversion) read(req *llm.Request) ([]byte, error) {
	most := k.c.cfg.MaxInputBytes
	if req.BodyReader == nil {
		if len(req.Body) > most {
			return nil, errBody(most)
		}
		return req.Body, nil
	}
	if req.BodyLen > int64(most) {
		return nil, errBody(most)
	}
	// One byte more has room, so that the end shows without growing.
	k.body = slices.Grow(k.body, 1+min(max(int(req.BodyLen), 4<<10), trusted))
	for {
		if len(k.body) == cap(k.body) {
			k.body = slices.Grow(k.body, 1)
		}
		n, err := req.BodyReader.Read(k.body[len(k.body):cap(k.body)])
		k.body = k.body[:len(k.body)+n]
		switch {
		case len(k.body) > most:
			return nil, errBody(most)
		case err == io.EOF:
			return k.body, nil
		case err != nil:
			return nil, err
		}
	}
}

func errBody(most int) error {
	return errLimit("", "The input is larger than the %d bytes that are taken here.", most)
}
