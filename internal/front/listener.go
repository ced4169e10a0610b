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
	// with TLS. TestMemoryOfConnections of e2e measures it.
	connBytes, sealedBytes = 1 << 10, 20 << 10
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
		if stats.connections.Add(1) <= int64(cfg.MaxConnections) && l.server.connected.Take(room) {
			return &conn{Conn: c, stats: stats, account: l.server.connected, room: room}, nil
		}
		stats.connections.Add(-1)
		stats.rejected.Add(1)
		if cfg.TLS.Cert == "" {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = c.Write([]byte(busyReply))
		}
		_ = c.Close()
	}
}

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
