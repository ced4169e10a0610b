//go:build linux

package lean

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher learns when peers end their connections. It is an epoll instance of its
// own, to which each socket is added once: the runtime's would tell nobody who does
// not read. It is waited for as for a file, by a goroutine and not by a thread.
type watcher struct {
	file   *os.File
	raw    syscall.RawConn
	events [128]unix.EpollEvent
}

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else NewFile makes none that is waited for
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "epoll")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		_ = w.file.Close()
		return nil, err
	}
	return w, nil
}

// add has events of a socket told of under a number, once each. What has happened
// already is told of too. A socket that is closed is taken out by the kernel.
func (w *watcher) add(socket syscall.RawConn, number uint64) error {
	return w.control(socket, unix.EPOLL_CTL_ADD, endings(number))
}

// endings are the events by which a peer ends its connection. HUP and ERR come unasked.
func endings(number uint64) *unix.EpollEvent {
	return &unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(number), Pad: int32(number >> 32)}
}

// listen has it told as well, or not any more, that something has come.
func (w *watcher) listen(socket syscall.RawConn, number uint64, on bool) error {
	event := endings(number)
	if on {
		event.Events |= unix.EPOLLIN
	}
	return w.control(socket, unix.EPOLL_CTL_MOD, event)
}

// drop takes a socket out.
func (w *watcher) drop(socket syscall.RawConn) {
	_ = w.control(socket, unix.EPOLL_CTL_DEL, new(unix.EpollEvent))
}

func (w *watcher) control(socket syscall.RawConn, op int, event *unix.EpollEvent) error {
	var failed error
	err := w.raw.Control(func(epoll uintptr) {
		failed = socket.Control(func(fd uintptr) {
			if err := unix.EpollCtl(int(epoll), op, int(fd), event); err != nil {
				failed = os.NewSyscallError("epoll_ctl", err)
			}
		})
	})
	if err == nil {
		err = failed
	}
	return err
}

// run tells of events, as what is known of the peer by them, until the watcher is closed.
func (w *watcher) run(tell func(number uint64, peer int32)) {
	n := 0
	take := func(fd uintptr) bool {
		var err error
		if n, err = unix.EpollWait(int(fd), w.events[:], 0); err != nil {
			n = 0
		}
		return n > 0
	}
	for w.raw.Read(take) == nil {
		for _, e := range w.events[:n] {
			peer := int32(here)
			switch {
			case e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0:
				peer = gone
			case e.Events&unix.EPOLLRDHUP != 0:
				peer = ended
			}
			tell(uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32, peer)
		}
	}
}

func (w *watcher) close() { _ = w.file.Close() }
