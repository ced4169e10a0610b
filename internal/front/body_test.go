package front

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/front/engine"
)

// drip is a body that gives a byte a second.
type drip struct {
	engine.Exchange
	until time.Time
}

var errBroken = errors.New("broken pipe")

func (d *drip) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	if time.Now().After(d.until) {
		return 0, errBroken
	}
	p[0] = 'x'
	return 1, nil
}

func (d *drip) SetReadDeadline(t time.Time) { d.until = t }

// A body has to arrive at some rate on average, but for one whose messages are
// made while it is sent. That one's pauses alone are bounded.
func TestSlowBody(t *testing.T) {
	for live, want := range map[bool]int64{false: 10, true: 100} {
		synctest.Test(t, func(t *testing.T) {
			d := &drip{}
			b := body{e: d, src: d, timeout: 10 * time.Second, limit: 100, began: time.Now(), live: live}
			_, err := io.Copy(io.Discard, &b)
			if err == nil || b.n != want && b.n != want+1 {
				t.Errorf("live %v: %d bytes, %v", live, b.n, err)
			}
		})
	}
}
