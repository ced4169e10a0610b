package redis

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/internal/testkit"
)

// Every test closes its clients, in whatever state they are: nothing may be left.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// patient is more than any command takes, on a busy machine too.
const patient = time.Minute

// client makes a client, of servers or of patient ones of its own, that tries often and
// is closed at the end.
func client(t testing.TB, s *Servers, url string, o Options) *Client {
	t.Helper()
	if s == nil {
		s = &Servers{Patience: patient}
	}
	if o.Logger == nil && testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	o.Pace = Pace{First: 5 * time.Millisecond, Longest: 50 * time.Millisecond}
	c, err := s.Client(url, o)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

// up makes a client and waits until it is up.
func up(t testing.TB, s *Servers, url string) *Client {
	t.Helper()
	c := client(t, s, url, Options{})
	testkit.Until(t, "up", c.Up)
	return c
}

// send gives a command that puts its reply into a variable.
func send(reply *string, args ...any) Commands {
	return func(ctx context.Context, r Server) error {
		got, err := r.(*goredis.Client).Do(ctx, args...).Result()
		*reply = fmt.Sprint(got)
		return err
	}
}

// do sends a command as a request would, and gives the reply or what went wrong.
func do(t testing.TB, c *Client, args ...any) string {
	t.Helper()
	var reply string
	if err := c.Do(t.Context(), send(&reply, args...)); err != nil {
		return fmt.Sprintf("%v: %v", KindOf(err), err)
	}
	return reply
}

func is[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
