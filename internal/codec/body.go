package codec

import (
	"io"

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
	var err error
	if k.input, err = k.c.buffers.Get(1 + min(max(int(req.BodyLen), 4<<10), trusted)); err != nil {
		return nil, err
	}
	for {
		if n := len(k.input.B); n == cap(k.input.B) {
			if k.input, err = k.c.buffers.Grow(k.input, min(2*n, most+1)); err != nil {
				return nil, err
			}
		}
		body := k.input.B
		n, err := req.BodyReader.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		k.input.B = body
		switch {
		case len(body) > most:
			return nil, errBody(most)
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		}
	}
}

func errBody(most int) error {
	return errLimit("", "The input is larger than the %d bytes that are taken here.", most)
}
