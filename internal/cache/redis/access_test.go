package redis

import (
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"sluice/internal/cache"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

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

// A user needs no more than the package comment says.
func TestPassword(t *testing.T) {
	t.Parallel()
	const password = "p/s3cret:@"
	s := redistest.Start(t, "--databases", "4")
	rules := "~sluice:* &sluice:* +getrange +pttl +set +get +incr +setnx +scan +unlink +publish +subscribe +select"
	if err := s.ACLSetUser(t.Context(), "sluice", append(strings.Fields(rules), "on", ">"+password)...).Err(); err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "unix", User: url.UserPassword("sluice", password), Path: s.Options().Addr, RawQuery: "db=3"}
	l := ready(t, conf(u.String()), Options{})
	stored(t, l, at("m", "a"), "x")
	is(t, "in the other database", s.DBSize(t.Context()).Val(), 0)
	if err := l.Purge(t.Context(), cache.Purge{}); err != nil {
		t.Error(err)
	}
	is(t, "purged", get(t, l, at("m", "a")), "-")

	u.User = url.UserPassword("sluice", "wr0ng")
	var log lines
	wrong, err := open(conf(u.String()), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, fast)
	if err != nil {
		t.Fatal(err)
	}
	wrong.Start()
	defer wrong.Close()
	testkit.Until(t, "said why", func() bool { return strings.Contains(log.String(), "WRONGPASS") })
	is(t, "up", wrong.Up(), false)
	is(t, "shown", strings.Contains(log.String(), "wr0ng"), false)
}
