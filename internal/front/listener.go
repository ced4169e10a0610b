package front

import (
	"net"
	"sync"
	"time"

	"sluice/internal/memory"
)

// listener bounds the connections that are open at once, whichever engine has them.
type listener struct {
	net.Listener
	server *Server
}

const busyReply = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
	`{"error":{"message":"The gateway has as many connections as it may have, or has memory for. Try again.","type":"server_error","param":null,"code":"overloaded"}}`

const (
	// connectedShare is how much of the budget open connections may take: clients need no
	// key for them.
	connectedShare = 0.25
	// connBytes is what a connection takes while it is open, and sealedBytes what one does
	// with TLS. TestMemoryOfConnections of e2e bounds it.
	connBytes, sealedBytes = 1 << 10, 20 << 10
	// alwaysConnected is what connections may take in any case, in bytes.
	alwaysConnected = 64 * sealedBytes
)

// Accept waits for a connection. One above the limit is told so and closed, as
// a client that waits in the backlog learns nothing.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.accept()
		if err != nil {
			return nil, err
		}
		cfg, stats := &l.server.state.Load().cfg, &l.server.stats
		room := int64(connBytes)
		if cfg.TLS.Cert != "" {
			room = sealedBytes
		}
		if stats.connections.Add(1) > int64(cfg.MaxConnections) {
			stats.rejected[tooMany].Add(1)
		} else if l.server.connRoom(room) {
			return &conn{Conn: c, stats: stats, account: l.server.connected, room: room}, nil
		}
		stats.connections.Add(-1)
		if cfg.TLS.Cert == "" {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = c.Write([]byte(busyReply))
		}
		_ = c.Close()
	}
}

// connRoom reserves n bytes for a connection. Where they take as much as they may, the
// one goes that has been without a request for longest: else whoever opens some and says
// nothing would keep everybody else out. A few have room whatever else is held, for probes
// have to be answered.
func (s *Server) connRoom(n int64) bool {
	if s.connected.Held() < alwaysConnected {
		s.connected.Hold(n)
		return true
	}
	if s.connected.More(n) {
		return true
	}
	if s.connected.Share() < 1.25*connectedShare && s.engine.Shed() {
		s.stats.rejected[shed].Add(1)
		s.connected.Hold(n) // what that one has, which may be less, is about to come back
		return true
	}
	s.stats.rejected[noMemory].Add(1)
	return false
}

// Why a connection is closed that did nothing wrong.
const (
	tooMany  = iota // there are max_connections
	noMemory        // there is no memory for it
	shed            // another one needs its memory
	rejections
)

var rejectionNames = [rejections]string{"limit", "memory", "idle"}

// conn is a connection that is counted.
type conn struct {
	net.Conn
	stats   *stats
	account *memory.Account
	room    int64 // that is reserved in it
	once    sync.Once
}

// NetConn gives the connection beneath, for an engine.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Close() error {
	c.once.Do(func() {
		c.stats.connections.Add(-1)
		c.account.Give(c.room)
	})
	return c.Conn.Close()
}
