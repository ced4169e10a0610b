package redis

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/internal/cache"
	"sluice/internal/llm"
)

// Every test closes its levels, in whatever state they are: nothing may be left.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fast is the pace of tests.
var fast = pace{first: 5 * time.Millisecond, longest: 50 * time.Millisecond, silence: 200 * time.Millisecond}

// command starts one of Redis's programs; it is killed at the end.
func command(t testing.TB, debian, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install the Debian package %s", err, debian)
	}
	cmd := exec.Command(path, args...)
	if testing.Verbose() {
		cmd.Stdout = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// server is a running redis-server, and one who looks into it.
type server struct {
	*goredis.Client
	args []string
	cmd  *exec.Cmd
}

// start runs a server on a socket; more follow its arguments.
func start(t testing.TB, more ...string) *server {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	s := &server{args: append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--loglevel", "warning",
		"--dir", filepath.Dir(socket)}, more...)}
	s.Client = goredis.NewClient(&goredis.Options{Network: "unix", Addr: socket, Protocol: 2})
	t.Cleanup(func() { s.Client.Close() })
	s.run(t)
	return s
}

func (s *server) run(t testing.TB) {
	t.Helper()
	s.cmd = command(t, "redis-server", "redis-server", s.args...)
	until(t, "server", func() bool { return s.Ping(t.Context()).Err() == nil })
}

// kill ends the server as a crash does.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func (s *server) url() string { return "unix://" + s.Options().Addr }

// port returns a port of loopback that was free just now.
func port(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// conf is a configuration whose time-out no slow machine runs into.
func conf(url string) Config {
	cfg := Default()
	cfg.URL, cfg.Timeout = llm.NewSecret(url), patience
	return cfg
}

func level(t testing.TB, cfg Config, o Options) *Level {
	t.Helper()
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	l, err := open(cfg, o, fast)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// ready makes a level and waits until it is up and subscribed.
func ready(t testing.TB, cfg Config, o Options) *Level {
	t.Helper()
	l := level(t, cfg, o)
	until(t, "up", l.Up)
	subscribed(t, l, 1)
	return l
}

// subscribed waits for the level's nth subscription.
func subscribed(t testing.TB, l *Level, n uint64) {
	t.Helper()
	until(t, "subscribed", func() bool { return l.figures.subscriptions.Load() == n })
}

func (s *server) subscribers(t testing.TB, l *Level) int64 {
	n, err := s.PubSubNumSub(t.Context(), l.names.channel).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n[l.names.channel]
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func at(model, request string) cache.Place {
	return cache.Place{Model: model, Key: sha256.Sum256([]byte(request))}
}

// get returns what the level has in places, as "value value", with "-" for none.
func get(t testing.TB, l *Level, places ...cache.Place) string {
	t.Helper()
	found := make([]cache.Found, len(places))
	if err := l.Get(context.Background(), places, found); err != nil {
		return fmt.Sprintf("%v: %v", kindOf(err), err)
	}
	var out []string
	for _, f := range found {
		switch {
		case f.Value == nil && f.Left == 0:
			out = append(out, "-")
		case f.Left > 0:
			out = append(out, string(f.Value))
		default:
			out = append(out, fmt.Sprintf("%q without life", f.Value))
		}
	}
	return strings.Join(out, " ")
}

// stored puts a value and waits until it is there.
func stored(t testing.TB, l *Level, p cache.Place, value string) {
	t.Helper()
	l.Put(p, []byte(value), time.Hour)
	until(t, "stored", func() bool { return get(t, l, p) == value })
}

func is[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
