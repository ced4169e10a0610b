package codec

import (
	"encoding/hex"

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
	at       int   // the next of split
	err      error // for when split is through
	data     []byte
	done     bool
}

func newEvents(most int, encoding string) *events {
	return &events{hex: encoding == Hex, max: most, splitter: sse.Splitter{MaxEvent: 2*most + eventRoom}}
}

// put implements source. What next returned before is gone.
func (e *events) put(piece []byte) error {
	e.split, e.err = e.splitter.Feed(piece, e.split[:0])
	e.at = 0
	return nil
}

// next implements source. The message is valid until the next call.
func (e *events) next() (data []byte, ok bool, err error) {
	for e.at < len(e.split) {
		raw := e.split[e.at].Raw
		e.at++
		text, ok := sse.Data(raw, nil)
		if !ok {
			continue
		}
		if sse.IsDone(text) {
			e.done = true
			return nil, false, nil // what follows is of no interest
		}
		return e.decode(text)
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
	if _, ok := sse.Data(e.splitter.Tail(), nil); ok {
		return errParam("invalid_data", "data", "The stream ends within an event: the blank line after it is missing.")
	}
	return nil
}
