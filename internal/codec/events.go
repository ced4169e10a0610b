package codec

import (
	"encoding/hex"
	"errors"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

// eventRoom is what an event may have beside its message, in bytes.
const eventRoom = 4 << 10

// events is a source of messages that are the data of server-sent events, in
// base64 or hex. Events without data are passed over, and "[DONE]" ends it.
type events struct {
	hex      bool
	max      int // bytes of a message
	splitter sse.Splitter
	split    []llm.Event
	at       int    // the next of split
	err      error  // for when split is through
	text     []byte // of an event whose data stands in several fields
	data     []byte
	done     bool

	// Of the splitter's buffer, of split, text and data.
	carried, splitRoom, textRoom, dataRoom room
}

// newEvents makes one of which what it holds is reserved in a grant.
func newEvents(most int, encoding string, g *grant) *events {
	e := &events{hex: encoding == Hex, max: most}
	e.carried.grant, e.splitRoom.grant, e.textRoom.grant, e.dataRoom.grant = g, g, g, g
	e.splitter = sse.Splitter{MaxEvent: 2*most + eventRoom, Grow: e.carried.least}
	return e
}

// put implements source. What next returned before is gone.
func (e *events) put(piece []byte) error {
	e.split, e.err = e.splitter.Feed(piece, e.split[:0])
	e.at = 0
	return e.splitRoom.fit(cap(e.split) * eventBytes)
}

// trim implements source.
func (e *events) trim() error {
	if e.at = 0; cap(e.split) > keepEvents {
		e.split = nil
	}
	e.split = e.split[:0]
	if cap(e.data) > keepBuffer {
		e.data = nil
	}
	if cap(e.text) > keepBuffer {
		e.text = nil
	}
	e.splitter.Trim()
	return errors.Join(e.splitRoom.fit(cap(e.split)*eventBytes), e.textRoom.fit(cap(e.text)),
		e.dataRoom.fit(cap(e.data)), e.carried.fit(e.splitter.Cap()))
}

// next implements source. The message is valid until the next call.
func (e *events) next() (data []byte, ok bool, err error) {
	for e.at < len(e.split) {
		raw := e.split[e.at].Raw
		e.at++
		text, n := sse.DataFields(raw)
		if n == 0 {
			continue
		}
		if n > 1 {
			if e.text, err = e.textRoom.least(e.text[:0], len(raw)); err != nil {
				return nil, false, err
			}
			text, _ = sse.Data(raw, e.text)
			e.text = text
		}
		if sse.IsDone(text) {
			e.done = true
			return nil, false, nil // what follows is of no interest
		}
		return e.decode(text)
	}
	if e.err != nil && !errors.Is(e.err, sse.ErrTooLarge) {
		return nil, false, e.err
	}
	if e.err != nil {
		return nil, false, errLimit("data", "The event has more than %d bytes.", e.splitter.MaxEvent)
	}
	return nil, false, nil
}

func (e *events) decode(text []byte) (data []byte, ok bool, err error) {
	if cap(e.data) > keepBuffer {
		e.data = nil
	}
	if e.data, err = e.dataRoom.least(e.data[:0], len(text)); err != nil {
		return nil, false, err
	}
	if e.hex {
		if e.data, err = hex.AppendDecode(e.data[:0], text); err != nil {
			return nil, false, errParam("invalid_data", "data", "The message is not valid hex: %v.", err)
		}
	} else if e.data, err = appendText64(e.data[:0], text); err != nil {
		return nil, false, err
	}
	if len(e.data) > e.max {
		return nil, false, errLimit("data", "The message has %d bytes, more than the %d that are taken.", len(e.data), e.max)
	}
	return e.data, true, nil
}

// ended implements source.
func (e *events) ended() bool { return e.done }

// rest implements source.
func (e *events) rest() error {
	if e.done {
		return nil
	}
	if _, n := sse.DataFields(e.splitter.Tail()); n > 0 {
		return errParam("invalid_data", "data", "The stream ends within an event: the blank line after it is missing.")
	}
	return nil
}
