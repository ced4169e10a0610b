package front

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"
)

const (
	// acceptPause is the pause after a connection could not be accepted; it doubles
	// up to maxAcceptPause, which also bounds how much later a drain begins.
	acceptPause, maxAcceptPause = 5 * time.Millisecond, 250 * time.Millisecond
	// acceptToldEvery bounds how often that is logged, and acceptToldFor is how long
	// health tells of it.
	acceptToldEvery, acceptToldFor = 10 * time.Second, time.Minute
)

// accept waits for a connection. Where none can be had for want of file
// descriptors or memory it goes on after a pause: the client waits in the backlog,
// and others may leave meanwhile.
func (l *listener) accept() (net.Conn, error) {
	for pause := acceptPause; ; pause = min(2*pause, maxAcceptPause) {
		c, err := l.Listener.Accept()
		if err == nil || !scarce(err) {
			return c, err
		}
		l.server.lacked(err)
		time.Sleep(pause)
	}
}

// scarce reports whether an error of accepting goes away by itself.
func scarce(err error) bool {
	for _, errno := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// acceptFailure is the last time that a connection could not be accepted.
type acceptFailure struct {
	at, told time.Time // told: when it, or one before, was logged
	err      error
}

func (s *Server) lacked(err error) {
	now := time.Now()
	s.stats.notAccepted.Add(1)
	f := &acceptFailure{at: now, told: now, err: err}
	if last := s.stats.lacked.Load(); last != nil && now.Sub(last.told) < acceptToldEvery {
		f.told = last.told
	} else {
		s.log.Warn("client connections cannot be accepted", slog.Any("error", err))
	}
	s.stats.lacked.Store(f)
}
