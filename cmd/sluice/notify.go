package main

import (
	"errors"
	"net"
	"strings"
)

// notify tells whatever supervises the process of its state, where it asked to be
// told: the protocol of sd_notify(3), in which NOTIFY_SOCKET names a datagram
// socket, one that begins with @ being abstract. Who cannot be told is not waited
// for: a supervisor that asked and does not listen gives the process up by itself.
func (c *cli) notify(state string) {
	for _, pair := range c.env {
		name, ok := strings.CutPrefix(pair, "NOTIFY_SOCKET=")
		if !ok || name == "" {
			continue
		}
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			c.complain("tell " + name + " of " + state + ": " + err.Error())
			return
		}
		_, err = conn.Write([]byte(state))
		if err = errors.Join(err, conn.Close()); err != nil {
			c.complain("tell " + name + " of " + state + ": " + err.Error())
		}
		return
	}
}
