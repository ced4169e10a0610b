package redis

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"testing"

	"sluice/internal/testkit"
)

// TestRefusedConnections: a connection that was made, and whose first words the server refuses or
// does not answer, is closed. go-redis before 9.23 left it open, and no more was known of it.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{"a wrong password": "-WRONGPASS no\r\n", "an end": "", "nonsense": "!\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						for r := bufio.NewScanner(c); r.Scan() && answer != ""; {
							if r.Text() != "" && r.Text()[0] == '*' {
								fmt.Fprint(c, answer)
							}
						}
					}()
				}
			}()
			all := &Servers{Patience: patient}
			c := client(t, all, "redis://user:word@"+l.Addr().String(), Options{})
			var d *dialer
			for _, s := range all.all {
				d = s.dialer
			}
			const times = 20
			for range times {
				if err := c.Try(t.Context(), func(ctx context.Context, s Server) error { return s.Get(ctx, "k").Err() }); err == nil {
					t.Fatal("it was answered")
				}
			}
			testkit.Until(t, "closed", func() bool {
				d.mu.Lock()
				defer d.mu.Unlock()
				return len(d.open) <= 2 // what is being tried meanwhile
			})
		})
	}
}
