package upstream

import (
	"errors"
	"io"
	"sync"
)

// Sending is a request body that comes into being while its call is under way:
// messages are written one by one, by another goroutine than the one that is in
// Do and reads the reply. It is for one call, and holds one message at most.
//
// Each message leaves at once. Over HTTP/2 the reply may begin before the body
// has ended, and both sides send as they like. Over HTTP/1.1 the head leaves
// with the first message, Do returns when the body has ended or the upstream
// has answered early, and what the upstream does meanwhile is seen with the
// next message only.
type Sending struct {
	messages chan []byte   // from Send to read
	copied   chan int      // what read took of one
	ended    chan struct{} // the body is complete, or broken off
	over     chan struct{} // the call is

	end, finish     sync.Once
	endErr, overErr error // are there once the channels are closed
}

// NewSending makes a body with no message yet.
func NewSending() *Sending {
	return &Sending{
		messages: make(chan []byte), copied: make(chan int),
		ended: make(chan struct{}), over: make(chan struct{}),
	}
}

var (
	errBodyEnded = errors.New("send message: the body has ended")
	errCallOver  = errors.New("send message: the call is over")
)

// Send hands on a message, one at a time. It waits while the upstream takes
// nothing, and returns when the message is no longer needed. It fails once the
// call is over, for which Do or Reply.Next gives the reason; a call ends when
// its context is done, when Do fails and when the reply has ended.
func (s *Sending) Send(message []byte) error {
	for {
		select {
		case <-s.ended:
			return errBodyEnded
		case <-s.over:
			return s.overErr
		default: // what is over takes no message, even if it could
		}
		select {
		case s.messages <- message:
			if message = message[<-s.copied:]; len(message) == 0 {
				return nil
			}
		case <-s.ended:
			return errBodyEnded
		case <-s.over:
			return s.overErr
		}
	}
}

// Close ends the body: the upstream has all messages. The reply goes on.
func (s *Sending) Close() { s.stop(io.EOF) }

// Fail breaks the body off, so that the upstream cannot take it for complete.
// Do, or the reply, fails with err.
func (s *Sending) Fail(err error) { s.stop(err) }

func (s *Sending) stop(err error) {
	s.end.Do(func() {
		s.endErr = err
		close(s.ended)
	})
}

// finished ends all waiting in Send: the call is over.
func (s *Sending) finished(err error) {
	s.finish.Do(func() {
		s.overErr = err
		close(s.over)
	})
}

// read takes what fits of a message, waiting for one until stop is closed.
func (s *Sending) read(p []byte, stop <-chan struct{}) (int, error) {
	select {
	case message := <-s.messages:
		n := copy(p, message)
		s.copied <- n
		return n, nil
	case <-s.ended:
		return 0, s.endErr
	case <-stop:
		return 0, errDetached
	}
}
