package codec

import (
	"context"
	"io"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

// trusted is how much memory in bytes is taken because a client announces a body
// of that size. What is more comes as the body does.
const trusted = 64 << 10

// read gives the request's whole body, at most MaxInputBytes of it.
func (k *conversion) read(ctx context.Context, req *llm.Request) ([]byte, error) {
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
	room := 1 + min(max(int(req.BodyLen), 4<<10), trusted)
	err := k.grant.claim.Reserve(ctx, k.c.held, int64(memory.Room(room)))
	if err != nil {
		return nil, err
	}
	if k.input, err = k.c.buffers.GetPaid(memory.Owner{Part: "codec_input", ID: req.ID}, room); err != nil {
		return nil, err
	}
	for {
		if n := len(k.input.B); n == cap(k.input.B) {
			room := min(2*n, most+1)
			if err := k.grant.claim.Reserve(ctx, k.c.held, int64(memory.Room(room))); err != nil {
				return nil, err
			}
			if k.input, err = k.c.buffers.Grow(k.input, room); err != nil {
				return nil, err
			}
			k.grant.claim.Give(k.c.held, int64(n))
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

// growth is how many times its input's size a result is taken to have while it is
// made.
const growth = 4

// reserveResult has memory for what an input of size bytes becomes, most often. What is
// more is asked for as it comes.
func (k *conversion) reserveResult(ctx context.Context, size int) error {
	return k.grant.accept(ctx, int64(min(growth*size, k.c.cfg.MaxOutputBytes)))
}

func errBody(most int) error {
	return errLimit("", "The input is larger than the %d bytes that are taken here.", most)
}
